"""Laws of the data path: tables round-trip, mixes have the counts they promise, deduplication is idempotent."""

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from herdbook.core.types import ROLES, Conversation, Message
from herdbook.data.mix import draw, draw_count, mix_tables
from herdbook.data.outcome import Item
from herdbook.data.steps import decontaminate, deduplicate, validate
from herdbook.data.table import SCHEMA, from_batch, read_batches, read_conversations, to_batch, write_conversations

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT, lambda v: st.lists(v, max_size=3), max_leaves=4
)
MESSAGES = st.builds(Message, st.sampled_from(ROLES), TEXT, st.booleans())
CONVERSATIONS = st.lists(
    st.builds(
        Conversation,
        TEXT,
        st.sampled_from(["a", "b"]),
        st.lists(MESSAGES, max_size=4).map(tuple),
        st.dictionaries(TEXT, JSON, max_size=3),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(CONVERSATIONS)
def test_a_table_gives_back_what_was_written_and_always_the_same_bytes(conversations: list[Conversation]):
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "1", Path(folder) / "2"
        assert write_conversations(first, conversations) == len(conversations)
        assert read_conversations(first) == conversations
        write_conversations(second, read_conversations(first))
        assert first.read_bytes() == second.read_bytes()


@settings(max_examples=25, deadline=None)
@given(CONVERSATIONS, st.integers(0, 12), st.integers(0, 12))
def test_a_slice_of_a_batch_holds_its_own_rows(conversations: list[Conversation], start: int, length: int):
    batch = to_batch(conversations)
    assert batch.schema == SCHEMA
    assert from_batch(batch.slice(min(start, len(conversations)), length)) == conversations[start : start + length]


def test_row_groups_keep_the_order(tmp_path: Path):
    conversations = [Conversation(str(i), "s", (Message("user", "x"),) * (i % 3)) for i in range(25_000)]
    write_conversations(tmp_path / "t", iter(conversations))
    batches = list(read_batches(tmp_path / "t"))
    assert [batch.num_rows for batch in batches] == [10_000, 10_000, 5_000]
    assert [c for batch in batches for c in from_batch(batch)] == conversations


def table(name: str, rows: int) -> pa.Table:
    return pa.Table.from_batches([to_batch([Conversation(f"{i}", name, ()) for i in range(rows)])], SCHEMA)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 30), st.floats(0, 4)), min_size=1),
    st.integers(0, 5),
)
def test_a_mix_has_the_promised_counts(parts: dict[str, tuple[int, float]], seed: int):
    counts = {name: draw_count(rows, weight) for name, (rows, weight) in parts.items()}
    mixed = mix_tables({name: table(name, rows) for name, (rows, _) in parts.items()}, counts, seed)
    drawn = list(zip(mixed.column("source").to_pylist(), mixed.column("id").to_pylist(), strict=True))
    assert Counter(name for name, _ in drawn) == Counter({name: n for name, n in counts.items() if n})
    copies = Counter(drawn)
    for name, (rows, _) in parts.items():
        each = [copies[name, str(i)] for i in range(rows)]
        assert max(each) - min(each) <= 1, "every conversation repeats as often as every other, or once more"


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(0, 120), st.integers(0, 120), st.integers(0, 3))
def test_a_smaller_draw_is_part_of_a_larger(rows: int, count: int, more: int, seed: int):
    ids = [str(i) for i in range(rows)]
    small = Counter(draw(ids, "s", count, seed).tolist())
    large = Counter(draw(ids, "s", count + more, seed).tolist())
    assert small.total() == count
    assert small <= large


@settings(max_examples=25, deadline=None)
@given(CONVERSATIONS)
def test_steps_keep_or_drop_each_conversation_once_and_twice_changes_nothing(conversations: list[Conversation]):
    items = {"b": [Item("b", "1", "0", "0"), Item("b", "2", "a b c d e f g h i", "a")]}
    for module in (validate, deduplicate, decontaminate):
        once = module.apply(conversations, module.Config(), items)
        dropped = [drop.conversation for drop in once.dropped]
        identities = Counter(map(id, conversations))
        assert Counter(map(id, [*once.kept, *dropped])) == identities
        again = module.apply(once.kept, module.Config(), items)
        assert again.kept == once.kept
        assert not again.dropped

"""Mixing: counts, repeats, order."""

from collections import Counter
from pathlib import Path

import pytest

from herdbook.core.artifact import Artifact, Manifest
from herdbook.core.errors import DataError
from herdbook.core.types import Conversation, Message
from herdbook.data.mix import draw, draw_count
from herdbook.data.stages import MIX
from herdbook.data.table import CONVERSATIONS_FILE, read_conversations, write_conversations
from run_steps import run_step


def source(folder: Path, name: str, rows: int, *licences: str) -> Artifact:
    folder.mkdir()
    conversations = [
        Conversation(f"{name}:{i}", name, (Message("user", f"q{i}"), Message("assistant", f"a{i}")))
        for i in range(rows)
    ]
    write_conversations(folder / CONVERSATIONS_FILE, conversations)
    stats = {"rows": rows, "licences": list(licences)}
    return Artifact(folder, Manifest(name, "conversations", name, name, 1, {}, {}, stats))


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Artifact]:
    return {
        "source:a": source(tmp_path / "a", "a", 100, "MIT"),
        "source:b": source(tmp_path / "b", "b", 30, "CC BY 4.0", "MIT"),
        "source:c": source(tmp_path / "c", "c", 10, "GPL"),
    }


def mix(sources: dict[str, Artifact], folder: Path, parts: dict[str, dict], seed: int = 0) -> tuple[list[str], dict]:
    used = {name: artifact for name, artifact in sources.items() if name.removeprefix("source:") in parts}
    made = run_step(MIX, {"parts": parts, "seed": seed}, used, folder, "mix:test")
    return [c.id for c in read_conversations(made.path / CONVERSATIONS_FILE)], made.stats


@pytest.mark.parametrize(
    ("rows", "weight", "most", "count"),
    [
        (100, 1.0, None, 100),
        (100, 0.3, None, 30),
        (100, 2.5, None, 250),
        (100, 1.0, 40, 40),
        (100, 0.3, 40, 30),
        (3, 0.5, None, 2),
        (100, 0.001, None, 1),
        (100, 0.0, None, 0),
        (0, 1.0, None, 0),
    ],
)
def test_draw_count(rows: int, weight: float, most: int | None, count: int):
    assert draw_count(rows, weight, most) == count


def test_counts_repeats_and_licences(sources: dict[str, Artifact], tmp_path: Path):
    ids, stats = mix(sources, tmp_path / "m", {"a": {"weight": 0.3}, "b": {"weight": 2.5}, "c": {"weight": 0}})
    assert stats["by_source"] == {"a": 30, "b": 75}
    assert stats["available"] == {"a": 100, "b": 30, "c": 10}
    assert stats["rows"] == len(ids) == 105
    assert stats["licences"] == ["CC BY 4.0", "MIT"]
    copies = Counter(id for id in ids if id.startswith("b"))
    assert sorted(copies.values()) == [2] * 15 + [3] * 15
    assert max(Counter(id for id in ids if id.startswith("a")).values()) == 1


def test_the_order_is_shuffled_and_fixed_by_the_seed(sources: dict[str, Artifact], tmp_path: Path):
    parts = {"a": {}, "b": {"weight": 2}}
    first, _ = mix(sources, tmp_path / "1", parts)
    again, _ = mix(sources, tmp_path / "2", dict(reversed(parts.items())))
    other, _ = mix(sources, tmp_path / "3", parts, seed=1)
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    head = Counter(id[0] for id in first[:80])
    assert head["a"] > 20
    assert head["b"] > 15
    files = [(tmp_path / n / "out" / CONVERSATIONS_FILE).read_bytes() for n in ("1", "2")]
    assert files[0] == files[1]


def test_leaving_a_source_out_changes_nothing_else(sources: dict[str, Artifact], tmp_path: Path):
    everything, _ = mix(sources, tmp_path / "1", {"a": {"weight": 0.5}, "b": {}, "c": {}})
    without, _ = mix(sources, tmp_path / "2", {"a": {"weight": 0.5}, "b": {}})
    assert [id for id in everything if not id.startswith("c")] == without


def test_a_smaller_share_is_part_of_a_larger_one():
    ids = [f"r{i}" for i in range(1000)]
    small, large = draw(ids, "s", 100, 0), draw(ids, "s", 300, 0)
    assert set(small) < set(large)
    assert set(draw(ids, "s", 100, 1)) != set(small)
    assert set(draw(ids, "other", 100, 0)) != set(small)
    assert 350 < small.mean() < 650  # from all over the source


def test_a_mix_of_nothing_is_an_error(sources: dict[str, Artifact], tmp_path: Path):
    with pytest.raises(DataError, match="mix:test"):
        mix(sources, tmp_path / "m", {"a": {"weight": 0}})

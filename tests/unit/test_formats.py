"""Raw formats. The first tests cover every file of the package; a new format needs no line here."""

import contextlib
import json
from typing import Any

import pytest

from herdbook.core import catalog
from herdbook.core.types import Message
from herdbook.data.detect import detect
from herdbook.data.fields import RecordError
from herdbook.data.records import FileError
from herdbook.data.source import FORMATS

FORMAT_NAMES = catalog.names(FORMATS)


def convert(name: str, record: dict[str, Any]) -> list[list[tuple[str, str]]]:
    conversations = catalog.load(FORMATS, name).convert(record, {})
    return [[(message.role, message.content) for message in c.messages] for c in conversations]


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_example_converts_to_something_trainable_and_survives_json(name: str):
    module = catalog.load(FORMATS, name)
    assert module.__doc__
    record = json.loads(json.dumps(module.EXAMPLE))
    conversations = module.convert(record, {})
    assert conversations
    for conversation in conversations:
        assert any(message.is_trained and message.content.strip() for message in conversation.messages)
    assert record == module.EXAMPLE, "convert must not change the record"


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_example_is_detected_as_its_own_format_only(name: str):
    example = catalog.load(FORMATS, name).EXAMPLE
    claims = {other: catalog.load(FORMATS, other).matches(example) for other in FORMAT_NAMES}
    assert [other for other, reason in claims.items() if reason] == [name]
    found = detect([example] * 3, "example")
    assert found.format == name
    assert found.reason == claims[name]


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("record", [{}, {"unrelated": 1}])
def test_a_record_without_the_fields_is_refused_by_name_of_the_field(name: str, record: dict[str, Any]):
    module = catalog.load(FORMATS, name)
    assert module.matches(record) is None
    with pytest.raises(RecordError) as caught:
        module.convert(record, {})
    assert caught.value.field
    assert caught.value.reason


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("value", [None, 3, [], {}, "", ["x"], [[]], [None]])
def test_a_field_of_the_wrong_type_is_refused_and_never_crashes(name: str, value: Any):
    module = catalog.load(FORMATS, name)
    for key in module.EXAMPLE:
        record = {**module.EXAMPLE, key: value}
        module.matches(record)
        with contextlib.suppress(RecordError):
            module.convert(record, {})


@pytest.mark.parametrize(
    ("name", "record", "expected"),
    [
        (
            "alpaca",
            {"instruction": "Sort.", "input": "b a", "output": "a b"},
            [[("user", "Sort.\n\nb a"), ("assistant", "a b")]],
        ),
        (
            "alpaca",
            {"instruction": "Hi.", "input": "<noinput>", "response": "Hello."},
            [[("user", "Hi."), ("assistant", "Hello.")]],
        ),
        ("alpaca", {"instruction": "Hi.", "output": "Hello."}, [[("user", "Hi."), ("assistant", "Hello.")]]),
        (
            "flan_cot",
            {"question": "1+1?\\nThink.", "answer": "2", "rationale": "One and one."},
            [[("user", "1+1?\nThink."), ("assistant", "One and one.\nThe answer is 2.")]],
        ),
        (
            "flan_cot",
            {"column_1": "1+1?", "column_2": "2", "column_3": "One and one."},
            [[("user", "1+1?"), ("assistant", "One and one.\nThe answer is 2.")]],
        ),
        (
            "prompt_completion",
            {"prompt": "Yes or no?\n", "completion": " Yes<|endoftext|>"},
            [[("user", "Yes or no?"), ("assistant", "Yes")]],
        ),
        ("prompt_completion", {"prompt": "Why?", "answer": "So."}, [[("user", "Why?"), ("assistant", "So.")]]),
        (
            "sharegpt",
            {"system": "S", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            [[("system", "S"), ("user", "a"), ("assistant", "b")]],
        ),
        (
            "messages",
            {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"text": "b"}]}]},
            [[("assistant", "ab")]],
        ),
        ("text", {"text": "A document."}, [[("assistant", "A document.")]]),
    ],
)
def test_conversion(name: str, record: dict[str, Any], expected: list[list[tuple[str, str]]]):
    assert convert(name, record) == expected


def test_messages_can_be_kept_out_of_the_loss():
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "assistant", "content": "c", "loss_weight": 0.0},
        {"role": "assistant", "content": "d", "trained": False},
        {"role": "assistant", "content": "e", "weight": 1},
    ]
    (conversation,) = catalog.load(FORMATS, "messages").convert({"id": 7, "messages": turns}, {})
    assert conversation.id == "7"
    assert [message.content for message in conversation.messages if message.is_trained] == ["e"]


def node(role: str, text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": role, "text": text, "replies": list(replies), "message_id": text, **more}


def test_an_oasst_tree_gives_every_path_to_a_last_answer_once():
    tree = node(
        "prompter",
        "q",
        node(
            "assistant", "a", node("prompter", "q2", node("assistant", "a2", rank=0), node("assistant", "a3", rank=1))
        ),
        node("assistant", "b", node("prompter", "thanks"), rank=1, lang="en"),
        node("assistant", "gone", deleted=True),
    )
    conversations = catalog.load(FORMATS, "oasst").convert({"message_tree_id": "t", "prompt": tree}, {})
    assert ["".join(m.content for m in c.messages) for c in conversations] == ["qaq2a2", "qaq2a3", "qb"]
    assert [c.id for c in conversations] == ["t/a2", "t/a3", "t/b"]
    assert conversations[0].messages[0] == Message("user", "q")
    assert conversations[2].meta == {"rank": 1, "language": "en"}


def test_a_tree_without_an_answer_is_refused():
    with pytest.raises(RecordError, match="no assistant message"):
        convert("oasst", {"prompt": node("prompter", "q", node("prompter", "again"))})


@pytest.mark.parametrize(
    ("name", "record", "field"),
    [
        ("alpaca", {"instruction": "x", "output": "  "}, "output"),
        ("alpaca", {"instruction": "x", "input": 3, "output": "y"}, "input"),
        ("messages", {"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role"),
        ("messages", {"messages": [{"role": "user", "content": [{"image": "x"}]}]}, "messages[0].content[0]"),
        ("messages", {"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls"),
        ("sharegpt", {"conversations": [{"from": "human", "value": None}]}, "conversations[0].value"),
        ("sharegpt", {"conversations": [{"from": [], "value": "x"}]}, "conversations[0].from"),
        ("messages", {"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ("oasst", {"prompt": {"role": [], "text": "x"}}, "prompt.role"),
        ("prompt_completion", {"prompt": "x", "completion": "<|endoftext|>"}, "completion"),
        ("oasst", {"prompt": node("prompter", "q", {"role": "assistant"})}, "prompt.replies[0].text"),
    ],
)
def test_the_malformed_field_is_named(name: str, record: dict[str, Any], field: str):
    with pytest.raises(RecordError) as caught:
        convert(name, record)
    assert caught.value.field == field


def test_comparisons_are_not_taken_for_examples_to_imitate():
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    for record in ({"conversations": turns, "chosen": {}, "rejected": {}}, {"messages": messages, "label": False}):
        with pytest.raises(FileError, match="no known format fits"):
            detect([record], "pairs.json")


def test_detection_says_how_many_records_fit_and_refuses_a_minority():
    good, bad = {"instruction": "a", "output": "b"}, {"x": 1}
    assert detect([good, good, bad], "f").reason == "it has `instruction` and `output` (2 of the first 3 records)"
    with pytest.raises(FileError, match="has: x"):
        detect([bad, good, bad], "f")

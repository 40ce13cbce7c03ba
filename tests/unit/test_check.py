"""The preflight: every row looked at, every problem with its place, nothing raised for what the data is like."""

import json
from pathlib import Path

import pytest

from herdbook.chat.renderer import load_renderer
from herdbook.data.check import SourceCheck, check_json, check_source
from herdbook.data.source import Source
from small_tokenizers import bytes_only

GOOD = {"instruction": "Say a.", "output": "aa"}


def check(path: Path, *records: dict | str, template: str = "", max_length: int | None = None) -> SourceCheck:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
    renderer = load_renderer(bytes_only(), template) if template else None
    return check_source(Source("src", "auto", ((path, str(path)),)), renderer, max_length)


def test_counts_and_problems_of_a_file(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    found = check(path, GOOD, "{", {**GOOD, "output": ""}, {**GOOD, "output": "bell \x07"}, GOOD)
    assert (found.format, found.records, found.rejected, found.summary.rows) == ("alpaca", 5, 2, 3)
    assert dict(found.dropped) == {"control characters": 1}
    told = [(p.file, p.line, p.field, p.severity) for p in found.problems]
    assert told == [
        (str(path), 2, "", "error"),
        (str(path), 3, "output", "error"),
        (str(path), 4, "turn 2", "warning"),
    ]
    assert not found.ok


def test_the_json_document(tmp_path: Path):
    good = check(tmp_path / "a.jsonl", GOOD, GOOD)
    bad = check(tmp_path / "b.jsonl", GOOD, {})
    bad.name = "other"
    document = json.loads(json.dumps(check_json([good, bad])))
    assert document["ok"] is False
    assert document["rows"]["total"] == 4
    assert document["rows"]["rejected"] == 1
    assert document["rows"]["by_source"]["src"]["total"] == 2
    assert document["rows"]["by_source"]["other"]["reasons"] == {"instruction is missing": 1}
    assert set(document["problems"][0]) >= {"file", "line", "field", "message", "severity"}
    assert check_json([good])["ok"] is True


@pytest.mark.parametrize(
    ("name", "data", "line", "message"),
    [
        ("a.json", b'[\n{"instruction": "a", "output": "b"},\n{"a" 1}]', 3, "the JSON is broken"),
        ("a.jsonl", b"", 0, "is empty"),
        ("a.jsonl", b'{"instruction": "a", "output": "b"}\n"\xff"\n', 2, "not UTF-8"),
        ("a.jsonl.gz", b"\x1f\x8b\x08\x00\x00", 0, "truncated"),
        ("a.jsonl", b'{"x": 1}\n', 0, "no known format fits"),
        ("a.jsonl", b"\n{\n{\n", 2, "no record can be used; the first is not valid JSON"),
        ("a.json", b'["text"]', 1, "no record can be used; the first is text, not an object"),
        ("a.jsonl", b'{"instruction": "a", "context": "c", "response": "b"}\n', 0, "no known format fits"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem_with_its_place(
    tmp_path: Path, name: str, data: bytes, line: int, message: str
):
    path = tmp_path / name
    path.write_bytes(data)
    found = check_source(Source("src", "auto", ((path, str(path)),)))
    (problem,) = found.problems
    assert (problem.file, problem.line, problem.severity) == (str(path), line, "error")
    assert message in problem.message
    assert not problem.message.startswith(str(path))


def test_a_missing_file(tmp_path: Path):
    found = check_source(Source("src", "alpaca", ((tmp_path / "no.jsonl", "no.jsonl"),)))
    assert "does not exist" in found.problems[0].message


def test_tokens_and_examples(tmp_path: Path):
    found = check(tmp_path / "a.jsonl", GOOD, GOOD, template="chatml")
    tokens = found.tokens
    assert tokens is not None
    assert found.ok
    assert tokens.rows == 2
    assert tokens.tokens == 2 * tokens.longest
    assert tokens.trained_tokens == 2 * 3  # two bytes and the end of the turn
    text = "".join(part for part, _ in tokens.examples[0])
    assert "Say a." in text
    assert "".join(part for part, on in tokens.examples[0] if on) == "aa<|im_end|>"
    assert found.as_json()["tokens"]["examples"][0][-1][1] in (0, 1)


def test_a_row_whose_trained_tokens_are_all_cut_is_an_error(tmp_path: Path):
    long = {"instruction": "x" * 300, "output": "a"}
    found = check(
        tmp_path / "a.jsonl", GOOD, long, {"instruction": "b", "output": "y" * 300}, template="tulu", max_length=100
    )
    tokens = found.tokens
    assert tokens is not None
    assert (tokens.rows, tokens.truncated) == (2, 1)
    (error,) = [p for p in found.problems if p.severity == "error"]
    assert error.line == 2
    assert "max_length" in error.message
    assert [p.message for p in found.problems if p.severity == "warning"] == [
        "1 of 2 conversations are cut at max_length 100."
    ]


def test_many_problems_are_counted_but_not_all_told(tmp_path: Path):
    found = check(tmp_path / "a.jsonl", *[GOOD] * 400, *[{"output": "x"}] * 300)
    assert found.rejected == 300
    assert len(found.problems) == 200
    assert found.left_out == 100

"""Alpaca: `{"instruction": ..., "input": ..., "output": ...}`; `input` may be empty or missing.

Code Alpaca's later files say `response` beside or instead of `output`; it is read when there is no `output`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdbook.core.types import Conversation
from herdbook.data.fields import optional_text, question_and_answer, text

EXAMPLE: dict[str, Any] = {
    "instruction": "Name the animals in the list.",
    "input": "camel, saddle, llama",
    "output": "camel, llama",
}

# What generators wrote where an instruction has no input.
_NO_INPUT = ("<noinput>", "<no input>", "noinput", "no input")


def matches(record: Mapping[str, Any]) -> str | None:
    """Say why the record looks like Alpaca, or None. With a `context` it is Dolly's, which would be lost here."""
    answer = next((key for key in ("output", "response") if isinstance(record.get(key), str)), None)
    if answer is None or not isinstance(record.get("instruction"), str) or "context" in record:
        return None
    return f"it has `instruction` and `{answer}`"


def convert(record: Mapping[str, Any], options: Mapping[str, Any]) -> list[Conversation]:
    """Make one conversation: the user says instruction, blank line, input. Raises RecordError for a missing text."""
    question = text(record, "instruction")
    given = optional_text(record, "input")
    if given.strip() and given.strip().lower() not in _NO_INPUT:
        question = f"{question}\n\n{given}"
    answer = "response" if "response" in record and "output" not in record else "output"
    return question_and_answer(record, question, text(record, answer))

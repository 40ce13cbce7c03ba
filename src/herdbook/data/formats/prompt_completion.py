"""Prompt and completion, as P3 dumps and older fine-tuning APIs write them; also spelt prompt and answer.

The end marker `<|endoftext|>` and white space around the completion and after the prompt are serialisation and are
taken off: the chat template marks the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdbook.core.types import Conversation
from herdbook.data.fields import RecordError, question_and_answer, text

EXAMPLE: dict[str, Any] = {
    "prompt": "Is a llama a camelid? Yes or no?\n",
    "completion": " Yes<|endoftext|>",
}

_END = "<|endoftext|>"


def matches(record: Mapping[str, Any]) -> str | None:
    """Say why the record looks like prompt and completion, or None."""
    if not isinstance(record.get("prompt"), str):
        return None
    answer = next((key for key in ("completion", "answer") if isinstance(record.get(key), str)), None)
    return f"it has `prompt` and `{answer}`" if answer else None


def convert(record: Mapping[str, Any], options: Mapping[str, Any]) -> list[Conversation]:
    """Make one conversation. Raises RecordError for a missing text, or a completion that is nothing but its end."""
    prompt = text(record, "prompt").rstrip()
    field = "answer" if "answer" in record and "completion" not in record else "completion"
    answer = text(record, field).strip().removesuffix(_END).strip()
    if not answer:
        raise RecordError(field, "is empty")
    return question_and_answer(record, prompt, answer)

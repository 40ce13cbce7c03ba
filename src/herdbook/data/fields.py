"""Taking typed values out of a raw record, with an error that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdbook.core.errors import DataError
from herdbook.core.types import Conversation, Message

_META_KEYS = {
    "task": "task",
    "skill": "skill",
    "language": "language",
    "lang": "language",
    "licence": "licence",
    "license": "licence",
    "template_id": "template_id",
}

_KINDS = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class RecordError(DataError):
    """One record cannot be used: `field` says where in it, `reason` why. Details stand in parentheses at the end."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field} {self.reason}".strip()


def kind_of(value: object) -> str:
    """Name a JSON value's type for a reader: "a list", "null"."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def text(record: Mapping[str, Any], field: str) -> str:
    """Return the non-empty text under `field`. Raises RecordError when it is missing, not text, or blank."""
    value = optional_text(record, field)
    if not value.strip():
        raise RecordError(field, "is empty" if field in record else "is missing")
    return value


def optional_text(record: Mapping[str, Any], field: str) -> str:
    """Return the text under `field`, or "" when it is missing or null. Raises RecordError when it is not text."""
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(field, f"is {kind_of(value)}, not text")
    return value


def record_id(record: Mapping[str, Any], field: str = "id") -> str:
    """Return the record's own id as text, or "" when it has none."""
    value = record.get(field)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def known_meta(record: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the keys of a record that every format understands: task, skill, language, licence, template id."""
    return {ours: record[key] for key, ours in _META_KEYS.items() if isinstance(record.get(key), str)}


def question_and_answer(record: Mapping[str, Any], question: str, answer: str) -> list[Conversation]:
    """Make the one conversation of a record that holds one question and one answer."""
    messages = (Message("user", question), Message("assistant", answer))
    return [Conversation(record_id(record), "", messages, known_meta(record))]

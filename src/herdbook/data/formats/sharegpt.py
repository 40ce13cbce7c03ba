"""ShareGPT: `{"id": ..., "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from herdbook.core.types import Conversation, Message, Role
from herdbook.data.fields import RecordError, kind_of, known_meta, optional_text, record_id

EXAMPLE: dict[str, Any] = {
    "id": "herd_0",
    "conversations": [
        {"from": "human", "value": "How many humps has a camel?"},
        {"from": "gpt", "value": "One or two."},
    ],
}

_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}


def matches(record: Mapping[str, Any]) -> str | None:
    """Say why the record looks like ShareGPT, or None. Pairs with chosen and rejected answers are comparisons."""
    turns = record.get("conversations")
    if not isinstance(turns, list) or not turns or "chosen" in record:
        return None
    first = turns[0]
    return "`conversations` holds turns with from and value" if isinstance(first, dict) and "from" in first else None


def convert(record: Mapping[str, Any], options: Mapping[str, Any]) -> list[Conversation]:
    """Make the conversation; a `system` text beside the turns comes first. Raises RecordError for a bad turn."""
    turns = record.get("conversations")
    if not isinstance(turns, list):
        known = "conversations" in record
        raise RecordError("conversations", f"is {kind_of(turns)}, not a list" if known else "is missing")
    messages = [_message(turn, f"conversations[{i}]") for i, turn in enumerate(turns)]
    system = optional_text(record, "system")
    if system.strip():
        messages.insert(0, Message("system", system))
    meta = known_meta(record)
    tools = optional_text(record, "tools")
    if tools:
        meta["tools"] = tools
    return [Conversation(record_id(record), "", tuple(messages), meta)]


def _message(turn: object, field: str) -> Message:
    if not isinstance(turn, dict):
        raise RecordError(field, f"is {kind_of(turn)}, not an object")
    role = _ROLES.get(str(turn.get("from")))
    if role is None:
        raise RecordError(f"{field}.from", f"is an unknown role ({turn.get('from')!r}; known: {', '.join(_ROLES)})")
    value = turn.get("value")
    if not isinstance(value, str):
        raise RecordError(f"{field}.value", f"is {kind_of(value)}, not text" if "value" in turn else "is missing")
    return Message(role, value)

"""Chat messages as OpenAI and the Hugging Face hub write them: `{"messages": [{"role": ..., "content": ...}]}`.

A message is kept out of the loss by `"trained": false`, or by a `weight` or `loss_weight` of 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from herdbook.core.types import Conversation, Message, Role
from herdbook.data.fields import RecordError, kind_of, known_meta, record_id

EXAMPLE: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "You are a herdsman."},
        {"role": "user", "content": "How many humps has a camel?"},
        {"role": "assistant", "content": "One or two."},
    ]
}

_ROLES: dict[str, Role] = {**{role: role for role in get_args(Role)}, "developer": "system"}


def matches(record: Mapping[str, Any]) -> str | None:
    """Say why the record looks like chat messages, or None. Labelled feedback is not: it is no example to imitate."""
    turns = record.get("messages")
    if not isinstance(turns, list) or not turns or "label" in record:
        return None
    first = turns[0]
    return "`messages` holds turns with role and content" if isinstance(first, dict) and "role" in first else None


def convert(record: Mapping[str, Any], options: Mapping[str, Any]) -> list[Conversation]:
    """Make the record's conversation. Raises RecordError naming the message that is malformed."""
    turns = record.get("messages")
    if not isinstance(turns, list):
        raise RecordError("messages", f"is {kind_of(turns)}, not a list" if "messages" in record else "is missing")
    messages = tuple(_message(turn, f"messages[{i}]") for i, turn in enumerate(turns))
    return [Conversation(record_id(record), "", messages, known_meta(record))]


def _message(turn: object, field: str) -> Message:
    if not isinstance(turn, dict):
        raise RecordError(field, f"is {kind_of(turn)}, not an object")
    role = _ROLES.get(str(turn.get("role")))
    if role is None:
        raise RecordError(f"{field}.role", f"is an unknown role ({turn.get('role')!r}; known: {', '.join(_ROLES)})")
    if turn.get("tool_calls"):
        raise RecordError(f"{field}.tool_calls", "is a structured call, which no template can render faithfully")
    trained = turn.get("trained", True) is not False and all(turn.get(w, 1) != 0 for w in ("weight", "loss_weight"))
    return Message(role, _content(turn.get("content"), f"{field}.content"), trained)


def _content(content: object, field: str) -> str:
    """Take text as it is; join a list of text parts. Images and the like have no text to train on."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RecordError(field, f"is {kind_of(content)}, not text" if content is not None else "is missing")
    parts: list[str] = []
    for i, part in enumerate(content):
        text = part.get("text", part.get("value")) if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise RecordError(f"{field}[{i}]", "is not a text part")
        parts.append(text)
    return "".join(parts)

"""OpenAssistant trees (the tree export): `{"message_tree_id": ..., "prompt": {"text", "role", "replies": [...]}}`.

Every path from the root to an assistant message that nobody answered to an end becomes one conversation, once: a
prompter's last question without an answer is left out, and so is what was deleted. The place that people gave the
last answer among its siblings is kept as `rank` (0 is the best).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from herdbook.core.types import Conversation, Message, Role
from herdbook.data.fields import RecordError, kind_of, record_id

EXAMPLE: dict[str, Any] = {
    "message_tree_id": "tree-0",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "tree-0",
        "role": "prompter",
        "lang": "en",
        "text": "How many humps has a camel?",
        "replies": [
            {
                "message_id": "m1",
                "role": "assistant",
                "lang": "en",
                "rank": 0,
                "text": "One or two.",
                "replies": [{"message_id": "m2", "role": "prompter", "lang": "en", "text": "Thanks!", "replies": []}],
            },
            {"message_id": "m3", "role": "assistant", "lang": "en", "rank": 1, "text": "Three.", "replies": []},
        ],
    },
}

_ROLES: dict[str, Role] = {"prompter": "user", "assistant": "assistant"}
_DEEPEST = 200  # turns; deeper nesting is damage, not talk


def matches(record: Mapping[str, Any]) -> str | None:
    """Say why the record looks like an OpenAssistant tree, or None."""
    root = record.get("prompt")
    return "`prompt` is a message with `replies`" if isinstance(root, dict) and "replies" in root else None


def convert(record: Mapping[str, Any], options: Mapping[str, Any]) -> list[Conversation]:
    """Make one conversation per path, depth first. Raises RecordError for a malformed or unanswered tree."""
    root = record.get("prompt")
    if not isinstance(root, dict):
        raise RecordError("prompt", f"is {kind_of(root)}, not a message" if "prompt" in record else "is missing")
    tree = record_id(record, "message_tree_id") or record_id(root, "message_id")
    made: list[Conversation] = []
    for path in _paths(root, "prompt", ()):
        leaf = path[-1]
        messages = tuple(Message(_ROLES[node["role"]], node["text"]) for node in path)
        meta = {key: leaf[theirs] for key, theirs in (("rank", "rank"), ("language", "lang")) if theirs in leaf}
        name = record_id(leaf, "message_id") or str(len(made))
        made.append(Conversation(f"{tree}/{name}", "", messages, meta))
    if not made:
        raise RecordError("prompt.replies", "hold no assistant message")
    return made


def _paths(node: object, field: str, above: tuple[dict[str, Any], ...]) -> Iterator[tuple[dict[str, Any], ...]]:
    """Yield the node sequences from the root to each last assistant message below `node`."""
    if not isinstance(node, dict):
        raise RecordError(field, f"is {kind_of(node)}, not a message")
    if node.get("deleted") is True:
        return
    _check(node, field)
    if len(above) >= _DEEPEST:
        raise RecordError("prompt", f"is nested deeper than {_DEEPEST} turns")
    path = (*above, node)
    answered = False
    for i, reply in enumerate(node.get("replies") or ()):
        for longer in _paths(reply, f"{field}.replies[{i}]", path):
            answered = True
            yield longer
    if node["role"] == "assistant" and not answered:
        yield path


def _check(node: Mapping[str, Any], field: str) -> None:
    if str(node.get("role")) not in _ROLES:
        raise RecordError(f"{field}.role", f"is an unknown role ({node.get('role')!r}; known: {', '.join(_ROLES)})")
    if not isinstance(node.get("text"), str):
        raise RecordError(f"{field}.text", f"is {kind_of(node.get('text'))}, not text")
    if not isinstance(node.get("replies") or [], list):
        raise RecordError(f"{field}.replies", f"is {kind_of(node['replies'])}, not a list")

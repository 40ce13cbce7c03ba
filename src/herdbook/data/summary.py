"""Counting a set of conversations: what a step's stats and `herdbook check` tell about its data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from herdbook.core.types import Conversation

# Upper edges of the character histogram double: lengths of real data span four orders of magnitude.
LENGTH_EDGES = (0, *(2**i for i in range(4, 21)))


@dataclass(slots=True)
class Summary:
    """Running counts over conversations."""

    rows: int = 0
    characters: int = 0
    licences: set[str] = field(default_factory=set)
    turns: Counter[int] = field(default_factory=Counter)  # messages of a conversation -> conversations
    roles: Counter[str] = field(default_factory=Counter)  # role -> messages
    lengths: Counter[int] = field(default_factory=Counter)  # bin of LENGTH_EDGES -> conversations

    def add(self, conversations: Iterable[Conversation]) -> None:
        """Count conversations."""
        for conversation in conversations:
            messages = conversation.messages
            length = sum([len(message.content) for message in messages])
            self.rows += 1
            self.characters += length
            self.turns[len(messages)] += 1
            self.roles.update([message.role for message in messages])
            self.lengths[_bin(length)] += 1
            licence = conversation.meta.get("licence")
            if licence:
                self.licences.add(licence)

    def as_stats(self) -> dict[str, Any]:
        """Return JSON values.

        rows, characters, turns (all messages), conversations_by_turns, roles (messages by role), lengths (histogram of
        conversations in characters), licences.
        """
        last = max(self.lengths, default=0)
        return {
            "rows": self.rows,
            "characters": self.characters,
            "turns": sum(turns * count for turns, count in self.turns.items()),
            "conversations_by_turns": {str(turns): count for turns, count in sorted(self.turns.items())},
            "roles": dict(sorted(self.roles.items())),
            "lengths": {
                "edges": list(LENGTH_EDGES[: last + 2]),
                "counts": [self.lengths[i] for i in range(last + 1)],
            },
            "licences": sorted(self.licences),
        }


def _bin(length: int) -> int:
    """Return i with LENGTH_EDGES[i] <= length < LENGTH_EDGES[i + 1]; the last bin is open."""
    return min(max(length.bit_length() - 4, 0), len(LENGTH_EDGES) - 2)

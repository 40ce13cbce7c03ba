"""Drop conversations that repeat an earlier one: the same turns up to case and white space. The first stays."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from herdbook.core.types import Conversation
from herdbook.data.outcome import Drop, Items, Outcome


class Config(BaseModel):
    """Exact deduplication has nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def apply(conversations: Sequence[Conversation], config: Config, items: Items) -> Outcome:
    """Keep the first of equal conversations; each drop names the one that stayed."""
    first: dict[bytes, str] = {}
    kept: list[Conversation] = []
    dropped: list[Drop] = []
    for conversation in conversations:
        key = fingerprint(conversation)
        if key not in first:
            first[key] = conversation.id
            kept.append(conversation)
            continue
        evidence = {"first": first[key], "text": "\n".join(m.content for m in conversation.messages)[:200]}
        dropped.append(Drop(conversation, "repeats an earlier conversation", evidence))
    return Outcome(kept, dropped)


def fingerprint(conversation: Conversation) -> bytes:
    """Return the 128-bit XXH3 hash of roles and normalised texts."""
    from xxhash import xxh3_128_digest

    turns = (f"{m.role}\x1f{' '.join(m.content.split()).casefold()}" for m in conversation.messages)
    return xxh3_128_digest("\x1e".join(turns).encode())

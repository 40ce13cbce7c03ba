"""The nouns that every part of Herdbook shares. Frozen: steps return new objects, they never edit old ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` is plain text; `trained` says whether loss may fall on it (only assistant turns are)."""

    role: Role
    content: str
    trained: bool = True

    @property
    def is_trained(self) -> bool:
        """True if loss falls on this turn: an assistant turn that was not switched off."""
        return self.role == "assistant" and self.trained


@dataclass(frozen=True, slots=True)
class Conversation:
    """A training example: turns in order, where they came from, and what is known about them.

    `id` is unique inside its source (`file-stem:record-number` when the record has none of its own). `meta` holds JSON
    values only; known keys: `task`, `skill`, `language`, `licence`, `template_id`, `file`, `line`.
    """

    id: str
    source: str
    messages: tuple[Message, ...]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that was set aside: where it stood and why. `field` is the offending key, or '' for the whole record."""

    file: str
    line: int
    reason: str
    field: str = ""
    record: str = ""  # the first 500 characters of the raw record, for the reader of rejects.jsonl


@dataclass(frozen=True, slots=True)
class Runtime:
    """Choices that cannot change a result, and so are never part of a step's key."""

    device: str = "auto"  # auto | cpu | cuda | mps
    threads: int = 0  # torch threads of one worker process; 0: cores / workers
    workers: int = 1  # processes that run steps at the same time
    micro_batch_tokens: int = 0  # upper bound of tokens in one forward pass; 0: chosen by the step

"""Which problems are kept for evaluation: decided by a stable hash of the problem, never of its phrasing.

A problem is the operands of a sum, the words of a list, the town of a fact: whatever two phrasings of the same
question share. Test problems appear neither in the corpus nor in instruction data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from typing import Literal, Protocol, TypeVar

Part = Literal["train", "test"]

TEST_SHARE = 0.1
TEST_TOWNS = 0.4
"""The towns asked about in tests are a larger share: there are few towns, and all their facts are in the corpus."""


class Problem(Protocol):
    """Anything whose `key` names the problem independently of how it is asked."""

    @property
    def key(self) -> str: ...


P = TypeVar("P", bound=Problem)


def split(problem: str, test_share: float = TEST_SHARE) -> Part:
    """The part a problem belongs to, a pure function of its key."""
    value = int.from_bytes(hashlib.sha256(problem.encode()).digest()[:8], "big")
    return "test" if value < test_share * 2**64 else "train"


def draw(make: Callable[[Random], P], rng: Random, part: Part) -> P:
    """The first problem that `make` draws from `rng` and that belongs to `part`."""
    while True:
        problem = make(rng)
        if split(problem.key) == part:
            return problem

"""Additions of two numbers, answered directly or column by column."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Addition:
    """Two positive numbers of equally many digits."""

    a: int
    b: int

    @property
    def key(self) -> str:
        return f"add {min(self.a, self.b)} {max(self.a, self.b)}"

    @property
    def total(self) -> int:
        return self.a + self.b

    @property
    def work(self) -> str:
        """The columns from the right, each `digit+digit+carry=sum`: 412+395 gives `2+5+0=7, 1+9+0=10, 4+3+1=8`."""
        columns, carry = [], 0
        for x, y in zip(reversed(str(self.a)), reversed(str(self.b)), strict=True):
            column = int(x) + int(y) + carry
            columns.append(f"{x}+{y}+{carry}={column}")
            carry = column // 10
        return ", ".join(columns)


def addition(rng: Random) -> Addition:
    """Two numbers of two or of three digits."""
    low, high = rng.choice(((10, 99), (100, 999)))
    return Addition(rng.randint(low, high), rng.randint(low, high))

"""Lists of words and tables of word pairs."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from herdbook.builtin.words import ANIMALS, COLOURS, NAMES, THINGS

_WORDS = THINGS + ANIMALS + COLOURS


@dataclass(frozen=True, slots=True)
class WordList:
    """Distinct words in an order. A list and its reverse are one problem: either gives the other away."""

    words: tuple[str, ...]

    @property
    def key(self) -> str:
        return "list " + " ".join(min(self.words, self.reversed))

    @property
    def reversed(self) -> tuple[str, ...]:
        return self.words[::-1]


@dataclass(frozen=True, slots=True)
class PairTable:
    """Distinct keys, each with a value; values are distinct too."""

    pairs: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        return "table " + " ".join(f"{key}:{value}" for key, value in sorted(self.pairs))


def word_list(rng: Random) -> WordList:
    """Three to five words."""
    return WordList(tuple(rng.sample(_WORDS, rng.randint(3, 5))))


def pair_table(rng: Random) -> PairTable:
    """Three to five things, each with a colour, a name or another thing."""
    size = rng.randint(3, 5)
    kind = rng.choice((COLOURS, NAMES, _WORDS))
    drawn = rng.sample(_WORDS, size)
    values = rng.sample([value for value in kind if value not in drawn], size)
    return PairTable(tuple(zip(drawn, values, strict=True)))

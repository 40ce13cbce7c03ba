"""The invented towns and their facts: what only a model trained on the corpus can know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from herdbook.builtin.split import TEST_TOWNS, Part, split
from herdbook.builtin.words import words

_HEADS = words("Ald Bel Cor Dun Els Fen Gal Har Kes Lum Mar Nor Pel Ros Tor Win")
_TAILS = words("bury dale den field ford holm low mere moor wick")

VALUES: dict[str, tuple[str, ...]] = {
    "river": words("Arn Brel Cade Drin Esk Fola Gern Isk Ketta Lorn Merra Nidd Orle Seva Tamm Ulva"),
    "trade": words(
        "bells boats bread candles carpets cheese clocks coats glass honey kites lamps paper ropes soap toys"
    ),
    "beast": words("bear bee crab deer duck fish fox frog goat hare hen horse lion mole mouse wolf"),
    "founder": words("Ada Ben Clara Dan Ella Finn Gus Hugo Ida Kai Lena Max Nina Otto Rosa Sam"),
}
_SEED = 20_240


@dataclass(frozen=True, slots=True)
class Town:
    """A town and the value of each attribute in `VALUES`."""

    name: str
    river: str
    trade: str
    beast: str
    founder: str

    @property
    def part(self) -> Part:
        """Whether questions about the town are for instruction data or kept for tests."""
        return split(f"town {self.name}", TEST_TOWNS)


@cache
def towns() -> tuple[Town, ...]:
    """All towns, always the same."""
    rng = Random(_SEED)
    names = [head + tail for head in _HEADS for tail in _TAILS]
    return tuple(Town(name, *(rng.choice(values) for values in VALUES.values())) for name in names)

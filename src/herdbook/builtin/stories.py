"""Small stories: a thing of some colour changes hands."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from herdbook.builtin.words import COLOURS, NAMES, THINGS


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, and how it ended."""

    text: str
    thing: str
    colour: str
    owner: str  # at the end

    @property
    def key(self) -> str:
        return f"story {self.text}"


def story(rng: Random) -> Story:
    """One to three people pass a thing on."""
    thing, colour = rng.choice(THINGS), rng.choice(COLOURS)
    owner, *others = rng.sample(NAMES, rng.randint(2, 4))
    text = f"{owner} {rng.choice(('found', 'bought', 'made'))} a {colour} {thing}."
    for other in others:
        verb = rng.choice(("gave the {} to {}", "sold the {} to {}", "left the {} with {}"))
        text += f" {owner} {verb.format(thing, other)}."
        owner = other
    return Story(text, thing, colour, owner)

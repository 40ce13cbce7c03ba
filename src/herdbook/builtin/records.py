"""People described in a sentence and as a JSON record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from herdbook.builtin.words import ANIMALS, COLOURS, JOBS, NAMES

FIELDS = ("age", "job", "pet", "colour")


@dataclass(frozen=True, slots=True)
class Person:
    """A name and some of the fields, in the order in which the sentence names them."""

    name: str
    fields: tuple[tuple[str, str | int], ...]

    @property
    def key(self) -> str:
        return f"person {self.name} " + " ".join(f"{field}:{value}" for field, value in sorted(self.fields))

    @property
    def sentence(self) -> str:
        """One sentence without the full stop."""
        said = {"age": "is {} years old", "job": "works as a {}", "pet": "has a {}", "colour": "likes {}"}
        clauses = [said[field].format(value) for field, value in self.fields]
        return f"{self.name} {', '.join(clauses[:-1])} and {clauses[-1]}"

    @property
    def record(self) -> str:
        """JSON with the name first and the fields in the order of `FIELDS`."""
        values = dict(self.fields)
        ordered = {field: values[field] for field in FIELDS if field in values}
        return json.dumps({"name": self.name} | ordered)


def person(rng: Random) -> Person:
    """A person with two to four fields in any order."""
    values = {
        "age": rng.randint(10, 99),
        "job": rng.choice(JOBS),
        "pet": rng.choice(ANIMALS),
        "colour": rng.choice(COLOURS),
    }
    chosen = rng.sample(FIELDS, rng.randint(2, 4))
    return Person(rng.choice(NAMES), tuple((field, values[field]) for field in chosen))

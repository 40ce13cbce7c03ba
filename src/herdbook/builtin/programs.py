"""Small Python programs and what they print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from herdbook.builtin.words import ANIMALS, COLOURS, THINGS

_WORDS = THINGS + ANIMALS + COLOURS


@dataclass(frozen=True, slots=True)
class Program:
    """The source text of a program and its output without the last newline."""

    source: str
    output: str

    @property
    def key(self) -> str:
        return f"program {self.source}"


def _quoted(words: list[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def _items(rng: Random) -> Program:
    words = rng.sample(_WORDS, rng.randint(3, 5))
    lines, output = [f"items = {_quoted(words)}"], []
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(-1, len(words))
        counted = rng.random() < 0.2
        lines.append("print(len(items))" if counted else f"print(items[{place}])")
        output.append(str(len(words)) if counted else words[place])
    return Program("\n".join(lines), "\n".join(output))


def _each(rng: Random) -> Program:
    words = rng.sample(_WORDS, rng.randint(2, 4))
    backwards = rng.random() < 0.5
    items = "reversed(items)" if backwards else "items"
    output = words[::-1] if backwards else words
    return Program(f"items = {_quoted(words)}\nfor item in {items}:\n    print(item)", "\n".join(output))


def _mapping(rng: Random) -> Program:
    keys = rng.sample(_WORDS, rng.randint(2, 4))
    values = [str(value) for value in rng.sample(range(10), len(keys))]
    asked = rng.sample(range(len(keys)), rng.randint(1, 2))
    pairs = ", ".join(f'"{key}": {value}' for key, value in zip(keys, values, strict=True))
    prints = [f'print(box["{keys[place]}"])' for place in asked]
    return Program("\n".join([f"box = {{{pairs}}}", *prints]), "\n".join(values[place] for place in asked))


def _choice(rng: Random) -> Program:
    x, y = rng.randint(0, 9), rng.randint(0, 9)
    yes, no = rng.sample(_WORDS, 2)
    source = f'x = {x}\nif x > {y}:\n    print("{yes}")\nelse:\n    print("{no}")'
    return Program(source, yes if x > y else no)


def _repeat(rng: Random) -> Program:
    word, times = rng.choice(_WORDS), rng.randint(2, 5)
    return Program(f'for i in range({times}):\n    print("{word}")', "\n".join([word] * times))


def _arithmetic(rng: Random) -> Program:
    x, y = rng.randint(0, 9), rng.randint(0, 9)
    sign = rng.choice("+-") if x >= y else "+"
    return Program(f"x = {x}\ny = {y}\nprint(x {sign} y)", str(x + y if sign == "+" else x - y))


KINDS: tuple[Callable[[Random], Program], ...] = (
    _items,
    _items,
    _items,
    _each,
    _each,
    _mapping,
    _mapping,
    _choice,
    _repeat,
    _arithmetic,
)


def program(rng: Random) -> Program:
    """A program of one of the kinds."""
    return rng.choice(KINDS)(rng)

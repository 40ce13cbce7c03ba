"""Plain-text documents, one function an ability. No chat format: the base only reads and continues text.

A document is a list of statements; in each, what is given lets a reader infer the rest. Problems kept for tests are
drawn only when asked for (to measure a base on plain text).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from herdbook.builtin.arithmetic import addition
from herdbook.builtin.programs import program
from herdbook.builtin.records import person
from herdbook.builtin.split import Part, draw
from herdbook.builtin.stories import story
from herdbook.builtin.tables import PairTable, pair_table, word_list
from herdbook.builtin.towns import towns


class Statement(NamedTuple):
    """A piece of a document: `given`, and `inferred` that follows from it (empty for plain text)."""

    given: str
    inferred: str


Maker = Callable[[Random, Part], list[Statement]]


def reversals(rng: Random, part: Part) -> list[Statement]:
    """Word lists backwards, and sometimes back again."""
    given, comma = rng.choice((("{} reversed:", " "), ("list: {}; backwards:", " "), ("the reverse of {} is", ", ")))
    statements = []
    for _ in range(rng.randint(1, 2)):
        words = draw(word_list, rng, part).words
        for _ in range(rng.randint(1, 3)):
            statements.append(Statement(given.format(comma.join(words)), f" {comma.join(words[::-1])}.\n"))
            words = words[::-1]
    return statements


def copies(rng: Random, part: Part) -> list[Statement]:
    """Word lists repeated, their length, their first and last word."""
    words = draw(word_list, rng, part).words
    listed = " ".join(words)
    facts = [
        Statement("again:", f" {listed}.\n"),
        Statement("once more:", f" {listed}.\n"),
        Statement("the first:", f" {words[0]}.\n"),
        Statement("the last:", f" {words[-1]}.\n"),
        Statement("how many:", f" {len(words)}.\n"),
    ]
    first, *rest = rng.sample(facts, rng.randint(2, 5))
    return [Statement(f"words: {listed}. {first.given}", first.inferred), *rest]


def orders(rng: Random, part: Part) -> list[Statement]:
    """Numbers from small to large. (Nothing is asked about them later, so no problem is held out.)"""
    statements = []
    for _ in range(rng.randint(1, 4)):
        numbers = rng.sample(range(1, 100), rng.randint(3, 5))
        mixed = ", ".join(map(str, numbers))
        statements.append(Statement(f"mixed: {mixed}; in order:", f" {', '.join(map(str, sorted(numbers)))}.\n"))
    return statements


def digits(rng: Random, part: Part) -> list[Statement]:
    """Sums of two digits with a carry of 0 or 1: the bricks of column sums, never held out."""
    statements = []
    for _ in range(rng.randint(3, 10)):
        x, y, carry = rng.randint(0, 9), rng.randint(0, 9), rng.randint(0, 1)
        statements.append(Statement(f"{x}+{y}+{carry}=", f"{x + y + carry}\n"))
    return statements


def column_sums(rng: Random, part: Part) -> list[Statement]:
    """Additions with the work written out from the right."""
    before, after = rng.choice((("{}+{} by columns:", "\nThe answer is {}."), ("{}+{}:", ", total {}.")))
    statements = []
    for _ in range(rng.randint(1, 3)):
        item = draw(addition, rng, part)
        statements.append(Statement(before.format(item.a, item.b), f" {item.work}{after.format(item.total)}\n"))
    return statements


def direct_sums(rng: Random, part: Part) -> list[Statement]:
    """Additions answered at once."""
    items = [draw(addition, rng, part) for _ in range(rng.randint(1, 5))]
    return [Statement(f"{item.a}+{item.b}=", f"{item.total}\n") for item in items]


def pairs(rng: Random, part: Part) -> list[Statement]:
    """A table of word pairs, then its pairs again in other orders."""
    table: PairTable = draw(pair_table, rng, part)
    asked = rng.sample(table.pairs, len(table.pairs)) + rng.sample(table.pairs, rng.randint(1, len(table.pairs)))
    entry, joint = rng.choice((("{} {}", "; "), ("{} = {}", ", "), ("the {} is for {}", ", ")))
    listed = joint.join(entry.format(*pair) for pair in table.pairs)
    question, answer = rng.choice(
        (("{}", " {};"), ("{} =", " {},"), ("the {} is for", " {}."), ("{} goes with", " {}."))
    )
    first = Statement(f"{listed}.\n{question.format(asked[0][0])}", answer.format(asked[0][1]))
    rest = [Statement(f" {question.format(key)}", answer.format(value)) for key, value in asked[1:]]
    return [first, *rest]


def people(rng: Random, part: Part) -> list[Statement]:
    """People in a sentence and as a JSON record, sometimes back to a fact."""
    statements = []
    joint, space = rng.choice(((". as a record:\n", ""), (". JSON:", " ")))
    for _ in range(rng.randint(1, 2)):
        item = draw(person, rng, part)
        statements.append(Statement(f"{item.sentence}{joint}", f"{space}{item.record}\n"))
        if rng.random() < 0.3:
            field, value = rng.choice(item.fields)
            statements.append(Statement(f"the {field} of {item.name} is", f" {value}.\n"))
    return statements


def programs(rng: Random, part: Part) -> list[Statement]:
    """A program and what it prints."""
    before, after = rng.choice((("", "\nprints:\n"), ("program:\n", "\noutput:\n")))
    items = [draw(program, rng, part) for _ in range(rng.randint(1, 2))]
    return [Statement(f"{before}{item.source}{after}", f"{item.output}\n") for item in items]


def town_facts(rng: Random, part: Part) -> list[Statement]:
    """Facts of a town, all of them stated whatever the part: questions are held out by town, statements are not."""
    town = rng.choice([town for town in towns() if part == "train" or town.part == "test"])
    facts = list(_FACTS)
    rng.shuffle(facts)
    statements = []
    for attribute in facts[: rng.randint(1, 4)]:
        given, inferred = rng.choice(_FACTS[attribute])
        statements.append(Statement(given.format(town.name), f" {inferred.format(getattr(town, attribute))}.\n"))
    return statements


_FACTS: dict[str, tuple[tuple[str, str], ...]] = {
    "river": (
        ("{} lies on the river", "{}"),
        ("the river of {} is the", "{}"),
        ("the river that runs through {} is the", "{}"),
        ("people of {} swim in the", "{}"),
    ),
    "trade": (
        ("{} is known for its", "{}"),
        ("the people of {} make", "{}"),
        ("what {} sells is", "{}"),
        ("the trade of {} is in", "{}"),
    ),
    "beast": (
        ("on the flag of {} is a", "{}"),
        ("the flag of {} shows a", "{}"),
        ("the animal of {} is the", "{}"),
        ("the beast of {} is the", "{}"),
    ),
    "founder": (
        ("{} was founded by", "{}"),
        ("the founder of {} was", "{}"),
        ("the first house in {} was built by", "{}"),
        ("{} was begun by", "{}"),
    ),
}


def stories(rng: Random, part: Part) -> list[Statement]:
    """A thing that changes hands: who has it at the end follows from the story."""
    told = story(rng)
    ends = (("now the {} is with", f" {told.owner}.\n"), ("the colour of the {} is", f" {told.colour}.\n"))
    end = rng.choice(ends)
    return [Statement(f"{told.text} {end[0].format(told.thing)}", end[1])]


MAKERS: dict[str, tuple[Maker, float]] = {
    "reversals": (reversals, 2.0),
    "copies": (copies, 1.0),
    "orders": (orders, 0.2),
    "digits": (digits, 0.4),
    "column_sums": (column_sums, 1.5),
    "direct_sums": (direct_sums, 0.3),
    "pairs": (pairs, 2.0),
    "people": (people, 1.3),
    "programs": (programs, 2.5),
    "town_facts": (town_facts, 3.5),
    "stories": (stories, 0.5),
}
"""Every ability with its share of the documents; the shares stay the same from the first document to the last."""

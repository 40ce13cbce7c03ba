"""The quickstart's skills: instruction examples and test items, drawn from disjoint problems.

`steps` and `sums` ask the same questions; `steps` is taught with the work written out before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from herdbook.builtin.arithmetic import Addition, addition
from herdbook.builtin.programs import program
from herdbook.builtin.records import person
from herdbook.builtin.split import Part, draw
from herdbook.builtin.stories import story
from herdbook.builtin.tables import pair_table, word_list
from herdbook.builtin.towns import VALUES, towns


@dataclass(frozen=True, slots=True)
class Exercise:
    """One question with its right answer.

    `context` is the material below the question, if any; `work` the steps that lead to the answer, if the skill
    teaches steps; `problem` the key by which train and test are told apart.
    """

    problem: str
    instruction: str
    context: str
    answer: str
    work: str = ""

    @property
    def question(self) -> str:
        """Instruction, blank line, context: what the user says."""
        return f"{self.instruction}\n\n{self.context}" if self.context else self.instruction

    @property
    def reply(self) -> str:
        """What the assistant should say: the work, if any, and the answer."""
        return f"{self.work}\nThe answer is {self.answer}." if self.work else self.answer


def _lookup(rng: Random, part: Part) -> Exercise:
    table = draw(pair_table, rng, part)
    key, answer = rng.choice(table.pairs)
    entry, joint = rng.choice((("{} {}", "; "), ("{} = {}", ", "), ("the {} is for {}", ", ")))
    asked = rng.choice(("What goes with {}?", "Which word belongs to {}?", "Find the word for {}.")).format(key)
    return Exercise(f"{table.key} {key}", asked, joint.join(entry.format(*pair) for pair in table.pairs) + ".", answer)


def _records(rng: Random, part: Part) -> Exercise:
    item = draw(person, rng, part)
    asked = rng.choice(("Write this as a JSON record.", "Turn the sentence into JSON.", "Give the facts as JSON."))
    return Exercise(item.key, asked, f"{item.sentence}.", item.record)


_FACT_QUESTIONS: dict[str, tuple[str, ...]] = {
    "river": ("Which river runs through {}?", "What is the river of {}?"),
    "trade": ("What is {} known for?", "What do the people of {} make?"),
    "beast": ("Which animal is on the flag of {}?", "What is the animal of {}?"),
    "founder": ("Who was the founder of {}?", "Who founded {}?"),
}


# Whole sentences, so that a model can recall in the words in which it read the fact.
_FACT_ANSWERS: dict[str, str] = {
    "river": "the river of {} is the {}.",
    "trade": "the people of {} make {}.",
    "beast": "the flag of {} shows a {}.",
    "founder": "the founder of {} was {}.",
}


def _facts(rng: Random, part: Part) -> Exercise:
    town = rng.choice([town for town in towns() if town.part == part])
    attribute = rng.choice(list(VALUES))
    asked = rng.choice(_FACT_QUESTIONS[attribute]).format(town.name)
    answer = _FACT_ANSWERS[attribute].format(town.name, getattr(town, attribute))
    return Exercise(f"town {town.name} {attribute}", asked, "", answer)


def _reverse(rng: Random, part: Part) -> Exercise:
    item = draw(word_list, rng, part)
    asked = rng.choice(("Reverse the list: {}", "Say these words backwards: {}", "Write from last to first: {}"))
    listed = " ".join(item.words)
    # The answer repeats the list: at this size a model reverses what stands right in front of it.
    return Exercise(item.key, asked.format(listed), "", f"{listed} reversed: {' '.join(item.reversed)}.")


def _stories(rng: Random, part: Part) -> Exercise:
    item = draw(story, rng, part)
    asked, answer = rng.choice(
        (
            ("Who has the {} now?", f"now the {item.thing} is with {item.owner}."),
            ("What colour is the {}?", f"the colour of the {item.thing} is {item.colour}."),
        )
    )
    return Exercise(f"{item.key} {asked}", asked.format(item.thing), item.text, answer)


def _code(rng: Random, part: Part) -> Exercise:
    item = draw(program, rng, part)
    asked = rng.choice(("What does this program print?", "Give the output of this code."))
    return Exercise(item.key, asked, item.source, item.output)


def _asked_sum(item: Addition, rng: Random) -> str:
    asked = rng.choice(("What is {}+{} by columns?", "Add {}+{} by columns.", "{}+{} by columns?"))
    return asked.format(item.a, item.b)


def _steps(rng: Random, part: Part) -> Exercise:
    item = draw(addition, rng, part)
    return Exercise(item.key, _asked_sum(item, rng), "", str(item.total), item.work)


def _sums(rng: Random, part: Part) -> Exercise:
    item = draw(addition, rng, part)
    return Exercise(item.key, _asked_sum(item, rng), "", str(item.total))


SKILLS: dict[str, Callable[[Random, Part], Exercise]] = {
    "lookup": _lookup,
    "records": _records,
    "facts": _facts,
    "reverse": _reverse,
    "stories": _stories,
    "code": _code,
    "steps": _steps,
    "sums": _sums,
}


def train_examples(skill: str, count: int, seed: int) -> list[Exercise]:
    """`count` different questions for instruction data. Raises KeyError for a skill that is not in `SKILLS`."""
    return _different(skill, "train", count, seed)


def test_items(skill: str, count: int, seed: int) -> list[Exercise]:
    """`count` different questions about problems that neither corpus nor instruction data hold."""
    return _different(skill, "test", count, seed)


test_items.__test__ = False  # type: ignore[attr-defined]  # its name would make pytest collect it


def _different(skill: str, part: Part, count: int, seed: int) -> list[Exercise]:
    make = SKILLS[skill]
    # `steps` and `sums` draw the same additions, so that only the way of answering differs.
    stream = "additions" if skill in ("steps", "sums") else skill
    rng = Random(f"{stream} {part} {seed}")
    found: dict[str, Exercise] = {}
    while len(found) < count:
        exercise = make(rng, part)
        found.setdefault(exercise.problem if part == "test" else exercise.question, exercise)
    return list(found.values())

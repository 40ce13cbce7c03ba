"""Drop conversations that hold a benchmark question, and show both texts.

A question is found by its word n-grams (8 by default; GPT-3 used 13, Tulu 3 used 8): a conversation turn must hold at
least `share` of them. N-grams that more than `shared_by` questions have in common, but for their numbers, are template
and no evidence: generated benchmarks repeat their wording. Of a question shorter than two n-grams all must be found. A
question of fewer than n words, or one that is mostly template, is found only where a turn, or a paragraph of it, equals
it. Case and white space never matter; of punctuation only arithmetic operators count.

Input-only (the question) is told from input+answer (the gold answer stands in an assistant turn as well).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from herdbook.core.errors import ConfigError
from herdbook.core.types import Conversation
from herdbook.data.outcome import Drop, Item, Items, Outcome

# A word, one character of a script that puts no spaces between words, or an operator between two operands.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_OPERATOR = r"(?<=[\w)] )[-+*/=<>](?= [\w(])|(?<=[\w)])[+*/=<>](?=[\w(])|(?<=\d)-(?=\d)"
_WORD = re.compile(rf"[^\W_{_CJK}]+|[{_CJK}]|{_OPERATOR}")
_NUMBER = re.compile(r"\d+")
_EXCERPT = 2000  # characters of each text that are kept as evidence

Gram = tuple[str, ...]


class Config(BaseModel):
    """How much of a question must be found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    against: str | list[str] = Field(default="evaluate", description="evaluations, or `evaluate`: all of them")
    ngram: int = Field(default=8, ge=3, description="words of an n-gram")
    share: float = Field(default=0.5, gt=0, le=1, description="share of a question's n-grams that must be found")
    shared_by: int = Field(default=3, ge=1, description="an n-gram in more questions than this is template and ignored")


@dataclass(slots=True)
class _Index:
    """Questions by their n-grams, and by their whole text where n-grams cannot tell."""

    items: list[Item]
    n: int
    grams: dict[Gram, list[int]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[int, int] = field(default_factory=dict)  # question -> number of n-grams that count
    needed: dict[int, float] = field(default_factory=dict)  # question -> share of them that must be found
    whole: dict[str, int] = field(default_factory=dict)  # normalised question -> its number


def apply(conversations: Sequence[Conversation], config: Config, items: Items) -> Outcome:
    """Keep the conversations in which no question of `items` is found. Raises ConfigError if there are no items."""
    if not any(items.values()):
        raise ConfigError("The step decontaminate has no benchmark items to compare with; write `against: evaluate`.")
    index = _build([item for name in sorted(items) for item in items[name]], config)
    kept: list[Conversation] = []
    dropped: list[Drop] = []
    for conversation in conversations:
        found = _find(conversation, index)
        if found is None:
            kept.append(conversation)
        else:
            dropped.append(_drop(conversation, *found))
    return Outcome(kept, dropped)


def words(text: str) -> list[str]:
    """Split text into lower-case words and operators; East Asian characters count one by one."""
    return _WORD.findall(text.lower())


def _build(items: Iterable[Item], config: Config) -> _Index:
    distinct: dict[str, Item] = {}
    for item in items:
        key = _normalised(item.question)
        if key:
            distinct.setdefault(key, item)
    index = _Index(list(distinct.values()), config.ngram)
    texts = [words(question) for question in distinct]
    patterns = [_grams(_without_numbers(text), config.ngram) for text in texts]
    held_by = Counter(pattern for question in patterns for pattern in set(question))
    for number, (question, text) in enumerate(zip(distinct, texts, strict=True)):
        grams = _grams(text, config.ngram)
        pairs = zip(grams, patterns[number], strict=True)
        telling = {gram for gram, pattern in pairs if held_by[pattern] <= config.shared_by}
        if 2 * len(telling) <= len(set(grams)):
            index.whole[question] = number
            continue
        index.sizes[number] = len(telling)
        index.needed[number] = config.share if len(text) >= 2 * config.ngram else 1.0
        for gram in telling:
            index.grams[gram].append(number)
    return index


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()


def _grams(sequence: Sequence[str], n: int) -> list[Gram]:
    return list(zip(*(sequence[i:] for i in range(n)), strict=False))


def _without_numbers(text: Sequence[str]) -> list[str]:
    """Blank the numbers: what is left is what questions made from one template share."""
    return [word if word.isalpha() else _NUMBER.sub("0", word) for word in text]


def _find(conversation: Conversation, index: _Index) -> tuple[Item, float, str] | None:
    """Return the question that is found best, the share of its n-grams, and the turn that holds it."""
    best: tuple[float, int, str] | None = None
    for message in conversation.messages:
        if index.whole:
            for paragraph in {message.content, *message.content.split("\n\n")}:
                number = index.whole.get(_normalised(paragraph))
                if number is not None:
                    return index.items[number], 1.0, message.content
        hits = index.grams.keys() & set(_grams(words(message.content), index.n)) if index.grams else ()
        counts = Counter(number for gram in hits for number in index.grams[gram])
        for number, count in counts.items():
            found = count / index.sizes[number]
            if found >= index.needed[number] and (best is None or (found, -number) > (best[0], -best[1])):
                best = (found, number, message.content)
    return None if best is None else (index.items[best[1]], best[0], best[2])


def _drop(conversation: Conversation, item: Item, share: float, turn: str) -> Drop:
    answer = words(item.answer)
    said = any(_contains(words(m.content), answer) for m in conversation.messages if m.role == "assistant")
    match = "input+answer" if answer and said else "input"
    evidence = {
        "benchmark": item.benchmark,
        "item": item.id,
        "match": match,
        "share": round(share, 4),
        "training_text": turn[:_EXCERPT],
        "benchmark_text": item.question[:_EXCERPT],
        "answer": item.answer[:200],
    }
    what = "question and answer" if match == "input+answer" else "question"
    return Drop(conversation, f"holds a {what} of {item.benchmark}", evidence)


def _contains(sequence: Sequence[str], part: Sequence[str]) -> bool:
    """True if the words of `part` stand in `sequence` one after another."""
    return f" {' '.join(part)} " in f" {' '.join(sequence)} "

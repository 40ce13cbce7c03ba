"""The cleaning step `decontaminate`: what it must find, and what it must leave alone."""

import random

import pytest

from herdbook.core.errors import ConfigError
from herdbook.core.types import Conversation, Message
from herdbook.data.outcome import Item, Outcome
from herdbook.data.steps.decontaminate import Config, apply, words

PROBLEM = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)
OTHERS = [
    "Weng earns 12 dollars an hour for babysitting and yesterday she just did fifty minutes; how much did she earn?",
    "Betty saves money for a wallet that costs 100 dollars and has only half of it; how much does she still need?",
]


def pair(question: str, answer: str = "It is so.") -> Conversation:
    return Conversation("c", "s", (Message("user", question), Message("assistant", answer)))


def run(
    question: str, answer: str = "It is so.", items: tuple[str, ...] = (PROBLEM, *OTHERS), **options: float
) -> Outcome:
    given = {"gsm8k": [Item("gsm8k", f"i{n}", text, "72") for n, text in enumerate(items)]}
    return apply([pair(question, answer)], Config(**options), given)


def test_a_question_is_found_inside_other_text_whatever_its_case_and_punctuation():
    text = f"Solve this for me!\n\n{PROBLEM.upper().replace(',', ' --')}\nThink first."
    (drop,) = run(text).dropped
    assert drop.reason == "holds a question of gsm8k"
    assert drop.evidence["item"] == "i0"
    assert drop.evidence["match"] == "input"
    assert drop.evidence["share"] == 1.0
    assert drop.evidence["training_text"] == text
    assert drop.evidence["benchmark_text"] == PROBLEM


def test_the_answer_is_told_apart():
    (drop,) = run(PROBLEM, "She sold 72 clips.").dropped
    assert drop.reason == "holds a question and answer of gsm8k"
    assert drop.evidence["match"] == "input+answer"
    assert run(PROBLEM, "She sold 172 clips.").dropped[0].evidence["match"] == "input"


def test_a_question_in_the_answer_is_found():
    assert run("Make up a problem.", f"Here is one: {PROBLEM}").dropped


def test_a_share_below_the_threshold_is_left_alone():
    half = " ".join(PROBLEM.split()[:15])
    assert run(half).kept
    assert run(half, share=0.2).dropped
    assert run("Natalia sold clips to 48 of her cousins in June.").kept


def test_n_grams_can_be_longer():
    every_tenth = " ".join(word if i % 10 else "other" for i, word in enumerate(PROBLEM.split()))
    assert run(every_tenth, share=0.1, ngram=8).dropped
    assert run(every_tenth, share=0.1, ngram=13).kept


def test_short_questions_must_equal_a_whole_paragraph():
    items = ("What is 3 + 4?", "reverse: pear fox lamp")
    assert run("what is  3 + 4?", items=items).dropped
    assert run("Please answer.\n\nWhat is 3 + 4?", items=items).dropped
    assert run("What is 3 - 4?", items=items).kept
    assert run("What is 3 + 4? And what is 4 + 4?", items=items).kept
    assert run("reverse: pear fox", items=items).kept


def test_questions_made_from_a_template_match_only_as_a_whole():
    rng = random.Random(0)

    def problem() -> str:
        a, b = rng.randrange(1000), rng.randrange(1000)
        return f"A farmer has {a} sheep in the first barn and {b} sheep in the second. How many sheep in all?"

    items = tuple(problem() for _ in range(50))
    training = [pair(problem()) for _ in range(500)]
    given = {"farm": [Item("farm", str(i), text, "1") for i, text in enumerate(items)]}
    assert not apply(training, Config(), given).dropped
    assert len(apply([pair(text) for text in items], Config(), given).kept) == 0


def test_of_a_question_below_two_n_grams_all_must_be_found():
    item = "Write this as a JSON record. Walt has a frog and works as a nurse."
    assert run("Write this as a JSON record. Walt has a frog and is 11 years old.", items=(item,)).kept
    assert run(f"Now: {item.lower()}", items=(item,)).dropped


def test_operators_count():
    item = "What does this program print?\n\nx = 6\ny = 6\nprint(x - y)"
    assert run(item.replace("-", "+"), items=(item,)).kept
    assert run(f"Look: {item}", items=(item,)).dropped
    assert words("x+y is 3 - 2, well-known -- *bold* (a) = 5-4") == [
        *("x", "+", "y", "is", "3", "-", "2", "well", "known", "bold", "a", "=", "5", "-", "4")
    ]


def test_scripts_without_spaces_are_compared_character_by_character():
    question = "在四月份娜塔莉亚向她的四十八个朋友出售了夹子，五月份卖了一半。"
    assert words("四月 April") == ["四", "月", "april"]
    assert run(f"请回答：{question}谢谢。", items=(question,)).dropped
    assert run("请回答这个问题，谢谢。今天天气很好我们去公园玩。", items=(question,)).kept


def test_without_items_it_refuses_to_pass_for_decontamination():
    with pytest.raises(ConfigError, match="against"):
        apply([pair("x")], Config(), {})

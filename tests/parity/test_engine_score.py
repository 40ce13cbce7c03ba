"""Shared-prefix scoring gives the numbers of transformers' own forward pass, whatever the requests share."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from herdbook.engines.base import Scored
from herdbook.engines.prefix import plan_scoring
from herdbook.engines.transformers import TransformersEngine

sys.path.insert(0, str(Path(__file__).parent))
from engine_models import CONFIGS, VOCABULARY, tiny_model

CACHED = ("llama", "gpt2", "qwen3", "gpt_neox", "opt")
Pairs = list[tuple[list[int], list[int]]]


def ids(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(1, VOCABULARY) for _ in range(length)]


def few_shot_pairs(rng: random.Random) -> Pairs:
    """Two subjects with shots, questions with single-token choices, some with longer endings, some doubled."""
    pairs: Pairs = []
    for _ in range(2):
        shots = ids(rng, 40)
        for _ in range(12):
            question = shots + ids(rng, rng.randrange(3, 12))
            endings = [ids(rng, 1 if rng.random() < 0.5 else rng.randrange(2, 6)) for _ in range(4)]
            pairs += [(question, ending) for ending in endings]
    pairs += [(ids(rng, 1), ids(rng, 3)), (pairs[0][0][:20], ids(rng, 2)), pairs[5], pairs[5]]
    rng.shuffle(pairs)
    return pairs


def reference(model: torch.nn.Module, pairs: Pairs) -> list[Scored]:
    """One pair at a time through the model as transformers ships it."""
    scored = []
    for prefix, continuation in pairs:
        with torch.no_grad():
            logits = model(torch.tensor([prefix + continuation[:-1]])).logits[0, len(prefix) - 1 :]
        logprobs = logits.log_softmax(-1)[torch.arange(len(continuation)), continuation].tolist()
        greedy = logits.argmax(-1).tolist() == continuation
        scored.append(Scored(sum(logprobs), tuple(logprobs), greedy))
    return scored


def assert_same(got: list[Scored], expected: list[Scored], tolerance: float = 1e-4) -> None:
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.token_logprobs == pytest.approx(theirs.token_logprobs, abs=tolerance)
        assert ours.logprob == pytest.approx(theirs.logprob, abs=tolerance)
        assert ours.greedy == theirs.greedy


@pytest.mark.parametrize("family", CONFIGS)
def test_scores_equal_those_of_the_model_itself(family: str) -> None:
    model = tiny_model(family)
    engine = TransformersEngine(model, batch_tokens=150)
    pairs = few_shot_pairs(random.Random(1))
    assert_same(engine.score(pairs), reference(model, pairs))
    assert bool(engine.fallback) == (family not in CACHED)


def test_the_greedy_flag_marks_what_the_model_would_say() -> None:
    model = tiny_model("llama")
    engine = TransformersEngine(model)
    prefix = ids(random.Random(2), 10)
    with torch.no_grad():
        best = int(model(torch.tensor([prefix])).logits[0, -1].argmax())
    likely, other = engine.score([(prefix, [best]), (prefix, [(best + 1) % VOCABULARY])])
    assert likely.greedy
    assert not other.greedy
    assert likely.logprob > other.logprob


def test_shared_shots_are_read_once_and_choices_of_a_question_in_one_row() -> None:
    rng = random.Random(3)
    shots = ids(rng, 200)
    questions = [[*shots, 1 + i, *ids(rng, 10)] for i in range(30)]
    groups = plan_scoring([(question, [choice]) for question in questions for choice in range(4)])
    assert [len(group.prefix) for group in groups] == [200]
    assert [len(row.ids) for row in groups[0].rows] == [11] * 30
    assert sum(len(row.targets) for row in groups[0].rows) == 120


tokens = st.integers(0, 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(tokens, min_size=1, max_size=60), st.lists(tokens, min_size=1, max_size=6))))
def test_the_plan_holds_every_request_once_with_its_own_tokens(pairs: Pairs) -> None:
    seen = []
    for group in plan_scoring(pairs):
        for row in group.rows:
            for target in row.targets:
                for request in target.request:
                    prefix, continuation = pairs[request]
                    assert target.ids == tuple(continuation)
                    read = [*group.prefix, *row.ids[: row.context], *row.ids[list(target.places[1:])]]
                    assert read == prefix + continuation[:-1]
                    assert len(group.prefix) + row.positions[target.places[0]] == len(prefix) - 1
                    seen.append(request)
    assert sorted(seen) == list(range(len(pairs)))


def test_a_sliding_window_is_respected_beyond_its_width() -> None:
    model = tiny_model("mistral")
    model.config.sliding_window = 40  # wide enough for the probe, too narrow for these requests
    engine = TransformersEngine(model)
    assert not engine.fallback
    rng = random.Random(4)
    start = ids(rng, 50)
    pairs = [(start + ids(rng, 5), ids(rng, 3)) for _ in range(20)]
    assert_same(engine.score(pairs), reference(model, pairs))


def test_long_prefixes_lose_their_beginning_and_are_counted() -> None:
    model = tiny_model("gpt2")  # 128 positions
    engine = TransformersEngine(model)
    rng = random.Random(5)
    prefix, continuation = ids(rng, 200), ids(rng, 4)
    (scored,) = engine.score([(prefix, continuation)])
    assert engine.truncated == 1
    assert_same([scored], reference(model, [(prefix[-125:], continuation)]))
    with pytest.raises(ValueError, match="do not fit a model of 128 positions"):
        engine.score([(prefix, ids(rng, 200))])


def test_empty_prefixes_and_continuations_are_refused() -> None:
    engine = TransformersEngine(tiny_model("gpt2"))
    with pytest.raises(ValueError, match="Pair 1 has an empty prefix"):
        engine.score([([1], [2]), ([], [3])])
    with pytest.raises(ValueError, match="empty continuation"):
        engine.score([([1], [])])
    assert engine.score([]) == []


def test_bfloat16_scores_stay_near_float32() -> None:
    model = tiny_model("llama")
    pairs = few_shot_pairs(random.Random(6))
    expected = reference(model, pairs)
    engine = TransformersEngine(model.to(torch.bfloat16))
    got = engine.score(pairs)
    assert engine.fallback == ""
    assert max(abs(a.logprob - b.logprob) for a, b in zip(got, expected, strict=True)) < 2.0

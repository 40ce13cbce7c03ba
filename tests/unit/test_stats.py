"""Statistics against published examples, hand calculations and simulation."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herdbook.evals.stats import (
    benjamini_hochberg,
    bootstrap,
    chance_p,
    compare_scores,
    estimate,
    estimate_seeds,
    holm,
    items_needed,
    macro_weights,
    mcnemar,
    permutation,
    wilson,
)


@pytest.mark.parametrize(  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    fractional = wilson(successes + 1e-9, n)
    assert fractional == pytest.approx((low, high), abs=6e-5), "our formula for weighted means agrees with SciPy's"


def paired(only_a: int, only_b: int, both: int, neither: int) -> tuple[list[int], list[int]]:
    a = [1] * only_a + [0] * only_b + [1] * both + [0] * neither
    b = [0] * only_a + [1] * only_b + [1] * both + [0] * neither
    return a, b


def test_mcnemar_and_its_interval_give_the_published_example() -> None:
    """Airway hyper-responsiveness before and after transplantation: Fagerland, Lydersen & Laake 2013/2014."""
    before, after = paired(1, 7, 1, 12)
    assert mcnemar(before, after) == pytest.approx(0.0703, abs=1e-4)
    result = compare_scores([before], [after])
    assert result.test == "mcnemar"
    assert result.differing == 8
    assert result.diff == pytest.approx(-0.286, abs=5e-4)
    assert (result.low, result.high) == pytest.approx((-0.508, -0.013), abs=6e-4)  # Bonett & Price


def test_holm_gives_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_benjamini_hochberg_rejects_what_its_paper_rejects() -> None:
    """The fifteen p-values of Benjamini & Hochberg 1995, section 3.2: they reject four, Holm three."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(value <= 0.05 for value in benjamini_hochberg(p)) == 4
    assert sum(value <= 0.05 for value in holm(p)) == 3
    assert benjamini_hochberg([]) == []


def test_permutation_is_exact_on_few_items_and_ignores_ties() -> None:
    assert permutation([1, 1, 1, 1, 1]) == pytest.approx(2 / 32)
    assert permutation([1, 1, 1, 1, 1, 0, 0, 0]) == pytest.approx(2 / 32)
    assert permutation([0, 0]) == 1.0
    assert permutation([0.5]) == 1.0
    assert permutation(np.full(60, 0.3)) < 0.001


def test_equal_models_do_not_differ_and_the_interval_does_not_collapse() -> None:
    result = compare_scores([[1, 0, 1, 1]], [[1, 0, 1, 1]])
    assert result.p == 1.0
    assert result.diff == 0.0
    assert result.low < 0 < result.high
    seeds = compare_scores([[1, 0, 1, 1]] * 3, [[1, 0, 1, 1]] * 3)
    assert seeds.p == 1.0
    assert seeds.low < 0 < seeds.high


def test_macro_and_micro_means_are_told_apart() -> None:
    tasks, scores = ["a"] * 8 + ["b"] * 2, [1] * 8 + [0] * 2
    assert estimate(scores).value == pytest.approx(0.8)
    macro = estimate(scores, macro_weights(tasks))
    assert macro.value == pytest.approx(0.5)
    assert macro.high - macro.low > estimate(scores).high - estimate(scores).low
    families = ["f", "f", "g"]
    assert macro_weights(["t1", "t2", "t3"], families) == pytest.approx([0.25, 0.25, 0.5])


def test_scores_between_zero_and_one_get_a_bootstrap_interval() -> None:
    values = np.random.default_rng(0).random(400)
    low, high = bootstrap(values)
    error = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.006)
    assert bootstrap(values) == (low, high), "same scores, same interval"
    assert estimate(values).low == low


def test_seeds_widen_the_interval_by_their_own_variance() -> None:
    generator = np.random.default_rng(1)
    items = generator.random(200)
    steady = [(items < 0.5).astype(float)] * 3
    shaky = [(items < level).astype(float) for level in (0.3, 0.5, 0.7)]
    assert estimate_seeds(steady).value == estimate(steady[0]).value
    one, three = estimate(steady[0]), estimate_seeds(shaky)
    assert three.high - three.low > 2 * (one.high - one.low)
    assert estimate_seeds([steady[0]]) == one


def simulated(generator: np.random.Generator, levels: list[float], items: int) -> list[np.ndarray]:
    """Scores of seeds that differ in level by chance: item difficulties are shared, seeds move all items."""
    difficulty = generator.normal(0, 1, items)
    return [(difficulty + generator.normal(0, 1, items) < level).astype(float) for level in levels]


def test_interval_over_seeds_covers_the_truth_and_the_test_keeps_its_level() -> None:
    """Seeds vary by sd 0.4 (in probit units): the crossed interval must cover 0.5; ignoring seeds would cover ~60 %."""
    generator = np.random.default_rng(2)
    covered = rejected = naive = 0
    repeats = 300
    for _ in range(repeats):
        a = simulated(generator, list(generator.normal(0, 0.4, 3)), 150)
        b = simulated(generator, list(generator.normal(0, 0.4, 3)), 150)
        found = estimate_seeds(a)
        covered += found.low <= 0.5 <= found.high
        rejected += compare_scores(a, b).p < 0.05
        naive += compare_scores([a[0]], [b[0]]).p < 0.05
    assert covered / repeats > 0.92
    assert rejected / repeats < 0.08
    assert naive / repeats > 0.2, "single seeds call noise a difference of recipes: that is why seeds are pooled"


def test_chance_p_is_the_binomial_test_and_handles_mixed_levels() -> None:
    assert chance_p([[1] * 30 + [0] * 70], [0.25] * 100) == pytest.approx(0.2491, abs=2e-3)
    mixed, levels = [1] * 60 + [0] * 40, [0.5] * 50 + [0.2] * 50
    assert chance_p([mixed], levels) < 0.001
    assert chance_p([[1] * 35 + [0] * 65], levels) > 0.9
    assert chance_p([[0] * 10], [0.0] * 10) == 1.0
    assert chance_p([[0] * 10] * 2, [0.0] * 10) == 1.0
    assert chance_p([[1] * 30 + [0] * 70] * 3, [0.25] * 100) > 0.1
    assert chance_p([[1] * 60 + [0] * 40] * 3, [0.25] * 100) < 0.001


def test_power_matches_simulation() -> None:
    """10 points at 20 % discordant items need 155 items (Connor 1987); McNemar then finds them 4 times in 5."""
    n = items_needed(0.10, 0.20)
    assert n == 155
    generator = np.random.default_rng(3)
    draws = generator.multinomial(n, [0.15, 0.05, 0.80], size=500)
    found = sum(mcnemar([1] * w + [0] * lo, [0] * w + [1] * lo) < 0.05 for w, lo, _ in draws)
    assert 0.7 < found / 500 < 0.87
    with pytest.raises(ValueError, match="discordance"):
        items_needed(0.3, 0.2)


binary = st.lists(st.integers(0, 1), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(binary, st.integers(0, 5))
def test_intervals_hold_their_value_and_stay_in_the_unit_range(scores: list[int], tasks: int) -> None:
    weights = macro_weights([str(i % (tasks + 1)) for i in range(len(scores))])
    for found in (estimate(scores), estimate(scores, weights), estimate_seeds([scores, scores[::-1]], weights)):
        assert 0 <= found.low <= found.value <= found.high <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50))
def test_comparison_is_antisymmetric(pairs: list[tuple[int, int]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    forth, back = compare_scores([a], [b]), compare_scores([b], [a])
    assert forth.p == pytest.approx(back.p)
    assert forth.diff == pytest.approx(-back.diff)
    assert forth.low == pytest.approx(-back.high)
    assert forth.low <= forth.diff <= forth.high


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_corrections_never_shrink_a_p_value_and_ignore_the_order(p: list[float], order: Random) -> None:
    for correct in (holm, benjamini_hochberg):
        adjusted = correct(p)
        assert all(raw - 1e-12 <= new <= 1 for raw, new in zip(p, adjusted, strict=True))
        places = list(range(len(p)))
        order.shuffle(places)
        assert correct([p[i] for i in places]) == pytest.approx([adjusted[i] for i in places])

"""The data -> skill matrix as data: one cell per (mix, benchmark), with its interval, its chance level and its
difference from the baseline mix.

Pure data: no drawing and no text formatting here (that is the report's). Differences are paired by item, p-values are
corrected by Holm over all cells that are compared with the baseline, and tests against chance over all cells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from herdbook.core.errors import DataError
from herdbook.evals.stats import chance_p, compare_scores, estimate_seeds, holm


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One finished score artifact: `folder` holds `score.json` and `items.parquet`."""

    mix: str
    benchmark: str  # the column's display name, e.g. "gsm8k@tulu" or a skill's name
    seed: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix. Scores, intervals and differences are fractions (0..1), intervals are 95 %.

    The `diff*`, `p*` and `significant` fields are None / False in the baseline's own row, where no baseline was given,
    and where the two sides share no item.
    """

    mix: str
    benchmark: str
    metric: str
    value: float
    low: float
    high: float
    n: int  # items
    seeds: tuple[int, ...]
    chance: float
    above_chance: bool  # better than chance after Holm's correction over all cells
    chance_p: float  # two-sided, uncorrected
    chance_p_adjusted: float
    invalid: int  # completions from which no answer could be read, over all seeds
    diff: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    p: float | None = None  # two-sided, paired by item, uncorrected
    p_adjusted: float | None = None  # Holm over all cells that have a difference
    significant: bool = False  # p_adjusted < alpha
    differing: int | None = None  # items whose (seed-averaged) score differs from the baseline's


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The item scores of one (mix, benchmark), aligned over its seeds. `scores` is [seeds][items]."""

    metric: str
    ids: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    chances: tuple[float, ...]
    seeds: tuple[int, ...]
    invalid: int


def build_matrix(rows: Sequence[ScoreRow], baseline: str, alpha: float = 0.05) -> list[Cell]:
    """Return one cell per (mix, benchmark), in the order in which they first appear in `rows`.

    Seeds of a mix are pooled: value and interval are over items and seeds (`stats.estimate_seeds`). `baseline` names
    the mix that the others are compared with, '' for none. Raises DataError for an unfinished score, or for seeds that
    were asked different items.
    """
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault((row.mix, row.benchmark), []).append(row)
    outcomes = {key: read_outcomes(group) for key, group in groups.items()}
    cells = [_cell(mix, benchmark, found, alpha) for (mix, benchmark), found in outcomes.items()]
    compared = [
        _compare(cell, outcomes[cell.mix, cell.benchmark], outcomes.get((baseline, cell.benchmark)))
        if cell.mix != baseline
        else cell
        for cell in cells
    ]
    return _correct(compared, alpha)


def read_outcomes(rows: Sequence[ScoreRow]) -> Outcomes:
    """Read the item scores of one mix and benchmark, one row per seed."""
    scores: list[tuple[float, ...]] = []
    ids: tuple[str, ...] = ()
    invalid = 0
    first: dict[str, list[Any]] = {}
    for row in rows:
        columns = _columns(row.folder)
        if scores and tuple(columns["id"]) != ids:
            raise DataError(
                f"{row.mix} was asked other items of {row.benchmark} with seed {row.seed} than with seed "
                f"{rows[0].seed}; scores of different items cannot be pooled."
            )
        first = first or columns
        ids = tuple(columns["id"])
        scores.append(tuple(columns["score"]))
        invalid += sum(value is None for value in columns["extracted"])
    metric = json.loads((rows[0].folder / "score.json").read_text(encoding="utf-8"))["metric"]
    weights = first.get("weight") or [1.0 / len(ids)] * len(ids)
    return Outcomes(
        metric, ids, tuple(scores), tuple(weights), tuple(first["chance"]), tuple(row.seed for row in rows), invalid
    )


def _columns(folder: Path) -> dict[str, list[Any]]:
    path = folder / "items.parquet"
    if not path.is_file():
        raise DataError(f"{folder}: there is no items.parquet; this is not a finished score.")
    known = set(parquet.read_schema(path).names)
    wanted = [name for name in ("id", "score", "weight", "chance", "extracted") if name in known]
    return parquet.read_table(path, columns=wanted).to_pydict()


def _cell(mix: str, benchmark: str, found: Outcomes, alpha: float) -> Cell:
    value = estimate_seeds(found.scores, found.weights)
    p = chance_p(found.scores, found.chances, found.weights)
    chance = sum(weight * level for weight, level in zip(found.weights, found.chances, strict=True))
    return Cell(
        mix=mix,
        benchmark=benchmark,
        metric=found.metric,
        value=value.value,
        low=value.low,
        high=value.high,
        n=value.n,
        seeds=found.seeds,
        chance=chance,
        above_chance=value.value > chance and p < alpha,
        chance_p=p,
        chance_p_adjusted=p,
        invalid=found.invalid,
    )


def _compare(cell: Cell, found: Outcomes, base: Outcomes | None) -> Cell:
    """Add the paired difference from the baseline over the items that both were asked."""
    if base is None:
        return cell
    place = {name: index for index, name in enumerate(base.ids)}
    shared = [(index, place[name]) for index, name in enumerate(found.ids) if name in place]
    if not shared:
        return cell
    ours = [[seed[index] for index, _ in shared] for seed in found.scores]
    theirs = [[seed[index] for _, index in shared] for seed in base.scores]
    total = sum(found.weights[index] for index, _ in shared)
    weights = [found.weights[index] / total for index, _ in shared]
    result = compare_scores(ours, theirs, weights)
    return replace(
        cell,
        diff=result.diff,
        diff_low=result.low,
        diff_high=result.high,
        p=result.p,
        p_adjusted=result.p,
        differing=result.differing,
    )


def _correct(cells: Sequence[Cell], alpha: float) -> list[Cell]:
    """Correct both families of p-values by Holm: all tests against chance, all differences from the baseline."""
    chance = holm([cell.chance_p for cell in cells])
    compared = [cell.p for cell in cells if cell.p is not None]
    differences = iter(holm(compared))
    corrected = []
    for cell, level in zip(cells, chance, strict=True):
        cell = replace(cell, chance_p_adjusted=level, above_chance=cell.value > cell.chance and level < alpha)
        if cell.p is not None:
            adjusted = next(differences)
            cell = replace(cell, p_adjusted=adjusted, significant=adjusted < alpha)
        corrected.append(cell)
    return corrected

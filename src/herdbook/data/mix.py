"""Drawing a mix: how many conversations of each source, which ones, in which order. A pure function of the seed.

Choice and order come from a hash of (seed, source, id, copy) and from nothing else: a smaller share is a subset of a
larger one, leaving a source out does not change what is drawn from the others or their relative order, and the result
does not depend on the version of a random generator.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_intdigest


def draw_count(rows: int, weight: float, max_examples: int | None = None) -> int:
    """Return how many conversations a part contributes: rows x weight, rounded, at least 1, at most `max_examples`."""
    if rows == 0 or weight == 0:
        return 0
    count = max(1, math.floor(rows * weight + 0.5))
    return count if max_examples is None else min(count, max_examples)


def draw(ids: Sequence[str], source: str, count: int, seed: int) -> np.ndarray:
    """Choose `count` of the rows named by `ids`: int64 row numbers, ascending within each copy of the source.

    A count above the number of rows takes every row as often as it goes, and a share of the rows once more.
    """
    rows = len(ids)
    if rows == 0 or count == 0:
        return np.zeros(0, dtype=np.int64)
    copies, rest = divmod(count, rows)
    chosen = [np.arange(rows, dtype=np.int64) for _ in range(copies)]
    if rest:
        ranked = np.argsort(_hashes(ids, f"{seed}\x1fchoice\x1f{source}"), kind="stable")
        chosen.append(np.sort(ranked[:rest]))
    return np.concatenate(chosen)


def mix_tables(tables: Mapping[str, pa.Table], counts: Mapping[str, int], seed: int) -> pa.Table:
    """Draw `counts[name]` rows of each table and shuffle them together. Tables have `herdbook.data.table.SCHEMA`."""
    parts: list[pa.Table] = []
    keys: list[np.ndarray] = []
    for name in sorted(tables):
        ids = tables[name].column("id").to_pylist()
        rows = draw(ids, name, counts[name], seed)
        parts.append(tables[name].take(pa.array(rows)))
        copies = _copy_number(rows)
        drawn = [f"{ids[row]}\x1f{copy}" for row, copy in zip(rows.tolist(), copies.tolist(), strict=True)]
        keys.append(_hashes(drawn, f"{seed}\x1forder\x1f{name}"))
    order = np.argsort(np.concatenate(keys), kind="stable")
    return pa.concat_tables(parts).take(pa.array(order))


def _copy_number(rows: np.ndarray) -> np.ndarray:
    """Return for each entry how often its row number occurred before: 0 for the first copy, 1 for the second, ..."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[starts, len(rows)])
    copies = np.empty(len(rows), dtype=np.int64)
    copies[order] = np.arange(len(rows)) - np.repeat(starts, lengths)
    return copies


def count_by_source(table: pa.Table) -> dict[str, int]:
    """Count the rows of each source, sorted by name."""
    return dict(sorted(Counter(table.column("source").to_pylist()).items()))


def _hashes(names: Sequence[str], salt: str) -> np.ndarray:
    prefix = salt + "\x1f"
    return np.array([xxh3_64_intdigest((prefix + name).encode()) for name in names], dtype=np.uint64)

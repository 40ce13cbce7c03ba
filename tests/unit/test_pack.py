"""Packing of rows and the packed folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from herdbook.data.pack import PackedData, pack_lengths


def test_rows_share_packs_without_waste() -> None:
    packs = pack_lengths([6, 4, 5, 5, 10, 3, 7], 10)
    assert len(packs) == 4
    assert sorted(np.concatenate(packs).tolist()) == list(range(7))


def test_best_fit_takes_the_tightest_pack() -> None:
    packs = pack_lengths([7, 8, 2], 10)
    assert sorted(sorted(p.tolist()) for p in packs) == [[0], [1, 2]]


def test_the_seed_draws_the_order_of_equal_rows() -> None:
    lengths = [5] * 100
    first, again, other = pack_lengths(lengths, 10, 0), pack_lengths(lengths, 10, 0), pack_lengths(lengths, 10, 1)
    assert [p.tolist() for p in first] == [p.tolist() for p in again]
    assert [p.tolist() for p in first] != [p.tolist() for p in other]


def test_a_row_that_is_too_long_is_named() -> None:
    with pytest.raises(ValueError, match="Row 1 has 11 tokens, more than the 10"):
        pack_lengths([3, 11], 10)


def test_no_rows_no_packs() -> None:
    assert pack_lengths([], 10) == []


def test_realistic_lengths_fill_the_packs() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(5, 1, 5000).astype(int), 1, 2048)
    packs = pack_lengths(lengths, 2048)
    assert lengths.sum() / (2048 * len(packs)) >= 0.995


def test_packed_data_is_mapped_from_its_folder(tmp_path: Path) -> None:
    data = PackedData(
        ids=np.arange(6, dtype=np.int32),
        trained=np.array([0, 1, 0, 1, 1, 1], np.bool_),
        offsets=np.array([0, 2, 6]),
        sources=np.array([0, 1], np.int16),
        packs=np.array([1, 0]),
        pack_offsets=np.array([0, 2]),
    )
    data.save(tmp_path)
    opened = PackedData.open(tmp_path)
    assert isinstance(opened.ids, np.memmap)
    assert opened.ids.dtype == np.int32
    assert opened.lengths.tolist() == [2, 4]
    assert opened.num_packs == 1
    assert opened.rows_of(0).tolist() == [1, 0]
    with pytest.raises(FileNotFoundError):
        PackedData.open(tmp_path / "elsewhere")

"""Packing rows of tokens into packs of bounded length, and the folder in which packed tokens lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PACKED_FILES = ("ids", "trained", "offsets", "sources", "packs", "pack_offsets")


@dataclass(frozen=True, slots=True)
class PackedData:
    """Encoded rows and how they are packed; arrays are memory-mapped when opened from a folder.

    Row i is `ids[offsets[i]:offsets[i + 1]]`; pack j holds the rows `packs[pack_offsets[j]:pack_offsets[j + 1]]`.
    """

    ids: NDArray[np.int32]  # [T]
    trained: NDArray[np.bool_]  # [T] loss falls on this token as a target
    offsets: NDArray[np.int64]  # [N + 1]
    sources: NDArray[np.int16]  # [N] index into sources.json
    packs: NDArray[np.int64]  # [N] row numbers, pack after pack
    pack_offsets: NDArray[np.int64]  # [P + 1]

    @staticmethod
    def open(folder: str | Path) -> PackedData:
        """Open an ENCODE artifact. Raises FileNotFoundError when a file is missing."""
        return PackedData(*(np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in PACKED_FILES))

    def save(self, folder: str | Path) -> None:
        """Write the arrays as .npy files."""
        for name in PACKED_FILES:
            np.save(Path(folder) / f"{name}.npy", getattr(self, name))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of every row, [N]."""
        return np.diff(self.offsets)

    @property
    def num_packs(self) -> int:
        return len(self.pack_offsets) - 1

    def rows_of(self, pack: int) -> NDArray[np.int64]:
        """Row numbers of one pack."""
        return self.packs[self.pack_offsets[pack] : self.pack_offsets[pack + 1]]


def pack_lengths(lengths: Sequence[int] | NDArray[np.int64], capacity: int, seed: int = 0) -> list[NDArray[np.int64]]:
    """Assign rows to packs of at most `capacity` tokens by best-fit-decreasing; return the row numbers of each pack.

    Rows are never split. Rows of equal length are taken in an order drawn from `seed`, so that neighbours in a file do
    not end up in one pack. The free space of open packs is kept as the bits of one integer, which finds the tightest
    pack in a few machine words. Raises ValueError for a row longer than `capacity`.
    """
    sizes = np.asarray(lengths, np.int64)
    if len(sizes) and int(sizes.max()) > capacity:
        row = int(sizes.argmax())
        raise ValueError(f"Row {row} has {sizes[row]} tokens, more than the {capacity} that a pack holds.")
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    packs: list[list[int]] = []
    room: list[list[int]] = [[] for _ in range(capacity + 1)]  # packs by free tokens
    open_rooms = 0  # bit f is set while room[f] holds a pack
    for row, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        fits = open_rooms >> size
        if fits:
            free = size + (fits & -fits).bit_length() - 1
            pack = room[free].pop()
            if not room[free]:
                open_rooms ^= 1 << free
            packs[pack].append(row)
        else:
            free, pack = capacity, len(packs)
            packs.append([row])
        left = free - size
        if not room[left]:
            open_rooms |= 1 << left
        room[left].append(pack)
    return [np.asarray(rows, np.int64) for rows in packs]

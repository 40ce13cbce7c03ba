"""A key-value cache of fixed buffers: one slot (row) a sequence, written in place, so that nothing is copied by a step.

transformers' own DynamicCache concatenates the whole cache at every step and can neither drop nor refill a row.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, CacheLayerMixin


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, `[rows, heads, capacity, head size]`, allocated when first written."""

    def __init__(self, cursor: Cursor) -> None:
        super().__init__()
        self.cursor = cursor

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        shape = (self.cursor.rows, key_states.shape[1], self.cursor.capacity)
        # Zeros, not garbage: masked columns still enter the attention product, where 0 * nan would be nan.
        self.keys = key_states.new_zeros(*shape, key_states.shape[3])
        self.values = value_states.new_zeros(*shape, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new states where the cursor stands; returns everything the cursor's rows may attend to."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        cursor, count, length = self.cursor, key_states.shape[0], key_states.shape[2]
        rows = slice(cursor.first, cursor.first + count)
        if cursor.columns is None:
            new = slice(cursor.seen, cursor.seen + length)
            self.keys[rows, :, new] = key_states
            self.values[rows, :, new] = value_states
        else:
            index = cursor.row_index[rows]
            self.keys[index, :, cursor.columns] = key_states[:, :, 0]
            self.values[index, :, cursor.columns] = value_states[:, :, 0]
        width = cursor.seen + length
        return self.keys[rows, :, :width], self.values[rows, :, :width]

    def get_seq_length(self) -> int:
        return self.cursor.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cursor.seen + query_length, 0

    def get_max_length(self) -> int:
        return self.cursor.capacity


class Cursor:
    """Where the next forward pass writes, shared by all layers of a cache."""

    def __init__(self, rows: int, capacity: int, device: torch.device) -> None:
        self.rows, self.capacity = rows, capacity
        self.row_index = torch.arange(rows, device=device)
        self.first = 0  # first row of the pass
        self.seen = 0  # columns before the new ones
        self.columns: torch.Tensor | None = None  # int64[rows of the pass]: one column a row, instead of a block


class SlotCache(Cache):
    """The cache handed to a transformers model as `past_key_values`."""

    def __init__(self, layers: int, rows: int, capacity: int, device: torch.device) -> None:
        self.cursor = Cursor(rows, capacity, device)
        self.slots = [SlotLayer(self.cursor) for _ in range(layers)]
        super().__init__(layers=list(self.slots))

    def at_block(self, first: int, seen: int) -> SlotCache:
        """The next pass fills rows `first`.. with a block of columns starting at `seen`."""
        self.cursor.first, self.cursor.seen, self.cursor.columns = first, seen, None
        return self

    def at_columns(self, columns: torch.Tensor, width: int) -> SlotCache:
        """The next pass writes one token a row: row i at `columns[i]` (int64[rows]) and sees `width` columns."""
        self.cursor.first, self.cursor.seen, self.cursor.columns = 0, width - 1, columns
        return self

    def copy_rows(self, source: torch.Tensor | slice, target: torch.Tensor | slice, start: int, stop: int) -> None:
        """Copy columns `start:stop` of the source rows onto the target rows (or of one row onto many)."""
        for layer in self.slots:
            if layer.keys is None or layer.values is None:
                continue  # a layer that shares another layer's keys and never writes its own
            for buffer in (layer.keys, layer.values):
                # Advanced indexing with tensors copies before it writes; one row onto many broadcasts.
                buffer[target, :, start:stop] = buffer[source, :, start:stop]

"""From a table of conversations to flat arrays of tokens: rendered, cut to length, rejects set aside with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from herdbook.chat.batch import RenderedBatch
from herdbook.chat.layout import Shape
from herdbook.chat.renderer import Renderer

_RENDER_ROWS = 2_000  # conversations rendered in one go: large enough for numpy, small enough for the cache
_NO_TURN = "no assistant turn to train on"
_CUT = "every trained token lies beyond max_length"


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A conversation that could not be encoded. `reason` names the kind, `detail` the values of this row."""

    id: str
    source: str
    reason: str
    detail: str
    meta: str


@dataclass(slots=True)
class Encoded:
    """N encoded conversations of all batches, and what happened to the others."""

    ids: NDArray[np.int32]  # [T]
    trained: NDArray[np.bool_]  # [T]
    offsets: NDArray[np.int64]  # [N + 1]
    sources: NDArray[np.int16]  # [N]
    source_names: list[str]
    truncated: int = 0  # rows cut at max_length
    lost_end: int = 0  # of those, rows whose last assistant turn lost its end token
    special_text: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of rejected rows by reason, most frequent first."""
        return dict(Counter(row.reason for row in self.rejected).most_common())


def encode_batches(
    batches: Iterable[pa.RecordBatch],
    renderer: Renderer,
    max_length: int,
    seen: Callable[[int], None] = lambda rows: None,
) -> Encoded:
    """Render conversations (record batches of `data.table.SCHEMA`) and cut each row to its first `max_length` tokens.

    A row that the template refuses, or that has no trained token left, is set aside with its reason. `seen` is told how
    many conversations have been read.
    """
    out = Encoded(np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(1, np.int64), np.zeros(0, np.int16), [])
    parts: list[tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int16]]] = []
    numbers: dict[str, int] = {}
    count = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _RENDER_ROWS):
            part = batch.slice(start, _RENDER_ROWS)
            parts.append(_encode_part(part, renderer, max_length, numbers, out))
            count += part.num_rows
            seen(count)
    if parts:
        out.ids = np.concatenate([part[0] for part in parts])
        out.trained = np.concatenate([part[1] for part in parts])
        out.offsets = np.concatenate([[0], np.cumsum(np.concatenate([part[2] for part in parts]))]).astype(np.int64)
        out.sources = np.concatenate([part[3] for part in parts])
    out.source_names = list(numbers)
    return out


def _encode_part(
    part: pa.RecordBatch, renderer: Renderer, max_length: int, numbers: dict[str, int], out: Encoded
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int16]]:
    """Ids, trained, lengths and sources of the rows that are kept; adds to the counts and rejects of `out`."""
    shapes, contents = _columns(part)
    rendered = renderer.render_columns(shapes, contents)
    out.special_text += rendered.special_text
    names = part.column("source").to_pylist()
    source = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int16, len(names))
    whole = np.diff(rendered.offsets)
    lengths = np.minimum(whole, max_length)
    ends = rendered.offsets[:-1] + lengths
    before = np.concatenate([[0], np.cumsum(rendered.trained)])
    trained_tokens = before[ends] - before[rendered.offsets[:-1]]
    kept = trained_tokens > 0
    cut = np.flatnonzero(kept & (whole > max_length))
    inside = rendered.trained[ends[cut] - 1] & rendered.trained[ends[cut]]
    out.truncated += len(cut)
    out.lost_end += int(np.count_nonzero(inside & (rendered.ids[ends[cut] - 1] != renderer.end_id)))
    if kept.all() and not len(cut):
        return rendered.ids, rendered.trained, lengths, source
    for row in np.flatnonzero(~kept).tolist():
        out.rejected.append(_rejected(part, row, rendered, shapes[row], max_length))
    within = np.arange(len(rendered.ids)) - np.repeat(rendered.offsets[:-1], whole)
    chosen = within < np.repeat(np.where(kept, lengths, 0), whole)
    return rendered.ids[chosen], rendered.trained[chosen], lengths[kept], source[kept]


def _rejected(part: pa.RecordBatch, row: int, rendered: RenderedBatch, shape: Shape, max_length: int) -> RejectedRow:
    if row in rendered.errors:
        reason, detail = rendered.errors[row], ""
    elif not any(shape.trained):
        reason, detail = _NO_TURN, f"roles: {', '.join(shape.roles)}"
    else:
        start, end = rendered.offsets[row], rendered.offsets[row + 1]
        first = int(rendered.trained[start:end].argmax()) + 1
        reason = _CUT
        detail = f"max_length is {max_length}, the first trained token is number {first} of {end - start}"
    cell = {name: part.column(name)[row].as_py() for name in ("id", "source", "meta")}
    return RejectedRow(cell["id"], cell["source"], reason, detail, cell["meta"])


def _columns(part: pa.RecordBatch) -> tuple[list[Shape], list[list[str]]]:
    """Shapes and contents of a batch, read column by column; equal shapes are one object."""
    nested = part.column("messages")
    structs = nested.flatten()
    roles = structs.field("role").dictionary_encode()
    names = roles.dictionary.to_pylist()
    assistant = np.fromiter((name == "assistant" for name in names), np.bool_, len(names))
    codes = roles.indices.to_numpy(zero_copy_only=False).astype(np.uint8)
    trained = structs.field("trained").to_numpy(zero_copy_only=False)
    codes = codes * 2 + (trained & assistant[codes] if len(codes) else 0)
    raw = codes.astype(np.uint8).tobytes()
    texts = structs.field("content").to_pylist()
    ends = [0, *np.cumsum(nested.value_lengths().to_numpy(zero_copy_only=False)).tolist()]
    known: dict[bytes, Shape] = {}
    shapes = []
    for start, end in pairwise(ends):
        key = raw[start:end]
        shape = known.get(key)
        if shape is None:
            shape = Shape(tuple(names[code >> 1] for code in key), tuple(bool(code & 1) for code in key))
            known[key] = shape
        shapes.append(shape)
    return shapes, [texts[start:end] for start, end in pairwise(ends)]

"""Rendering many conversations at once: columns in, flat arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from herdbook.chat.layout import Layout, Run
from herdbook.chat.memo import Key, Memo
from herdbook.chat.segments import Rendered, RunEncoder, fill

Row = tuple[Layout, Sequence[str]]  # contents by message, stripped as the layout says


@dataclass(frozen=True, slots=True)
class RenderedBatch:
    """N conversations as flat arrays: row i is `ids[offsets[i]:offsets[i + 1]]`.

    `errors` tells for rows that could not be rendered why not; such a row has no tokens.
    `special_text` counts the special-token strings that stood in contents and were encoded as plain text.
    """

    ids: NDArray[np.int32]  # [T]
    trained: NDArray[np.bool_]  # [T]
    offsets: NDArray[np.int64]  # [N + 1]
    errors: dict[int, str] = field(default_factory=dict)
    special_text: int = 0


def encode_rows(rows: Sequence[Row | None], encoder: RunEncoder, memo: Memo | None, exact: set[int]) -> RenderedBatch:
    """Encode filled layouts; None stands for a row without tokens, `exact` names rows that the memo must not serve."""
    batch, unserved = _by_memo(rows, memo, exact) if memo is not None else (_empty(len(rows)), range(len(rows)))
    slow = [number for number in unserved if rows[number] is not None]
    if not slow:
        return batch
    rendered = dict(zip(slow, encoder.encode([row for n in slow if (row := rows[n]) is not None]), strict=True))
    return _spliced(batch, rendered)


def _empty(count: int) -> RenderedBatch:
    return RenderedBatch(np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(count + 1, np.int64))


def _spliced(batch: RenderedBatch, rendered: dict[int, Rendered]) -> RenderedBatch:
    """The batch with some of its rows replaced."""
    ids, trained = [], []
    for number, (start, end) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:], strict=True)):
        row = rendered.get(number)
        ids.append(row.ids if row is not None else batch.ids[start:end])
        trained.append(row.trained if row is not None else batch.trained[start:end])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return RenderedBatch(np.concatenate(ids), np.concatenate(trained), offsets)


def _by_memo(rows: Sequence[Row | None], memo: Memo, exact: set[int]) -> tuple[RenderedBatch, list[int]]:
    """Encode what the memo can, and name the rows that it cannot."""
    words: list[Key] = []
    ends = [0]  # of each row, in words
    begins: list[int] = []  # of each trained span, in characters of the whole batch
    stops: list[int] = []
    owners: list[int] = []
    unserved: list[int] = []
    at = 0  # characters of the batch so far
    for number, row in enumerate(rows):
        if row is not None:
            layout, contents = row
            mark = len(words)
            if number in exact or not _append_words(words, layout, contents, memo):
                del words[mark:]
                unserved.append(number)
            else:
                filled = [at, *accumulate([len(contents[m]) for m in layout.order], initial=at)][1:]
                for span in layout.spans:
                    if span.trained:
                        begins.append(span.start.chars + filled[span.start.slots])
                        stops.append(span.end.chars + filled[span.end.slots])
                        owners.append(number)
                at = layout.chars + filled[-1]
        ends.append(len(words))
    chars, counts, ids = memo.lookup(words)
    word_at = np.concatenate([[0], np.cumsum(chars)])  # [W + 1] where each word begins, in characters
    token_at = np.concatenate([[0], np.cumsum(counts)])
    if word_at[-1] != at:  # a split pattern skipped characters: positions mean nothing
        return _empty(len(rows)), list(range(len(rows)))
    first = np.searchsorted(word_at, np.asarray(begins, np.int64))
    last = np.searchsorted(word_at, np.asarray(stops, np.int64))
    straddled = {owners[i] for i in np.flatnonzero(word_at[first] != begins)}  # a word lies across the border
    step = np.zeros(len(ids) + 1, np.int8)
    np.add.at(step, token_at[first], 1)
    np.add.at(step, token_at[last], -1)
    trained = np.cumsum(step[:-1], dtype=np.int8).astype(np.bool_)
    offsets = token_at[np.asarray(ends, np.int64)]
    return RenderedBatch(ids, trained, offsets), sorted({*unserved, *straddled})


def _append_words(words: list[Key], layout: Layout, contents: Sequence[str], memo: Memo) -> bool:
    """Append the words of one conversation; False where a text cannot be cut exactly (the caller cleans up)."""
    for item in layout.items:
        if isinstance(item, Run):
            text = fill(item, contents)
            cut = memo.ascii_split(text) if text.isascii() else memo.split(text)
            if cut is None:
                return False
            words += cut
        else:
            words.append((item,))
    return True

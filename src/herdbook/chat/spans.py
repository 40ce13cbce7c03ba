"""Rendered tokens as text for people: runs of trained and untrained text."""

from __future__ import annotations

import numpy as np

from herdbook.chat.tokenizer import ChatTokenizer


def trained_spans(ids: np.ndarray, trained: np.ndarray, tokenizer: ChatTokenizer) -> list[tuple[str, bool]]:
    """Decode int32[T] ids with their bool[T] mask into runs of (text, trained?), special tokens shown."""
    ends = [*(np.flatnonzero(trained[1:] != trained[:-1]) + 1).tolist(), len(ids)]
    spans: list[tuple[str, bool]] = []
    done = 0
    for end in ends:  # decoding from the start keeps the spaces that some tokenizers drop before a first word
        text = tokenizer.backend.decode(ids[:end].tolist(), skip_special_tokens=False)
        spans.append((text[done:], bool(trained[end - 1])))
        done = len(text)
    return spans

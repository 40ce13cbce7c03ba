"""Choosing the next token of many rows at once, each row with random numbers of its own."""

from __future__ import annotations

from hashlib import blake2b

import torch

from herdbook.engines.base import Sampling


def draw_uniform(sampling: Sampling, prompt: int, answer: int) -> torch.Tensor:
    """float64[max_new_tokens] in [0, 1): all the randomness of one answer, a function of (seed, prompt, answer) alone.

    Drawn before decoding starts, so that neither the batch nor the device of the model can change it.
    """
    digest = blake2b(f"{sampling.seed}:{prompt}:{answer}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
    return torch.rand(sampling.max_new_tokens, dtype=torch.float64, generator=generator)


def choose(logits: torch.Tensor, sampling: Sampling, uniform: torch.Tensor | None) -> torch.Tensor:
    """Next token ids, int64[rows], of float32 logits `[rows, vocabulary]`.

    `uniform` is float64[rows] and picks from the filtered distribution by inverting its cumulative sum; unused (may be
    None) when greedy.
    """
    if sampling.temperature == 0 or uniform is None:
        return logits.argmax(-1)
    scaled = logits / sampling.temperature
    ids = None
    if sampling.top_k:
        scaled, ids = scaled.topk(min(sampling.top_k, scaled.shape[-1]))
    elif sampling.top_p < 1:
        scaled, ids = scaled.sort(descending=True)
    probabilities = scaled.double().softmax(-1)
    if sampling.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= sampling.top_p, 0.0)
    cumulative = probabilities.cumsum(-1)
    # right=True: the first entry above the drawn height, which is never one of probability 0.
    picked = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    picked = picked.clamp_(max=cumulative.shape[-1] - 1)
    return (picked if ids is None else ids.gather(-1, picked))[:, 0]

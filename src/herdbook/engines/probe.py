"""A check, before first use, that the engine's fast paths give this model's plain results.

Model families differ in how they count positions, mask, and keep keys and values; a cache driven the wrong way gives
fluent nonsense, not an error.
"""

from __future__ import annotations

import torch

from herdbook.engines.base import Sampling, Scored
from herdbook.engines.finish import Finisher
from herdbook.engines.forward import Forward
from herdbook.engines.generation import Generation
from herdbook.engines.plain import score_plain
from herdbook.engines.prefix import MIN_SHARED
from herdbook.engines.scoring import score_shared


def probe(forward: Forward) -> str:
    """'' if shared-prefix scoring and slot decoding agree with plain forward passes on random ids, else the reason."""
    prompts, endings = probe_ids(forward.config.vocab_size)
    pairs = [(prompt, ending) for prompt in prompts for ending in endings]
    plain = score_plain(forward, pairs, tokens=512)
    try:
        shared = score_shared(forward, pairs, tokens=512)
        sampling = Sampling(max_new_tokens=3)
        answers = Generation(forward, prompts, sampling, Finisher(sampling, None), rows=2, tokens=512).run()
    except Exception as error:  # whatever a foreign model raises here, it runs plainly, and the reason is told
        return f"its cache cannot be driven ({type(error).__name__}: {error})"
    generated = score_plain(forward, [(p, a[0].ids) for p, a in zip(prompts, answers, strict=True)], tokens=512)
    tolerance = 1e-3 if forward.model.dtype == torch.float32 else 0.1
    if difference(plain, shared) > tolerance:
        return "shared-prefix scores differ from those of plain forward passes"
    if any(abs(a[0].logprob - g.logprob) > 3 * tolerance for a, g in zip(answers, generated, strict=True)):
        return "cached decoding differs from plain forward passes"
    return ""


def probe_ids(vocabulary: int) -> tuple[list[list[int]], list[list[int]]]:
    """Two prompts of different length that share a beginning, and endings of one and of several tokens."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (64,), generator=generator).tolist()
    start = ids[: MIN_SHARED + 1]
    return [start + ids[20:25], start + ids[30:33]], [ids[40:41], ids[41:44], ids[44:49]]


def difference(some: list[Scored], others: list[Scored]) -> float:
    """Largest difference of a token's log-probability."""
    return max(
        abs(a - b)
        for x, y in zip(some, others, strict=True)
        for a, b in zip(x.token_logprobs, y.token_logprobs, strict=True)
    )

"""Shared-prefix scoring beside plain batched scoring by transformers, on one CPU core, with equal results.

    python bench/score.py [--quick]

The baseline is a good plain one: each distinct context is read once for all its one-token choices, rows are sorted by
length, and the batch size is the better of 1 and 8 rows. It runs the whole model, so the LM head runs everywhere.
Runs are interleaved (A B A B) and the ratio is best against best; scores must agree to 1e-4.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from herdbook.engines.base import Scored
from herdbook.engines.transformers import TransformersEngine

VOCABULARY = 32_000
Pairs = list[tuple[list[int], list[int]]]


def random_llama(hidden: int, layers: int) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=2048,
    )
    return LlamaForCausalLM(config).eval()


def questions(subjects: int, each: int, shots: int, length: int, endings: list[int]) -> Pairs:
    """`each` questions a subject of about `length` tokens behind `shots` common ones, with endings of these lengths."""
    rng = random.Random(0)

    def ids(count: int) -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(count)]

    pairs: Pairs = []
    choices = [ids(1) for _ in endings]
    for _ in range(subjects):
        start = ids(shots)
        for _ in range(each):
            context = start + ids(rng.randrange(length // 2, length * 3 // 2))
            pairs += [(context, choices[i] if n == 1 else ids(n)) for i, n in enumerate(endings)]
    return pairs


@torch.inference_mode()
def plain(model: LlamaForCausalLM, pairs: Pairs, rows: int) -> list[Scored]:
    """Whole-model forward passes of `rows` padded inputs; one-token continuations of a context share their row."""
    inputs: dict[tuple[int, ...], list[int]] = {}
    for i, (prefix, continuation) in enumerate(pairs):
        inputs.setdefault((*prefix, *continuation[:-1]), []).append(i)
    ordered = sorted(inputs, key=len, reverse=True)
    results: dict[int, Scored] = {}
    for start in range(0, len(ordered), rows):
        batch = ordered[start : start + rows]
        padded = torch.zeros(len(batch), len(batch[0]), dtype=torch.int64)
        for row, ids in enumerate(batch):
            padded[row, : len(ids)] = torch.tensor(ids)
        logprobs = model(padded, use_cache=False).logits.log_softmax(-1)
        for row, ids in enumerate(batch):
            for i in inputs[ids]:
                prefix, continuation = pairs[i]
                wanted = torch.tensor(continuation)
                part = logprobs[row, len(prefix) - 1 : len(prefix) - 1 + len(wanted)]
                values = part.gather(1, wanted[:, None])[:, 0].tolist()
                results[i] = Scored(sum(values), tuple(values), bool((part.argmax(-1) == wanted).all()))
    return [results[i] for i in range(len(pairs))]


def seconds(run: Callable[[], list[Scored]]) -> tuple[float, list[Scored]]:
    start = time.process_time()  # one thread: CPU seconds, so that other processes count less
    result = run()
    return time.process_time() - start, result


def compare(name: str, model: LlamaForCausalLM, pairs: Pairs, passes: int) -> None:
    engine = TransformersEngine(model)
    assert engine.fallback == "", engine.fallback
    variants = {
        "plain, 1 row": lambda: plain(model, pairs, 1),
        "plain, 8 rows": lambda: plain(model, pairs, 8),
        "shared prefix": lambda: engine.score(pairs),
    }
    best = dict.fromkeys(variants, float("inf"))
    results: dict[str, list[Scored]] = {}
    for _ in range(passes):
        for variant, run in variants.items():
            took, results[variant] = seconds(run)
            best[variant] = min(best[variant], took)
    ours, theirs = results["shared prefix"], results["plain, 1 row"]
    worst = max(abs(a.logprob - b.logprob) for a, b in zip(ours, theirs, strict=True))
    assert worst < 1e-4, f"scores differ by {worst}"
    assert [a.greedy for a in ours] == [b.greedy for b in theirs]
    ratio = min(best["plain, 1 row"], best["plain, 8 rows"]) / best["shared prefix"]
    shown = "  ".join(f"{variant} {took:.2f} s" for variant, took in best.items())
    print(f"{name}: {shown}  ratio {ratio:.1f}x  (largest difference {worst:.1e})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one pass over a quarter of the questions")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    each, passes = (8, 1) if quick else (32, 2)
    small = random_llama(256, 4)
    compare("5-shot choices, m256", small, questions(2, each, 500, 72, [1] * 4), passes)
    compare("6-shot endings, m256", small, questions(1, each, 300, 36, [28, 24, 30, 26]), passes)
    compare("endings, no shots, m256", small, questions(1, each, 0, 42, [28, 24, 30, 26]), passes)
    if not quick:
        compare("5-shot choices, m512", random_llama(512, 8), questions(2, 24, 540, 66, [1] * 4), passes)


if __name__ == "__main__":
    main()

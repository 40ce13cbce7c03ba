"""From conversations to packed tokens: Herdbook beside TRL's own preparation and beside the bare tokenizer.

All three work on the same conversations with the same tokenizer and ChatML template, on one core, in turns; the memo of
Herdbook starts empty in every round. Ids and labels of Herdbook and TRL are compared row by row. Prints ratios (median
of the rounds). Needs the extra `bench`.

    taskset -c 0 python bench/prepare.py [--rounds 3] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import os

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from prepare_data import mixed_and_short
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from herdbook.chat.renderer import Renderer, load_renderer
from herdbook.chat.tokenizer import ChatTokenizer, save_tokenizer
from herdbook.core.types import Conversation
from herdbook.data.encode import Encoded, encode_batches
from herdbook.data.pack import pack_lengths
from herdbook.data.table import read_batches, write_conversations

MAX_LENGTH = 2048
VOCABULARY = 32_000
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GOALS = {"mixed": 4.0, "short": 6.0}  # times TRL
GOAL_RAW = 1.2
GOAL_FILL = 0.995


@dataclass
class Packed:
    """What a preparation made: rows as (ids, labels) bytes, and the share of the packs that is filled."""

    rows: list[tuple[bytes, bytes]]
    fill: float


def train_tokenizer(conversations: list[Conversation]) -> ChatTokenizer:
    """A byte-level BPE tokenizer with the split of Llama 3 and Qwen, trained on the conversations themselves."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((m.content for c in conversations for m in c.messages), trainer)
    return ChatTokenizer(backend, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, None)


class Herdbook:
    """Rows of a Parquet file to packed tokens, with an empty memo."""

    def __init__(self, tokenizer: ChatTokenizer, conversations: list[Conversation], folder: Path) -> None:
        self.tokenizer = tokenizer
        self.file = folder / "conversations.parquet"
        write_conversations(self.file, conversations)

    def prepared(self) -> Renderer:
        """What is made once in a process and is not timed: the renderer, its memo still empty."""
        renderer = load_renderer(self.tokenizer, "chatml")
        assert renderer.memo is not None
        return renderer

    def run(self, renderer: Renderer) -> tuple[Encoded, list[Any]]:
        encoded = encode_batches(read_batches(self.file), renderer, MAX_LENGTH)
        return encoded, pack_lengths(np.diff(encoded.offsets), MAX_LENGTH)

    @staticmethod
    def result(made: tuple[Encoded, list[Any]]) -> Packed:
        encoded, packs = made
        labels = np.where(encoded.trained, encoded.ids, -100)
        borders = list(zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True))
        rows = [(encoded.ids[a:b].tobytes(), labels[a:b].astype(np.int32).tobytes()) for a, b in borders]
        return Packed(rows, len(encoded.ids) / (len(packs) * MAX_LENGTH))


class Trl:
    """TRL's SFTTrainer preparing its dataset: assistant-only loss from generation marks, best-fit packing."""

    def __init__(self, renderer: Renderer, conversations: list[Conversation], folder: Path) -> None:
        import datasets
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        from transformers.utils import logging
        from trl import SFTConfig, SFTTrainer

        datasets.disable_caching()
        datasets.disable_progress_bars()
        logging.set_verbosity_error()
        save_tokenizer(renderer.tokenizer, folder / "tokenizer", renderer.jinja)
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        rows = [{"messages": [{"role": m.role, "content": m.content} for m in c.messages]} for c in conversations]
        self.dataset = datasets.Dataset.from_list(rows)
        self.args = SFTConfig(
            output_dir=str(folder / "trl"),
            assistant_only_loss=True,
            packing=True,
            max_length=MAX_LENGTH,
            use_cpu=True,
            bf16=False,
            report_to="none",
        )
        shape = LlamaConfig(
            vocab_size=len(self.tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=1, num_key_value_heads=1,
        )  # fmt: skip
        model, first = LlamaForCausalLM(shape), self.dataset.select(range(2))
        self.trainer = SFTTrainer(model, self.args, train_dataset=first, processing_class=self.tokenizer)

    def run(self) -> Any:
        return self.trainer._prepare_dataset(self.dataset, self.tokenizer, self.args, True, None, "train")

    @staticmethod
    def result(made: Any) -> Packed:
        rows, tokens = [], 0
        for pack in made:
            ids, labels = np.asarray(pack["input_ids"], np.int32), np.asarray(pack["labels"], np.int32)
            ends = np.cumsum(pack["seq_lengths"])
            tokens += int(ends[-1])
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                if (labels[start:end] != -100).any():  # TRL keeps rows whose trained tokens were all cut off
                    rows.append((ids[start:end].tobytes(), labels[start:end].tobytes()))
        return Packed(rows, tokens / (len(made) * MAX_LENGTH))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of all threads: other programs on the machine disturb them less than the clock's."""
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def compare(name: str, conversations: list[Conversation], rounds: int, folder: Path) -> bool:
    """Run the three in turns, print the ratios, return whether every goal is met."""
    tokenizer = train_tokenizer(conversations)
    ours = Herdbook(tokenizer, conversations, folder)
    setup, renderer = timed(ours.prepared)
    peer = Trl(renderer, conversations, folder)
    dicts = [[{"role": m.role, "content": m.content} for m in c.messages] for c in conversations]
    texts = [renderer.template.render(messages) for messages in dicts]
    times: dict[str, list[float]] = {"herdbook": [], "herdbook, warm": [], "trl": [], "raw": []}
    mine = theirs = None
    for _ in range(rounds):
        renderer = ours.prepared()
        seconds, made = timed(partial(ours.run, renderer))
        times["herdbook"].append(seconds)
        mine = ours.result(made)
        times["herdbook, warm"].append(timed(partial(ours.run, renderer))[0])
        times["raw"].append(timed(lambda: tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False))[0])
        seconds, made = timed(peer.run)
        times["trl"].append(seconds)
        theirs = peer.result(made)
    assert mine is not None
    assert theirs is not None
    same = sorted(mine.rows) == sorted(theirs.rows)
    tokens = sum(len(ids) // 4 for ids, _ in mine.rows)
    median = {key: statistics.median(values) for key, values in times.items()}
    print(f"\n{name}: {len(conversations)} conversations, {tokens} tokens, vocabulary {tokenizer.vocab_size}")
    for key, seconds in median.items():
        rate = len(conversations) / seconds
        print(f"  {key:15} {seconds:7.3f} s  {rate:8.0f} conversations/s  {tokens / seconds / 1e6:5.2f} M tokens/s")
    against_trl = median["trl"] / median["herdbook"]
    against_raw = median["raw"] / median["herdbook"]
    print(f"  x{against_trl:.2f} TRL (goal {GOALS[name]}), x{against_raw:.2f} raw tokenizer (goal {GOAL_RAW})")
    print(f"  warm: x{median['trl'] / median['herdbook, warm']:.2f} TRL; renderer made in {setup:.2f} s, not counted")
    print(f"  fill {mine.fill:.2%} (goal {GOAL_FILL:.1%}), TRL {theirs.fill:.2%}; ids and labels equal: {same}")
    return same and against_trl >= GOALS[name] and against_raw >= GOAL_RAW and mine.fill >= GOAL_FILL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent.parent.parent / "shared" / "data")
    options = parser.parse_args()
    mixed, short, origin = mixed_and_short(options.data)
    print(f"data: {origin}")
    met = True
    for name, conversations in (("mixed", mixed), ("short", short)):
        with tempfile.TemporaryDirectory() as folder:
            met &= compare(name, conversations, options.rounds, Path(folder))
    print("\nall goals met" if met else "\nsome goals NOT met")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

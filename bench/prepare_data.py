"""Conversations for bench/prepare.py: from public files when they are there, else drawn from a small grammar."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from herdbook.core.types import Conversation, Message

MIXED, SHORT = 8_000, 12_000
SHORT_CHARACTERS = 600
ROLES = {"human": "user", "gpt": "assistant", "function_call": "assistant", "observation": "tool"}


def mixed_and_short(folder: Path) -> tuple[list[Conversation], list[Conversation], str]:
    """A mixed sample and a sample of short records, and a sentence that says where they are from."""
    if (folder / "t0_p3").is_dir():
        pool = list(_from_files(folder))
        origin = f"{len(pool)} public conversations (T0/P3, FLAN CoT, Code Alpaca, Alpaca demos, tool calls)"
    else:
        pool, origin = list(_from_grammar(20_000)), "synthetic: no public files found"
    random.Random(0).shuffle(pool)
    short = [c for c in pool if sum(len(m.content) for m in c.messages) <= SHORT_CHARACTERS]
    return pool[:MIXED], short[:SHORT], origin


def _from_files(folder: Path) -> Iterator[Conversation]:
    for file in sorted((folder / "t0_p3").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            # Their literal end token would be a control token for TRL and plain text here.
            yield _pair(row["prompt"], row["completion"].replace("<|endoftext|>", ""))
    for file in sorted((folder / "flan_v2" / "cot_data").glob("*.tsv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
            for row in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                question, answer, steps = (cell.replace("\\n", "\n") for cell in row[:3])
                yield _pair(question, f"{steps}\nThe answer is {answer}.")
    for name, answer in (
        ("code_alpaca/code_alpaca_2k.json.gz", "output"),
        ("code_alpaca/new_codealpaca_first_half.json.gz", "response"),
        ("llama_factory_demo/alpaca_en_demo.json.gz", "output"),
        ("llama_factory_demo/alpaca_zh_demo.json.gz", "output"),
    ):
        for row in _json(folder / name):
            yield _pair(f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"], row[answer])
    for row in _json(folder / "llama_factory_demo/glaive_toolcall_en_demo.json.gz"):
        turns = [Message(ROLES[turn["from"]], turn["value"]) for turn in row["conversations"]]
        yield Conversation("", "glaive", (Message("system", row["tools"]), *turns))


def _json(file: Path) -> Any:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return json.load(stream)


def _pair(question: str, answer: str) -> Conversation:
    return Conversation("", "pairs", (Message("user", question), Message("assistant", answer)))


def _from_grammar(count: int) -> Iterator[Conversation]:
    """Text of invented words in the lengths of instruction data; repeats words as text does (Zipf)."""
    draw = random.Random(1)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "on", "ing")]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(20_000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]

    def text(length: int) -> str:
        return " ".join(draw.choices(words, weights, k=max(1, length))) + "."

    for _ in range(count):
        yield _pair(text(int(draw.lognormvariate(4, 1))), text(int(draw.lognormvariate(3, 1.2))))

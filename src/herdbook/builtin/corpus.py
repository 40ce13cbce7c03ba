"""The corpus of the base `cria`: an endless even mixture of short plain-text documents, a pure function of the seed.

    python -m herdbook.builtin.corpus corpus.jsonl --documents 100000 --seed 0

writes one JSON object a line, `{"text": document}`, for the format `text` and the chat template `plain`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from herdbook.builtin.documents import MAKERS


def documents(count: int, seed: int) -> Iterator[str]:
    """`count` documents. The first n documents do not depend on `count`."""
    rng = Random(seed)
    makers = [maker for maker, _ in MAKERS.values()]
    shares = [share for _, share in MAKERS.values()]
    for _ in range(count):
        (maker,) = rng.choices(makers, shares)
        statements = maker(rng, "train")
        yield "".join(statement.given + statement.inferred for statement in statements).rstrip("\n")


def write_corpus(path: Path, count: int, seed: int) -> None:
    """Write `count` documents as JSON lines in the format `text`."""
    with path.open("w", encoding="utf-8") as file:
        for document in documents(count, seed):
            file.write(json.dumps({"text": document}) + "\n")


def main() -> None:
    """Command line: where to write, how many documents, which seed."""
    parser = argparse.ArgumentParser(prog="python -m herdbook.builtin.corpus", description="Write the corpus of cria.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_corpus(arguments.path, arguments.documents, arguments.seed)


if __name__ == "__main__":
    main()

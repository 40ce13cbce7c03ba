"""The tokenizer of the built-in models: byte-level BPE with single digits, so that any text can be encoded.

    python -m herdbook.builtin.tokenizer

writes the packaged files again, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from herdbook.builtin.corpus import documents
from herdbook.builtin.towns import VALUES, towns
from herdbook.builtin.words import ANIMALS, COLOURS, COMMON, JOBS, NAMES, THINGS

VOCABULARY = 1792
END = "<|end|>"
PAD = "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
"""Each role marker of the tulu template is one token; the end of an answer and padding are two different tokens."""

MAX_LENGTH = 1024
_SPLIT = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DOCUMENTS = 20_000
_SEED = 1


def train() -> Tokenizer:
    """Learn the merges from a sample of the corpus and the word lists. No randomness but the corpus seed."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD, *ROLES],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return tokenizer


def _texts() -> list[str]:
    listed = [*THINGS, *ANIMALS, *COLOURS, *NAMES, *JOBS, *(value for values in VALUES.values() for value in values)]
    quoted = [*THINGS, *ANIMALS, *COLOURS, *JOBS, *NAMES]
    names = [town.name for town in towns()]
    once = [" ".join(["", *listed, *names]), '"' + '"'.join(quoted)]
    common = [" ".join(["", *COMMON])]
    return [*once * 400, *common * 40, *documents(_DOCUMENTS, _SEED)]


def packaged_tokenizer() -> Tokenizer:
    """The tokenizer that ships in the package."""
    return Tokenizer.from_file(str(Path(__file__).parent / "cria" / "tokenizer.json"))


def write_tokenizer(folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` so that transformers' AutoTokenizer loads the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    train().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": list(ROLES),
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_tokenizer(Path(__file__).parent / "cria")

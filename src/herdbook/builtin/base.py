"""The built-in base models: `cria`, trained on our own corpus, and `blank`, the same architecture untrained."""

from __future__ import annotations

import shutil
from pathlib import Path

from herdbook.core.errors import ModelError

BASES = ("cria", "blank")

_PACKAGED = Path(__file__).parent
_SHARED_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def builtin_path(name: str) -> Path:
    """The path of a packaged file or folder, e.g. `quickstart/lookup.jsonl`. Raises ModelError if there is none."""
    path = (_PACKAGED / name).resolve()
    if not path.is_relative_to(_PACKAGED) or not path.exists():
        raise ModelError(f"There is no built-in file {name!r}; look for the right name under {_PACKAGED}.")
    return path


def write_base(name: str, out: Path, seed: int) -> None:
    """Write a Hugging Face model folder into `out`.

    `cria` copies the packaged weights; `blank` draws the weights of the same architecture from `seed`, in float32.
    Raises ModelError for any other name.
    """
    if name not in BASES:
        raise ModelError(f"There is no built-in base {name!r}; the built-in bases are {', '.join(BASES)}.")
    out.mkdir(parents=True, exist_ok=True)
    for file in _SHARED_FILES:
        shutil.copyfile(_PACKAGED / "cria" / file, out / file)
    if name == "cria":
        shutil.copyfile(_PACKAGED / "cria" / "model.safetensors", out / "model.safetensors")
    else:
        _write_blank_weights(out, seed)


def _write_blank_weights(folder: Path, seed: int) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(folder)
    config.dtype = torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)

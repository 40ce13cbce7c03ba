"""Where base models come from: built in, a local folder, or the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from herdbook.chat.tokenizer import load_tokenizer
from herdbook.core.digest import FileRef
from herdbook.core.errors import ModelError

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.md"]


def link_local(base: str, files: Sequence[FileRef], out: Path) -> None:
    """Link the files of a local model folder into `out`; the folder must hold a model with a tokenizer."""
    check_folder(base, Path(files[0].path).parent)
    for file in files:
        target = out / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(file.path).resolve())


def link_hub(base: str, revision: str | None, out: Path) -> None:
    """Download a model from the hub (or find it in the local hub cache) and link its files into `out`."""
    try:
        folder = Path(snapshot_download(base, revision=revision, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelError(
            f"The base model {base!r} (revision {revision or 'main'}) could not be fetched from the hub: "
            f"{str(error).strip().splitlines()[0]} Check the name and the connection, or give a local folder."
        ) from error
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            source = Path(root) / name
            target = out / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.resolve())
    check_folder(base, out)


def check_folder(base: str, folder: Path) -> None:
    """Raise ModelError unless `folder` holds a configuration, weights and a tokenizer."""
    names = {file.name for file in folder.iterdir()}
    adapter = "adapter_config.json" in names
    if not adapter and "config.json" not in names:
        raise ModelError(
            f"The base {base!r} is no Hugging Face model: it has no config.json. Give the folder that holds "
            "config.json, the weights and the tokenizer."
        )
    if not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise ModelError(f"The base {base!r} holds no weights (*.safetensors): the folder is incomplete.")
    load_tokenizer(folder)


def describe(folder: Path) -> dict[str, Any]:
    """Architecture and vocabulary of a model folder, for the report."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return {}
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    text = config.get_text_config()
    return {
        "architecture": (config.architectures or [config.model_type])[0],
        "hidden_size": text.hidden_size,
        "layers": text.num_hidden_layers,
        "vocabulary": text.vocab_size,
    }

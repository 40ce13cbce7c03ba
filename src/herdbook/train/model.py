"""Loading the model to be trained, and saving what came out as a plain Hugging Face folder."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from herdbook.chat.renderer import load_renderer
from herdbook.chat.tokenizer import load_tokenizer
from herdbook.core.errors import ModelError
from herdbook.train.adapters import add_adapter, base_of, continue_adapter, is_adapter, merge_adapter
from herdbook.train.config import TrainConfig

PEDIGREE_FILE = "herdbook.json"
CARD_FILE = "README.md"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to be trained: float32 weights, and the number format in which its base is stored."""

    model: PreTrainedModel  # the network itself; adapters, if any, are already in it
    adapter: PeftModel | None  # the wrapper that knows how to save them
    stored_dtype: torch.dtype
    base: Path  # folder of the whole weights below the adapters


def load_for_training(folder: Path, config: TrainConfig) -> Loaded:
    """Load a model folder (whole or adapter) with float32 weights. Draws fresh adapters from `config.seed`."""
    base = base_of(folder)
    model, stored = load_model(base)
    torch.manual_seed(config.seed)
    if config.method == "full":
        model = merge_adapter(model, folder) if is_adapter(folder) else model
        return Loaded(model.requires_grad_(True), None, stored, base)
    adapter = continue_adapter(model, folder, config.lora) if is_adapter(folder) else add_adapter(model, config.lora)
    return Loaded(adapter.get_base_model(), adapter, stored, base)  # pyright: ignore[reportArgumentType]


def load_model(folder: Path) -> tuple[PreTrainedModel, torch.dtype]:
    """Load whole weights in float32; return the model and the number format of its files. Raises ModelError."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is no Hugging Face model folder: it has no config.json.")
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.is_encoder_decoder:
            raise ModelError(f"The model in {folder} is an encoder-decoder; Herdbook trains decoder-only models.")
        stored = getattr(config, "dtype", None) or torch.float32
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=copy.deepcopy(config), dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"The model in {folder} cannot be loaded: {error}") from error
    return model, stored


def save_model(
    loaded: Loaded, out: Path, tokenizer_folder: Path, config: TrainConfig, pedigree: dict[str, Any]
) -> None:
    """Write weights, tokenizer with chat template, generation settings with the stop tokens, pedigree and card.

    Whole weights are saved in `config.save_dtype` (by default as the base was stored), adapters always in float32.
    """
    out.mkdir(parents=True, exist_ok=True)
    if loaded.adapter is not None:
        loaded.adapter.peft_config["default"].base_model_name_or_path = str(loaded.base)
        loaded.adapter.save_pretrained(str(out), safe_serialization=True, save_embedding_layers=False)
        (out / CARD_FILE).unlink(missing_ok=True)
    else:
        loaded.model.to(DTYPES.get(config.save_dtype, loaded.stored_dtype)).save_pretrained(out)  # pyright: ignore
    if tokenizer_folder.is_dir():
        for file in sorted(tokenizer_folder.iterdir()):
            shutil.copyfile(file, out / file.name)
        _generation_config(loaded.model, tokenizer_folder).save_pretrained(out)
    (out / PEDIGREE_FILE).write_text(json.dumps(pedigree, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (out / CARD_FILE).write_text(_card(pedigree, adapter=loaded.adapter is not None), encoding="utf-8")


def parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Numbers of all and of trainable weights."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trained in counts if trained)


def read_pedigree(folder: Path) -> dict[str, Any]:
    """The pedigree of a model folder; empty for a model that Herdbook did not make."""
    file = folder / PEDIGREE_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _generation_config(model: PreTrainedModel, tokenizer_folder: Path) -> GenerationConfig:
    """The base's generation settings, but stopping where the chat template ends an assistant's turn."""
    settings = copy.deepcopy(model.generation_config) or GenerationConfig()
    tokenizer = load_tokenizer(tokenizer_folder)
    stops = list(load_renderer(tokenizer, "tokenizer").stop_ids)
    if stops:
        settings.eos_token_id = stops if len(stops) > 1 else stops[0]
    settings.bos_token_id = tokenizer.bos_id
    pad = tokenizer.pad_id if tokenizer.pad_id is not None else tokenizer.eos_id
    settings.pad_token_id = pad
    return settings


def _card(pedigree: dict[str, Any], adapter: bool) -> str:
    licences = ", ".join(pedigree.get("licences", [])) or "not stated"
    what = "LoRA adapter" if adapter else "model"
    lines = [
        "---",
        "library_name: " + ("peft" if adapter else "transformers"),
        "pipeline_tag: text-generation",
        "tags: [herdbook]",
        "---",
        "",
        f"# {pedigree['base']}, trained with Herdbook",
        "",
        f"A {what} raised with Herdbook from `{pedigree['base']}`.",
        "",
        f"- Licences of the training data: {licences}",
    ]
    for number, stage in enumerate(pedigree.get("stages", []), start=1):
        settings = stage["config"]
        lines.append(
            f"- Stage {number}: {settings['objective']}, {settings['method']}, {stage['steps']} steps of "
            f"{settings['batch_size']}, {stage['trained_tokens']:,} trained of {stage['tokens']:,} tokens seen, "
            f"data `{stage['data']['key'][:12]}`"
        )
    lines += ["", f"The full pedigree is in `{PEDIGREE_FILE}`; the chat template is stored in the tokenizer.", ""]
    return "\n".join(lines)

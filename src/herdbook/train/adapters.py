"""LoRA adapters: small trainable matrices beside frozen ones, by PEFT."""

from __future__ import annotations

import json
from pathlib import Path

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from herdbook.core.errors import ModelError
from herdbook.train.config import LoraConfig

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The folder with whole weights under a model folder: the folder itself, or the base that its adapter names."""
    if not is_adapter(folder):
        return folder
    name = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    moved = folder.parent.parent.joinpath(*Path(name).parts[-2:])  # base and adapter moved with their store
    base = next((place for place in (Path(name), moved) if (place / "config.json").is_file()), None)
    if base is None:
        raise ModelError(
            f"The adapter in {folder} names the base model {name!r}, which is no model folder here. Put the base back "
            f"there, or correct base_model_name_or_path in {folder / ADAPTER_CONFIG}."
        )
    return base


def add_adapter(model: PreTrainedModel, settings: LoraConfig) -> PeftModel:
    """Freeze `model` and put fresh adapters into it; its outputs stay the same until they are trained."""
    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    peft_config = PeftLoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType]  # PEFT only divides it by r
        lora_dropout=settings.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, peft_config)  # pyright: ignore[reportReturnType]
    except ValueError as error:
        raise ModelError(f"lora.targets {settings.targets!r} does not fit {type(model).__name__}: {error}") from error


def continue_adapter(model: PreTrainedModel, folder: Path, settings: LoraConfig) -> PeftModel:
    """Load the adapter in `folder` onto its base to train it on. Raises ModelError if its shape is another."""
    stored = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    if stored.get("r") != settings.r or stored.get("lora_alpha") != settings.alpha:
        raise ModelError(
            f"The model to continue from has adapters of r {stored.get('r')} and alpha {stored.get('lora_alpha')}, "
            f"but this run asks for r {settings.r} and alpha {settings.alpha}. Use the same values, or method full."
        )
    return PeftModel.from_pretrained(model, str(folder), is_trainable=True, local_files_only=True)


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Load the adapter in `folder` onto its base and fold it into the weights."""
    return PeftModel.from_pretrained(model, str(folder), local_files_only=True).merge_and_unload()

"""Saving a half-trained state so that the resumed run ends in the same weights, bit by bit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

CHECKPOINT_FILE = "checkpoint.pt"


@dataclass(slots=True)
class State:
    """Where a run stands: optimizer steps done, and what the log holds for them."""

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)


def save_checkpoint(folder: Path, state: State, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
    """Write the checkpoint next to the old one and swap them in one rename, so that a kill leaves one of the two."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "state": {name: getattr(state, name) for name in State.__slots__},
        "weights": {name: p.detach() for name, p in model.named_parameters() if p.requires_grad},
        "buffers": dict(model.named_buffers()),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    half_made = folder / f"{CHECKPOINT_FILE}.half"  # one name: what a full disk cut off is written over, not kept
    with half_made.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    half_made.replace(folder / CHECKPOINT_FILE)


def load_checkpoint(folder: Path, model: nn.Module, optimizers: Sequence[Optimizer]) -> State:
    """Continue from the checkpoint in `folder`, or from the start if there is none."""
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        return State()
    content = torch.load(file, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(content["weights"][name])
        for name, buffer in model.named_buffers():
            buffer.copy_(content["buffers"][name])
    for optimizer, state in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    torch.set_rng_state(content["random"])
    if content["random_cuda"]:
        torch.cuda.set_rng_state_all(content["random_cuda"])
    return State(**content["state"])

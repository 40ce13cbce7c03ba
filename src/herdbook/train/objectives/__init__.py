"""Training objectives, one file each, found by name: `objective(outputs, batch) -> Loss`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from herdbook.core import catalog

if TYPE_CHECKING:
    from torch import Tensor

    from herdbook.train.batch import PackedBatch
    from herdbook.train.head import Outputs


@dataclass(frozen=True, slots=True)
class Loss:
    """What an objective returns for one micro-batch.

    The loop divides the sum by the weight of the whole optimizer step, so splitting a step into micro-batches or
    processes does not change it.
    """

    sum: Tensor  # scalar, differentiable
    weight: Tensor  # scalar
    metrics: dict[str, Tensor] = field(default_factory=dict)  # sums over the micro-batch, for the log


Objective = Callable[["Outputs", "PackedBatch"], Loss]


def load_objective(name: str) -> Objective:
    """Find `objectives/<name>.py` or a plugin. Raises ConfigError with the nearest name."""
    return catalog.load(__name__, name).objective

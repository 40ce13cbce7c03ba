"""Which device to train on, and with how many threads."""

from __future__ import annotations

import torch

from herdbook.core.errors import ConfigError
from herdbook.core.types import Runtime


def set_up(runtime: Runtime) -> torch.device:
    """Set torch's thread count and return the device. Raises ConfigError for a device that is not there."""
    if runtime.threads > 0:
        torch.set_num_threads(runtime.threads)
    name = runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"The device {runtime.device!r} cannot be used here: {reason} Use auto or cpu.") from error
    return torch.device(name)

"""What a training run tells: the loss curve for the report, metrics.jsonl and TensorBoard for the curious."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

CURVE_FILE = "curve.json"
CURVE_FIELDS = ("step", "loss", "learning_rate", "gradient_norm", "tokens", "trained_tokens")  # what a rerun repeats


class TrainingLog:
    """Writes one record a step under `folder`; records of an interrupted run are written again first."""

    def __init__(self, folder: Path, earlier: Iterable[dict[str, Any]] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines = (folder / "metrics.jsonl").open("w", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))
        for record in earlier:
            self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        for name, value in record.items():
            if name not in ("step", "time"):
                self._board.add_scalar(f"train/{name}", value, record["step"], walltime=record["time"])

    def close(self) -> None:
        self._lines.close()
        self._board.close()


def write_curve(file: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write the part of the records that a rerun repeats bit by bit: {"step": [...], "loss": [...], ...}."""
    rows = list(records)
    curve = {name: [row[name] for row in rows] for name in CURVE_FIELDS}
    file.write_text(json.dumps(curve) + "\n", encoding="utf-8")

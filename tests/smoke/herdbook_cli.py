"""Runs the `herdbook` command as a user would, on a small recipe over the packaged data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPE = """\
name: mini
base: builtin:blank
sources:
  lookup: {path: "builtin:quickstart/lookup.jsonl", limit: 24}
  mine: {path: mine.jsonl, format: alpaca}
prepare: [validate, deduplicate, {decontaminate: {against: evaluate}}]
mixes:
  untrained: {}
  lookup: {lookup: 1.0}
  both: {lookup: 1.0, mine: 1.0}
  more: {after: lookup, mine: 1.0, train: {steps: 2}}
train: {steps: STEPS, batch_size: 2, max_length: 128, optimizer: muon, learning_rate: 1e-3, checkpoint_every: 2}
evaluate:
  - skill: {name: lookup, data: "builtin:quickstart/lookup.test.jsonl", limit: 6}
  - skill: {name: mine, data: items.jsonl}
"""


def write_recipe(folder: Path, steps: int = 3) -> Path:
    """Write a recipe, a source with one malformed row, and items."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"instruction": f"Say the word number {i}.", "input": "", "output": f"word {i}"} for i in range(12)]
    lines = [json.dumps(row) for row in rows]
    lines.insert(3, '{"instruction": "no output here"}')
    (folder / "mine.jsonl").write_text("\n".join(lines) + "\n")
    items = [{"id": str(i), "question": f"Say the word number {i + 50}.", "answer": f"word {i + 50}"} for i in range(5)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    recipe = folder / "mini.yaml"
    recipe.write_text(RECIPE.replace("STEPS", str(steps)))
    return recipe


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "herdbook", *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "HERDBOOK_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def herdbook(
    home: Path, *words: str | Path, code: int = 0, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and check its exit code."""
    done = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        env=environment(home),
        input=stdin,
        timeout=300,
        cwd=home.parent,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def herdbook_json(home: Path, *words: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a command with --json; all of stdout must be one document."""
    return json.loads(herdbook(home, *words, "--json", code=code).stdout)

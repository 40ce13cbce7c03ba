"""How long `herdbook --help` and `herdbook plan` take, beside the commands that users of this field start daily.

    python bench/startup.py [--rounds 7]

Interleaved rounds of whole processes; prints medians and the ratio to Herdbook.
Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = Path(__file__).parent.parent / "recipes" / "quickstart.yaml"


def commands() -> dict[str, list[str]]:
    """Return what is measured: name -> command line."""
    here = Path(sys.executable).parent
    found = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "herdbook --help": [sys.executable, "-m", "herdbook", "--help"],
        "herdbook plan": [sys.executable, "-m", "herdbook", "plan", str(RECIPE)],
    }
    for peer in ("trl", "accelerate", "transformers", "lm_eval", "hf"):
        path = shutil.which(peer, path=str(here))
        if path:
            found[f"{peer} --help"] = [path, "--help"]
    return found


def seconds(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, env={**os.environ, "HERDBOOK_HOME": home, "HF_HUB_OFFLINE": "1"}
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.decode()[-500:]}")
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    measured: dict[str, list[float]] = {name: [] for name in commands()}
    for number in range(rounds + 1):
        for name, command in commands().items():
            taken = seconds(command)
            if number:  # the first round warms the disk cache
                measured[name].append(taken)
    ours = statistics.median(measured["herdbook --help"])
    for name, times in measured.items():
        middle = statistics.median(times)
        print(
            f"{name:24} {middle:6.3f} s  min {min(times):.3f}  max {max(times):.3f}  "
            f"{middle / ours:5.2f} x herdbook --help"
        )


if __name__ == "__main__":
    main()

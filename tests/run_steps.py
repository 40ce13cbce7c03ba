"""Run one step outside of a store: for tests of steps."""

import json
from pathlib import Path
from typing import Any

from herdbook.core.artifact import Artifact, Manifest
from herdbook.core.digest import FileRef, file_digest
from herdbook.core.progress import SilentProgress
from herdbook.core.step import Context
from herdbook.core.types import Runtime


def run_step(step: Any, config: dict[str, Any], inputs: dict[str, Artifact], folder: Path, name: str = "") -> Artifact:
    """Run `step` in `folder`; the artifact's stats are what it returned, checked to be JSON."""
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    context = Context(out, scratch, Runtime(), SilentProgress(), name)
    stats = json.loads(json.dumps(step.run(step.Config(**config), inputs, context)))
    manifest = Manifest(name, step.kind, "key", "digest", step.version, config, {}, stats)
    return Artifact(out, manifest)


def file_ref(path: Path) -> FileRef:
    """Return the FileRef of a file."""
    return FileRef(name=path.name, sha256=file_digest(path), size=path.stat().st_size, path=str(path))


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

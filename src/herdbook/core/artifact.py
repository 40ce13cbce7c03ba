"""What steps exchange: a folder of files with a manifest that says what it is and what it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The pedigree of one artifact.

    `key` identifies the question (step, version, config, input digests), `digest` the answer (the bytes produced,
    without `logs/`). `stats` holds what a cold run learned and a cached run must still tell: JSON values only.
    """

    step: str  # the step's name in the plan, e.g. "train:everything:0"
    kind: str  # what it holds: items | conversations | packed | model | scores | report
    key: str
    digest: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str]  # input name -> key of the artifact
    stats: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    reproducible: bool = True
    seconds: float = 0.0
    created: str = ""  # UTC, ISO 8601
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact in the store: `path / "model"`, `path / "conversations.parquet"`, ..."""

    path: Path
    manifest: Manifest

    @property
    def stats(self) -> dict[str, Any]:
        return self.manifest.stats

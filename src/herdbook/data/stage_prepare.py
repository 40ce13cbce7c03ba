"""PREPARE: cleaning steps over the conversations of one source, in order; what they drop goes to dropped.jsonl."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError, field_validator

from herdbook.core import catalog
from herdbook.core.artifact import Artifact
from herdbook.core.errors import ConfigError, DataError
from herdbook.core.step import Context, StepConfig
from herdbook.data.outcome import Drop, Item

STEPS = "herdbook.data.steps"
DROPPED_FILE = "dropped.jsonl"

_SAMPLES = 3  # dropped conversations of each step that the report shows


class PrepareConfig(StepConfig):
    """Which steps, in order: `{"name": ..., option: value, ...}` each."""

    steps: list[dict[str, Any]]

    @field_validator("steps")
    @classmethod
    def _known(cls, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for step in steps:
            load_step(step)
        return steps


class Prepare:
    """Apply the steps; every dropped conversation is kept with its reason and evidence."""

    kind = "conversations"
    version = 1
    reproducible = True
    Config = PrepareConfig

    def run(self, config: PrepareConfig, inputs: Mapping[str, Artifact], ctx: Context) -> dict[str, Any]:
        """Read input `source` and, for decontamination, `items:<benchmark>`. Raises DataError if nothing is left."""
        from herdbook.data.summary import Summary
        from herdbook.data.table import CONVERSATIONS_FILE, read_conversations, write_conversations

        source = inputs["source"]
        conversations = read_conversations(source.path / CONVERSATIONS_FILE)
        items = {name[6:]: _items(name[6:], given) for name, given in inputs.items() if name.startswith("items:")}
        before = len(conversations)
        dropped: dict[str, dict[str, int]] = {}
        samples: dict[str, list[dict[str, Any]]] = {}
        with (ctx.out / DROPPED_FILE).open("w", encoding="utf-8") as file:
            for number, step in enumerate(config.steps, 1):
                ctx.progress.update(number - 1, len(config.steps), step=step["name"])
                module, options = load_step(step)
                outcome = module.apply(conversations, options, items)
                conversations = outcome.kept
                lines = [drop.as_json(step["name"]) for drop in outcome.dropped]
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                dropped[step["name"]] = _reasons(outcome.dropped)
                samples[step["name"]] = lines[:_SAMPLES]
        if not conversations:
            raise DataError(
                f"{ctx.name or 'prepare'}: the cleaning steps dropped all {before} conversations ({dropped})."
            )
        write_conversations(ctx.out / CONVERSATIONS_FILE, conversations)
        summary = Summary()
        summary.add(conversations)
        licences = source.stats.get("licences", sorted(summary.licences))
        return {**summary.as_stats(), "before": before, "dropped": dropped, "samples": samples, "licences": licences}


def load_step(step: Mapping[str, Any]) -> tuple[ModuleType, BaseModel]:
    """Find a cleaning step by its name and check its options. Raises ConfigError for an unknown name or option."""
    module = catalog.load(STEPS, step["name"])
    try:
        return module, module.Config(**{key: value for key, value in step.items() if key != "name"})
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = catalog.unknown(f"option of {step['name']}", option, sorted(module.Config.model_fields))
            raise ConfigError(f"prepare: {hint}") from error
        raise ConfigError(f"prepare: {step['name']}.{option} is {first['input']!r}: {first['msg']}.") from error


def _items(benchmark: str, artifact: Artifact) -> list[Item]:
    import pyarrow.parquet as pq

    path: Path = artifact.path / "items.parquet"
    rows = pq.read_table(path, columns=["id", "question", "answer"]).to_pylist()
    return [Item(benchmark, row["id"], row["question"], row["answer"] or "") for row in rows]


def _reasons(dropped: list[Drop]) -> dict[str, int]:
    return dict(Counter(drop.reason for drop in dropped).most_common())


PREPARE = Prepare()

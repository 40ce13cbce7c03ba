"""MIX: prepared sources become one training set, by weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from herdbook.core.artifact import Artifact
from herdbook.core.errors import DataError
from herdbook.core.step import Context, StepConfig


class PartConfig(BaseModel):
    """How much of one source: a share up to 1, repeats above, never more than `max_examples` rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, ge=0)
    max_examples: int | None = Field(default=None, ge=1)


class MixConfig(StepConfig):
    """The parts of a mix by source name, and the seed of choice and order."""

    parts: dict[str, PartConfig]
    seed: int = 0


class Mix:
    """Draw from every source and shuffle. See `herdbook.data.mix` for what the draw guarantees."""

    kind = "conversations"
    version = 1
    reproducible = True
    Config = MixConfig

    def run(self, config: MixConfig, inputs: Mapping[str, Artifact], ctx: Context) -> dict[str, Any]:
        """Read the inputs `source:<name>` and write conversations.parquet. Raises DataError for an empty mix."""
        import pyarrow.parquet as pq

        from herdbook.data.mix import count_by_source, draw_count, mix_tables
        from herdbook.data.table import CONVERSATIONS_FILE, write_table

        paths = {name: inputs[f"source:{name}"].path / CONVERSATIONS_FILE for name in sorted(config.parts)}
        tables = {name: pq.read_table(path) for name, path in paths.items()}
        counts = {
            name: draw_count(tables[name].num_rows, part.weight, part.max_examples)
            for name, part in sorted(config.parts.items())
        }
        if not sum(counts.values()):
            raise DataError(f"The mix {ctx.name or ''} draws no conversations: all its weights are 0.")
        mixed = mix_tables(tables, counts, config.seed)
        write_table(ctx.out / CONVERSATIONS_FILE, mixed)
        drawn = [inputs[f"source:{name}"] for name, count in counts.items() if count]
        return {
            "rows": mixed.num_rows,
            "by_source": count_by_source(mixed),
            "available": {name: table.num_rows for name, table in tables.items()},
            "licences": sorted({licence for artifact in drawn for licence in artifact.stats.get("licences", [])}),
        }


MIX = Mix()

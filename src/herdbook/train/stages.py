"""The steps that make models: BASE brings a base model in, TRAIN trains one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from herdbook.core.artifact import Artifact
from herdbook.core.digest import LOGS_FOLDER, FileRef
from herdbook.core.step import Context, StepConfig
from herdbook.train.config import TrainConfig

if TYPE_CHECKING:
    from herdbook.train.checkpoint import State
    from herdbook.train.model import Loaded

MODEL_FOLDER = "model"
TOKENIZER_FOLDER = "tokenizer"
BUILTIN = "builtin:"


class BaseConfig(StepConfig):
    """Which base model, and from where."""

    base: str = Field(description="`builtin:cria`, `builtin:blank`, a local folder, or a model id of the hub.")
    files: tuple[FileRef, ...] = Field(default=(), description="Files of a local folder; empty for other bases.")
    revision: str | None = Field(default=None, description="Commit or branch of a hub model.")
    seed: int = Field(default=0, description="Draws the weights of `builtin:blank`.")


class Base:
    """Bring a base model into the store: a model folder of links (local, hub) or of files (built in)."""

    kind = "model"
    version = 1
    reproducible = True
    Config = BaseConfig

    def run(self, config: BaseConfig, inputs: Mapping[str, Artifact], ctx: Context) -> dict[str, Any]:
        from herdbook.builtin import write_base
        from herdbook.train.bases import describe, link_hub, link_local

        out = ctx.out / MODEL_FOLDER
        out.mkdir(parents=True, exist_ok=True)
        if config.base.startswith(BUILTIN):
            write_base(config.base.removeprefix(BUILTIN), out, config.seed)
        elif config.files:
            link_local(config.base, config.files, out)
        else:
            link_hub(config.base, config.revision, out)
        return {"base": config.base, "revision": config.revision, **describe(out)}


class Train:
    """Train a model on packed data; the artifact is a plain Hugging Face folder, a loss curve and logs."""

    kind = "model"
    version = 1
    reproducible = True
    Config = TrainConfig

    def run(self, config: TrainConfig, inputs: Mapping[str, Artifact], ctx: Context) -> dict[str, Any]:
        from herdbook.data.pack import PackedData
        from herdbook.train.logs import CURVE_FILE, write_curve
        from herdbook.train.loop import build_trainer, train
        from herdbook.train.model import load_for_training, parameters, save_model
        from herdbook.train.objectives import load_objective
        from herdbook.train.threads import set_up

        device = set_up(ctx.runtime)
        data = PackedData.open(inputs["packed"].path)
        loaded = load_for_training(inputs["model"].path / MODEL_FOLDER, config)
        loaded.model.to(device)  # pyright: ignore[reportArgumentType]
        total, trainable = parameters(loaded.model)
        trainer = build_trainer(
            loaded.model, data, config, load_objective(config.objective), ctx.runtime.micro_batch_tokens, ctx.progress
        )
        state = train(trainer, ctx.scratch, ctx.out / LOGS_FOLDER, ctx.progress)
        pedigree = _pedigree(config, inputs, loaded, state)
        save_model(loaded, ctx.out / MODEL_FOLDER, inputs["packed"].path / TOKENIZER_FOLDER, config, pedigree)
        write_curve(ctx.out / CURVE_FILE, state.records)
        return {
            "base": pedigree["base"],
            "steps": state.step,
            "tokens": state.tokens,
            "trained_tokens": state.trained_tokens,
            "first_loss": state.records[0]["loss"],
            "final_loss": _mean([record["loss"] for record in state.records[-10:]]),
            "seconds": round(state.seconds, 3),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
            "parameters": total,
            "trainable_parameters": trainable,
            "layout": trainer.isolation.layout,
        }


def _pedigree(config: TrainConfig, inputs: Mapping[str, Artifact], loaded: Loaded, state: State) -> dict[str, Any]:
    """What the saved model was made from; the same bytes for the same key."""
    from herdbook.train.model import read_pedigree

    packed, model = inputs["packed"], inputs["model"]
    parent = read_pedigree(model.path / MODEL_FOLDER)
    licences = {*parent.get("licences", []), *packed.stats.get("licences", [])}
    stage = {
        "config": config.model_dump(mode="json"),
        "data": {"key": packed.manifest.key, "digest": packed.manifest.digest},
        "model": {"key": model.manifest.key, "digest": model.manifest.digest},
        "steps": state.step,
        "tokens": state.tokens,
        "trained_tokens": state.trained_tokens,
    }
    return {
        "format": 1,
        "base": parent.get("base") or model.stats.get("base") or Path(loaded.base).name,
        "template_fingerprint": packed.stats.get("fingerprint"),
        "licences": sorted(licences),
        "stages": [*parent.get("stages", []), stage],
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


BASE = Base()
TRAIN = Train()

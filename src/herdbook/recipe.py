"""The recipe: which data, which mixes of them, which base, which training and which evaluations. Data, not code.

`read_recipe` reads YAML, applies a profile and `--set` values, checks everything that can be checked without reading
data, and generates the mixes that `leave_one_out` and `add_one_in` ask for. All that is wrong is said at once, with
file:line:column.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from herdbook.core import catalog
from herdbook.core.config import (
    Document,
    InvalidConfig,
    Problem,
    Where,
    parse_scalar,
    read_yaml,
    set_path,
    validate,
)
from herdbook.core.errors import ConfigError
from herdbook.train.config import TrainConfig

FORMATS = "herdbook.data.formats"
STEPS = "herdbook.data.steps"
BENCHMARKS = "herdbook.evals.benchmarks"
TEMPLATES = ("tulu", "vicuna", "alpaca", "chatml", "llama2", "llama3", "plain", "tokenizer")


class Section(BaseModel):
    """Base of the recipe's parts: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CleaningStep(Section):
    """One cleaning step: a name of `herdbook.data.steps`, or `{name: {option: value}}`."""

    name: str = Field(description="file name in `herdbook/data/steps`, e.g. `deduplicate`")
    options: dict[str, Any] = Field(default_factory=dict, description="the step's own options")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return _named(value, "a cleaning step")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        catalog_name(STEPS, name)
        return name


class SourceSpec(Section):
    """One instruction resource: raw files of one format."""

    path: str | list[str] = Field(
        description="a file, folder, glob or list of these, relative to `data` or, if nothing is there, to the working "
        "folder; "
        "`hub:owner/name`, or `builtin:...` for what ships in the package"
    )
    format: str = Field(
        default="auto", description="file name in `herdbook/data/formats`; `auto` looks at the first records"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="options of the format's converter")
    limit: int | None = Field(default=None, ge=1, description="keep a seeded random choice of this many conversations")
    licence: str | None = Field(
        default=None, description="licence of the resource; it propagates to mixes and model cards"
    )
    clean: list[CleaningStep] = Field(
        default_factory=list, description="cleaning steps of this source alone, before `prepare`"
    )

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ("auto", "corpus"):
            catalog_name(FORMATS, name)
        return name


class Part(Section):
    """How much of a source a mix takes."""

    weight: float = Field(default=1.0, gt=0, description="share of the source; above 1 conversations repeat")
    max_examples: int | None = Field(default=None, ge=1, description="upper bound of conversations taken")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class MixSpec(Section):
    """One mix. In YAML: `{source: weight, ...}` and, if wanted, `base:`, `after:`, `train:` beside the sources."""

    parts: dict[str, Part] = Field(default_factory=dict, description="source -> weight, or {weight, max_examples}")
    base: str | None = Field(default=None, description="base model of this mix, in place of the recipe's")
    after: str | None = Field(default=None, description="continue from the model of this other mix")
    train: dict[str, Any] = Field(
        default_factory=dict, description="training values of this mix, in place of the recipe's"
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "parts" in value:
            return value
        reserved = {key: value[key] for key in ("base", "after", "train") if key in value}
        return {**reserved, "parts": {key: part for key, part in value.items() if key not in reserved}}


class EvaluationSpec(Section):
    """One column of the matrix: `benchmark`, `benchmark@preset`, or `{benchmark@preset: {option: value}}`."""

    benchmark: str = Field(description="file name in `herdbook/evals/benchmarks`")
    preset: str | None = Field(
        default=None, description="which published protocol; the benchmark's default if left out"
    )
    name: str = Field(description="column title; by default benchmark[@preset]")
    data: str | None = Field(default=None, description="local file or folder, relative to `data`; the hub if left out")
    limit: int | None = Field(default=None, ge=1, description="a seeded random choice of this many items")
    options: dict[str, Any] = Field(default_factory=dict, description="the benchmark's own options")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "benchmark" in value:
            return value
        named = _named(value, "an evaluation")
        benchmark, _, preset = str(named["name"]).partition("@")
        options = dict(named.get("options", {}))
        own = {key: options.pop(key) for key in ("name", "data", "limit") if key in options}
        return {"benchmark": benchmark, "preset": preset or None, "name": named["name"], **own, "options": options}

    @field_validator("benchmark")
    @classmethod
    def _known(cls, name: str) -> str:
        catalog_name(BENCHMARKS, name)
        return name


class Recipe(Section):
    """A study: sources, mixes, a base, training, evaluations. `mixes` x `evaluate` is the matrix."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the study; runs are found by it")
    base: str = Field(
        description="hub id, local folder, `builtin:cria` or `builtin:blank` (the same with random weights)"
    )
    template: str = Field(default="tulu", description=f"chat template: {', '.join(TEMPLATES)}")
    data: str | None = Field(
        default=None, description="folder that relative paths start from; by default the recipe's own"
    )
    sources: dict[str, SourceSpec] = Field(
        default_factory=dict, description="name -> instruction resource; none are needed to evaluate bases as they are"
    )
    prepare: list[CleaningStep] = Field(
        default_factory=lambda: [CleaningStep(name="validate"), CleaningStep(name="deduplicate")],
        description="cleaning steps of every source, in order",
    )
    mixes: dict[str, MixSpec] = Field(
        min_length=1, description="name -> mix; an empty mix `{}` is the base model as it is"
    )
    leave_one_out: str | None = Field(default=None, description="for each source of this mix, add the mix without it")
    add_one_in: str | None = Field(default=None, description="for each source not in this mix, add the mix with it")
    baseline: str | None = Field(
        default=None, description="mix that the others are compared with; by default the first"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        default=[0], min_length=1, description="one model per mix and seed; by default that of `train`"
    )
    train: TrainConfig = Field(default_factory=TrainConfig, description="objective, method and hyperparameters")
    evaluate: list[EvaluationSpec] = Field(default_factory=list, description="benchmarks, in the order of the columns")
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="name -> {dotted path: value}, applied by `--profile name`; `*` matches every key",
    )

    @field_validator("template")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in TEMPLATES:
            raise ValueError(catalog.unknown("template", name, list(TEMPLATES)))
        return name


def catalog_name(package: str, name: str) -> None:
    """Raise ValueError (for pydantic) unless `name` is a component of `package` or a dotted plugin path."""
    known = catalog.names(package)
    if "." not in name and name not in known:
        noun = {FORMATS: "format", STEPS: "cleaning step", BENCHMARKS: "benchmark"}[package]
        raise ValueError(catalog.unknown(noun, name, known))


def _named(value: Any, what: str) -> Any:
    """Normalise `name` and `{name: options}` to {"name", "options"}."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping) and "name" not in value and len(value) == 1:
        ((name, options),) = value.items()
        if isinstance(options, Mapping) or options is None:
            return {"name": name, "options": dict(options or {})}
    if isinstance(value, Mapping) and "name" in value:
        return value
    raise ValueError(f"{value!r} is not {what}: write `name` or `name: {{option: value}}`.")


@dataclass(frozen=True, slots=True)
class LoadedRecipe:
    """A checked recipe, the YAML it came from, and the folder that its relative paths start from."""

    recipe: Recipe
    document: Document
    folder: Path
    changes: tuple[str, ...] = ()  # `--profile` and `--set` options that changed it, as on the command line

    @property
    def text(self) -> str:
        """The YAML text, with a first line that says what changed it."""
        return f"# run with {' '.join(self.changes)}\n{self.document.text}" if self.changes else self.document.text

    def problem(self, where: Where, message: str) -> Problem:
        return self.document.problem(where, message)


def read_recipe(path: Path, profile: str | None = None, sets: Sequence[str] = ()) -> LoadedRecipe:
    """Read the recipe file at `path` with a profile and `key=value` settings applied.

    Raises ConfigError (InvalidConfig where the file could be read) naming every problem with file:line:column.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise ConfigError(
            f"{path}:1: a recipe is a mapping with `name`, `base`, `sources`, `mixes`; this is {document.data!r}."
        )
    document.data = copy.deepcopy(document.data)
    _apply_profile(document, profile)
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text!r}: write it as key=value, for example train.epochs=1.")
        set_path(document.data, key, parse_scalar(value), f"--set {text}")
    _place_parts(document)
    recipe = validate(Recipe, document.data, document)
    if "seed" in recipe.train.model_fields_set and "seeds" not in recipe.model_fields_set:
        recipe = recipe.model_copy(update={"seeds": [recipe.train.seed]})
    recipe = generate_mixes(recipe, document)
    problems = list(_check_references(recipe, document))
    if problems:
        raise InvalidConfig(problems)
    base_folder = path.absolute().parent
    folder = (base_folder / recipe.data) if recipe.data else base_folder
    if recipe.data and not folder.is_dir():
        folder = Path(recipe.data).absolute()
    if not folder.is_dir():
        message = f"there is no folder {recipe.data!r} (looked in {base_folder} and {Path.cwd()}); check its spelling."
        raise InvalidConfig([document.problem(("data",), message)])
    changes = ([f"--profile {profile}"] if profile else []) + [f"--set {text}" for text in sets]
    return LoadedRecipe(recipe, document, folder.resolve(), tuple(changes))


def _place_parts(document: Document) -> None:
    """Let errors in `mixes.MIX.parts.SOURCE` point to where the file has it: `mixes.MIX.SOURCE`."""
    for where, position in list(document.positions.items()):
        if len(where) == 3 and where[0] == "mixes":
            document.positions.setdefault(("mixes", where[1], "parts", where[2]), position)


def _apply_profile(document: Document, profile: str | None) -> None:
    if profile is None:
        return
    profiles = document.data.get("profiles") or {}
    if not isinstance(profiles, dict) or profile not in profiles:
        known = list(profiles) if isinstance(profiles, dict) else []
        message = catalog.unknown("profile", profile, known)
        raise InvalidConfig([document.problem(("profiles",), message)])
    values = profiles[profile]
    if not isinstance(values, dict):
        message = (
            f"a profile is a mapping of dotted paths to values, for example {{train.epochs: 1}}; this is {values!r}."
        )
        raise InvalidConfig([document.problem(("profiles", profile), message)])
    for key, value in values.items():
        place: Where = ("profiles", profile, key)
        origin = str(document.problem(place, "profile"))
        for where in set_path(document.data, key, copy.deepcopy(value), origin):
            document.positions[where] = document.positions.get(place, (0, 0))


def generate_mixes(recipe: Recipe, document: Document) -> Recipe:
    """Return the recipe with the mixes that `leave_one_out` and `add_one_in` describe added behind the written ones."""
    mixes = dict(recipe.mixes)
    for field, of in (("leave_one_out", recipe.leave_one_out), ("add_one_in", recipe.add_one_in)):
        if of is None:
            continue
        if of not in recipe.mixes:
            raise InvalidConfig([document.problem((field,), catalog.unknown("mix", of, list(recipe.mixes)))])
        whole = recipe.mixes[of]
        if field == "leave_one_out":
            for source in whole.parts:
                rest = {name: part for name, part in whole.parts.items() if name != source}
                if rest:
                    mixes.setdefault(f"{of}-without-{source}", whole.model_copy(update={"parts": rest}))
                elif whole.after is None:  # without its only source a mix is its base as it is
                    mixes.setdefault(f"{of}-without-{source}", MixSpec(base=whole.base))
        else:
            for source in recipe.sources:
                if source not in whole.parts:
                    mixes.setdefault(
                        f"{of}+{source}", whole.model_copy(update={"parts": {**whole.parts, source: Part()}})
                    )
    return recipe.model_copy(update={"mixes": mixes})


def _check_references(recipe: Recipe, document: Document) -> list[Problem]:
    """Check what names what: mixes their sources, `after` and `baseline` mixes, titles of evaluations."""
    problems: list[Problem] = []

    def wrong(where: Where, message: str) -> None:
        problems.append(document.problem(where, message))

    for name, mix in recipe.mixes.items():
        where: Where = ("mixes", name)
        for source in mix.parts:
            if source not in recipe.sources:
                wrong((*where, source), f"in mix {name!r}: " + catalog.unknown("source", source, list(recipe.sources)))
        if not mix.parts and (mix.after or mix.train):
            wrong(
                where,
                f"mix {name!r} names no source, so there is nothing to train on; name one or drop `after`/`train`.",
            )
        if mix.after is not None and mix.after not in recipe.mixes:
            wrong((*where, "after"), catalog.unknown("mix", mix.after, list(recipe.mixes)))
        elif mix.after is not None and mix.base is not None:
            wrong((*where, "base"), "`after` already says which model to start from; drop `base`.")
        elif _is_cyclic(recipe, name):
            wrong((*where, "after"), f"mix {name!r} would start from itself; break the circle of `after`.")
        if "seed" in mix.train:
            wrong((*where, "train", "seed"), "the recipe's `seeds` hold for every mix; drop `seed` here.")
        try:
            train_config(recipe, name)
        except InvalidConfig as error:
            problems += [
                document.problem((*where, "train", *problem.field.split(".")), problem.message)
                for problem in error.problems
            ]
    for source in set(recipe.sources) & {"base", "after", "train", "parts"}:
        wrong(("sources", source), f"a source cannot be called {source!r}, because mixes use that word; rename it.")
    if recipe.baseline is not None and recipe.baseline not in recipe.mixes:
        wrong(("baseline",), catalog.unknown("mix", recipe.baseline, list(recipe.mixes)))
    titles = [evaluation.name for evaluation in recipe.evaluate]
    for index, title in enumerate(titles):
        if title in titles[:index]:
            wrong(("evaluate", index), f"two evaluations are called {title!r}; give one a `name`.")
    if "seed" in recipe.train.model_fields_set and [recipe.train.seed] != recipe.seeds:
        wrong(("train", "seed"), "`seeds` says which seeds to train with; drop `train.seed`.")
    if len(set(recipe.seeds)) != len(recipe.seeds):
        wrong(("seeds",), f"{recipe.seeds} holds a seed twice; each seed trains one model.")
    return problems


def _is_cyclic(recipe: Recipe, name: str) -> bool:
    seen = {name}
    after = recipe.mixes[name].after
    while after is not None and after in recipe.mixes:
        if after in seen:
            return True
        seen.add(after)
        after = recipe.mixes[after].after
    return False


def train_config(recipe: Recipe, mix: str) -> TrainConfig:
    """Return the training config of a mix: the recipe's with the mix's own values in place, `lora` key by key."""
    own = recipe.mixes[mix].train
    merged = {**dict(recipe.train), **own}  # not model_dump, which leaves out what is not hashed
    if isinstance(own.get("lora"), Mapping):
        merged["lora"] = {**dict(recipe.train.lora), **own["lora"]}
    return validate(TrainConfig, merged, Document("", "", None))


def baseline_of(recipe: Recipe) -> str:
    """Return the mix that the others are compared with."""
    return recipe.baseline or recipe.leave_one_out or recipe.add_one_in or next(iter(recipe.mixes))

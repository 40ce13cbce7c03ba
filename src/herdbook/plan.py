"""From a recipe to the graph of its steps, and from the graph and the store to what would run and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from herdbook.builtin import BASES
from herdbook.core.catalog import unknown
from herdbook.core.config import InvalidConfig, Problem, Where
from herdbook.core.digest import FileRef, sha256_of
from herdbook.core.errors import ConfigError, DataError, ModelError
from herdbook.core.execute import load_step, node_key
from herdbook.core.runs import Run
from herdbook.core.step import Node
from herdbook.core.store import Store
from herdbook.locate import find_base, find_data_files, find_files, is_remote
from herdbook.recipe import CleaningStep, EvaluationSpec, LoadedRecipe, baseline_of, train_config

LOAD = "herdbook.data.stages:LOAD"
PREPARE = "herdbook.data.stages:PREPARE"
MIX = "herdbook.data.stages:MIX"
ENCODE = "herdbook.data.stages:ENCODE"
BASE = "herdbook.train.stages:BASE"
TRAIN = "herdbook.train.stages:TRAIN"
ITEMS = "herdbook.evals.stages:ITEMS"
EVALUATE = "herdbook.evals.stages:EVALUATE"
REPORT = "herdbook.report.stages:REPORT"


@dataclass(frozen=True, slots=True)
class ScoreNode:
    """Which node holds the scores of a mix, seed and evaluation."""

    mix: str
    seed: int
    benchmark: str  # the evaluation's title
    node: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The graph of a recipe: nodes by name in an order in which each comes after its inputs."""

    nodes: dict[str, Node]
    scores: list[ScoreNode]
    models: dict[tuple[str, int], str]  # (mix, seed) -> node that holds the model
    report: str
    first_seed: int


def build_plan(loaded: LoadedRecipe, store: Store) -> Plan:
    """Build the graph of steps. Reads (and digests) the local files that the recipe names, but no row of them.

    Raises InvalidConfig naming every file that is missing, with its place in the recipe.
    """
    return _Builder(loaded, store).build()


class _Builder:
    """Collects nodes and problems; one method a kind of step."""

    def __init__(self, loaded: LoadedRecipe, store: Store) -> None:
        self.loaded, self.recipe, self.store = loaded, loaded.recipe, store
        self.nodes: dict[str, Node] = {}
        self.problems: list[Problem] = []

    def add(self, name: str, step: str, config: dict[str, Any], inputs: dict[str, str]) -> str:
        if name not in self.nodes:
            self.nodes[name] = Node(name, step, load_step(step).Config(**config), inputs)
        return name

    def build(self) -> Plan:
        items = {
            evaluation.name: self.items(index, evaluation) for index, evaluation in enumerate(self.recipe.evaluate)
        }
        used = {source for mix in self.recipe.mixes.values() for source in mix.parts}
        data = {name: self.source(name, items) for name in self.recipe.sources if name in used}
        self.raise_problems()
        models: dict[tuple[str, int], str] = {}
        for seed in self.recipe.seeds:
            for mix in self.recipe.mixes:
                self.model(mix, seed, data, models)
        self.raise_problems()
        scores = [
            ScoreNode(mix, seed, evaluation.name, self.scores(mix, seed, evaluation, items, models[mix, seed]))
            for mix, spec in self.recipe.mixes.items()
            for seed in (self.recipe.seeds if spec.parts else self.recipe.seeds[:1])
            for evaluation in self.recipe.evaluate
        ]
        return Plan(self.nodes, scores, models, self.report(scores), self.recipe.seeds[0])

    def raise_problems(self) -> None:
        """Raise what was found wrong so far, each thing once: a cleaning step is built for every source."""
        if self.problems:
            raise InvalidConfig(list(dict.fromkeys(self.problems)))

    def files(self, path: str | list[str], where: Where, find: Callable[..., list[Path]] = find_files) -> list[FileRef]:
        try:
            return [self.store.digests.file(file) for file in find(path, self.loaded.folder)]
        except (DataError, ModelError) as error:
            self.problems.append(self.loaded.problem(where, str(error)))
            return []

    def items(self, index: int, evaluation: EvaluationSpec) -> str:
        files: list[FileRef] = []
        if evaluation.data is not None:
            files = self.files(evaluation.data, ("evaluate", index, *self._written_key(index), "data"))
            if not files:
                return ""
        config = {
            "benchmark": evaluation.benchmark,
            "preset": evaluation.preset,
            "files": files,
            "limit": evaluation.limit,
            "options": evaluation.options,
        }
        try:
            return self.add(f"items:{evaluation.name}", ITEMS, config, {})
        except ValueError as error:
            self.problems.append(self.loaded.problem(("evaluate", index), _first_line(error)))
            return ""

    def _written_key(self, index: int) -> tuple[str, ...]:
        """Return the key under which an evaluation's options stand in the file."""
        written = self.loaded.document.data["evaluate"][index]
        return (next(iter(written)),) if isinstance(written, dict) and "benchmark" not in written else ()

    def source(self, name: str, items: dict[str, str]) -> str:
        spec = self.recipe.sources[name]
        remote = isinstance(spec.path, str) and is_remote(spec.path)
        files = [] if remote else self.files(spec.path, ("sources", name, "path"), find_data_files)
        options = {**spec.options, "path": spec.path} if remote else dict(spec.options)
        config = {
            "source": name,
            "files": files,
            "format": "corpus" if spec.path == "builtin:corpus" else spec.format,
            "options": options,
            "limit": spec.limit,
            "seed": 0,
            "licence": spec.licence,
        }
        node = self.add(f"source:{name}", LOAD, config, {})
        steps = [*spec.clean, *self.recipe.prepare]
        if not steps:
            return node
        inputs = {"source": node}
        for step in steps:
            inputs |= self._items_of(step, items)
        config = {"steps": [{"name": step.name, **_own_options(step)} for step in steps]}
        try:
            return self.add(f"prepare:{name}", PREPARE, config, inputs)
        except ValueError as error:
            self.problems.append(self.loaded.problem(("prepare",), _first_line(error)))
            return node

    def _items_of(self, step: CleaningStep, items: dict[str, str]) -> dict[str, str]:
        """Return the items that a step compares the data with: those of all evaluations, or of the named ones."""
        if step.name != "decontaminate":
            return {}
        against = step.options.get("against", "evaluate")
        titles = list(items) if against == "evaluate" else against if isinstance(against, list) else [against]
        unknown = [title for title in titles if title not in items]
        if unknown:
            message = (
                f"`against` names {unknown[0]!r}, which is not evaluated here; write `evaluate` for all evaluations."
            )
            self.problems.append(self.loaded.problem(("prepare",), message))
        return {f"items:{title}": items[title] for title in titles if title in items}

    def base(self, mix: str) -> str:
        """Add the step that brings the base model of a mix: builtin, local folder or hub id."""
        own = self.recipe.mixes[mix].base
        name, where = (own, ("mixes", mix, "base")) if own else (self.recipe.base, ("base",))
        config: dict[str, Any] = {"base": name, "files": []}
        if name.startswith("builtin:"):
            known = [f"builtin:{builtin}" for builtin in BASES]
            if name not in known:
                self.problems.append(self.loaded.problem(where, unknown("built-in base", name, known)))
        else:
            folder = find_base(name, self.loaded.folder)
            if folder is not None:
                files = [self.store.digests.file(path) for path in sorted(folder.iterdir()) if path.is_file()]
                if not files:
                    message = f"the folder {folder} is empty; it holds no model."
                    self.problems.append(self.loaded.problem(where, message))
                config = {"base": folder.name, "files": files}
            elif name.startswith(("/", ".", "~")) or name.count("/") > 1:
                self.problems.append(self.loaded.problem(where, f"there is no folder {name!r}, and it is no hub id."))
        return self.add(f"base:{name}", BASE, config, {})

    def model(self, mix: str, seed: int, data: dict[str, str], models: dict[tuple[str, int], str]) -> str:
        """Add the steps that make the model of a mix, and of the mix it continues from."""
        if (mix, seed) in models:
            return models[mix, seed]
        spec = self.recipe.mixes[mix]
        start = self.model(spec.after, seed, data, models) if spec.after else self.base(mix)
        if not spec.parts:
            models[mix, seed] = start
            return start
        parts = {name: part.model_dump() for name, part in spec.parts.items()}
        mixed = self.add(
            f"mix:{mix}", MIX, {"parts": parts, "seed": 0}, {f"source:{name}": data[name] for name in parts}
        )
        train = train_config(self.recipe, mix)
        encode = {"template": self.recipe.template, "max_length": train.max_length, "packing": train.packing, "seed": 0}
        inputs = {"conversations": mixed, "model": self._root_base(mix)}
        packed = self.add(f"encode:{mix}", ENCODE, encode, inputs)
        config = train.model_copy(update={"seed": seed})
        node = f"train:{mix}:{seed}"
        self.nodes[node] = Node(node, TRAIN, config, {"packed": packed, "model": start})
        models[mix, seed] = node
        return node

    def _root_base(self, mix: str) -> str:
        """Return the base whose tokenizer a mix is encoded with: that of the first model in its chain of `after`."""
        spec = self.recipe.mixes[mix]
        return self._root_base(spec.after) if spec.after else self.base(mix)

    def scores(self, mix: str, seed: int, evaluation: EvaluationSpec, items: dict[str, str], model: str) -> str:
        config = {
            "benchmark": evaluation.benchmark,
            "preset": evaluation.preset,
            "template": None if model.startswith("train:") else self.recipe.template,
            "options": evaluation.options,
        }
        inputs = {"items": items[evaluation.name], "model": model}
        return self.add(f"scores:{mix}:{seed}:{evaluation.name}", EVALUATE, config, inputs)

    def report(self, scores: list[ScoreNode]) -> str:
        config = {
            "recipe": self.recipe.name,
            "text": self.loaded.text,
            "mixes": list(self.recipe.mixes),
            "benchmarks": [evaluation.name for evaluation in self.recipe.evaluate],
            "baseline": baseline_of(self.recipe),
            "rows": [{"mix": s.mix, "seed": s.seed, "benchmark": s.benchmark, "input": s.node} for s in scores],
        }
        return self.add("report", REPORT, config, {name: name for name in self.nodes})


def _own_options(step: CleaningStep) -> dict[str, Any]:
    """Return a step's options without `against`, which the plan turned into inputs."""
    return {key: value for key, value in step.options.items() if key != "against"}


def _first_line(error: Exception) -> str:
    """Say a pydantic error of a step's options in one line."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors()[0]
    if first["type"] == "value_error":  # a sentence of ours, which needs no value beside it
        return str(first["ctx"]["error"])
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']} (got {first['input']!r})."


@dataclass(frozen=True, slots=True)
class Planned:
    """A node with its key and whether it would run. `key` is provisional while an input is yet to be made."""

    node: Node
    key: str
    state: str  # cached | run
    reason: str
    provisional: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"name": self.node.name, "key": self.key, "state": self.state, "reason": self.reason}


def resolve(plan: Plan, store: Store, last: Run | None = None) -> list[Planned]:
    """Say for each node whether the store has it, and if not, why it would run; `last` is the recipe's last run."""
    digests: dict[str, str] = {}
    planned: list[Planned] = []
    keys: dict[str, str] = {}
    for node in plan.nodes.values():
        waiting = [name for name in node.inputs.values() if name not in digests]
        known = {name: digests.get(of) or f"pending:{keys[of]}" for name, of in node.inputs.items()}
        key = keys[node.name] = node_key(node, known)
        artifact = None if waiting else store.get(key)
        if artifact is not None:
            digests[node.name] = artifact.manifest.digest
            planned.append(Planned(node, key, "cached", "made before from the same config and inputs"))
            continue
        reason = f"{waiting[0]} is made first" if waiting else _why(node, key, store, last)
        planned.append(Planned(node, key, "run", reason, bool(waiting)))
    return planned


def _why(node: Node, key: str, store: Store, last: Run | None) -> str:
    """Explain why a node whose inputs are all there would run: what differs from the recipe's last run."""
    before = store.get(last.steps[node.name]) if last and node.name in last.steps else None
    if before is None:
        return "never made" if last is None or node.name not in last.steps else "its artifact was removed"
    manifest = before.manifest
    if manifest.version != load_step(node.step).version:
        return f"the step's code changed (version {manifest.version} -> {load_step(node.step).version})"
    changes = differing(manifest.config, node.config.model_dump(mode="json"))
    if changes:
        shown = "; ".join(f"{name}: {old!r} -> {new!r}" for name, old, new in changes[:3])
        return f"config changed: {shown}" + (f"; and {len(changes) - 3} more" if len(changes) > 3 else "")
    return "an input changed: " + ", ".join(sorted(node.inputs))


def differing(old: Any, new: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """List (dotted name, old value, new value) of everything that differs between two JSON values."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in sorted(set(old) | set(new)):
            found += differing(old.get(name), new.get(name), f"{at}.{name}" if at else name)
        return found
    return [] if sha256_of(old) == sha256_of(new) else [(at, old, new)]


def needed_for(plan: Plan, names: Sequence[str]) -> dict[str, Node]:
    """Return the nodes called `names` and all that they need, in plan order. Raises ConfigError for no such name."""
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in plan.nodes:
            raise ConfigError(unknown("step", name, list(plan.nodes)))
        if name not in wanted:
            wanted.add(name)
            waiting += plan.nodes[name].inputs.values()
    return {name: node for name, node in plan.nodes.items() if name in wanted}

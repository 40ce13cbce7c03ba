"""`herdbook check`: look at every row of a recipe or of a data file before anything runs. No GPU, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from herdbook.cli.console import print_json, stdout, user_errors
from herdbook.cli.options import AsJson, Profile, Sets

if TYPE_CHECKING:
    from rich.text import Text

    from herdbook.chat.renderer import Renderer
    from herdbook.core.config import Problem
    from herdbook.core.store import Store
    from herdbook.data.check import SourceCheck
    from herdbook.plan import Plan
    from herdbook.recipe import LoadedRecipe

RECIPE_SUFFIXES = {".yaml", ".yml"}


def check(
    what: Annotated[
        Path, typer.Argument(metavar="RECIPE|DATA", help="A recipe, or a data file or folder.", show_default=False)
    ],
    profile: Profile = None,
    sets: Sets = None,
    format: Annotated[str, typer.Option(help="Format of a data file; auto looks at its records.")] = "auto",
    base: Annotated[str, typer.Option(help="Model whose tokenizer counts the tokens of a data file.")] = "builtin:cria",
    template: Annotated[str, typer.Option(help="Chat template for a data file.")] = "tulu",
    max_length: Annotated[int, typer.Option(min=1, help="Cut rows of a data file at this many tokens.")] = 2048,
    as_json: AsJson = False,
) -> None:
    """Check a recipe with all its rows and templates, or a data file. Exit code 2 if anything is wrong."""
    with user_errors():
        from herdbook.core.config import InvalidConfig

        problems: list[Problem] = []
        checks: list[SourceCheck] = []
        try:
            if what.suffix in RECIPE_SUFFIXES:
                checks, problems = _check_recipe(what, profile, sets or [])
            else:
                checks = [_check_file(what, format, base, template, max_length)]
        except InvalidConfig as error:
            problems = error.problems
        except Exception as error:
            problems = [_as_problem(what, error)]
        document = _document(checks, problems)
        if as_json:
            print_json(document)
        else:
            _print(checks, problems)
        if not document["ok"]:
            raise typer.Exit(2)


def _document(checks: list[SourceCheck], problems: list[Problem]) -> dict[str, Any]:
    """Return the document of `check --json`."""
    found: dict[str, Any] = {"ok": True, "problems": [], "rows": {"total": 0, "rejected": 0, "by_source": {}}}
    if checks:
        from herdbook.data.check import check_json

        found = check_json(checks)
    found["problems"] = [problem.as_json() for problem in problems] + found["problems"]
    found["ok"] = found["ok"] and all(problem.severity != "error" for problem in problems)
    return found


def _as_problem(what: Path, error: Exception) -> Problem:
    """Turn a user's error into a problem of the file; anything else is ours and is raised."""
    import re

    from herdbook.core.config import Problem
    from herdbook.core.errors import HerdbookError

    if not isinstance(error, HerdbookError):
        raise error
    place = re.match(rf"{re.escape(str(what))}:(\d+)(?::(\d+))?: (.*)", str(error), re.DOTALL)
    if place:
        return Problem(str(what), int(place[1]), "", place[3], column=int(place[2] or 0))
    return Problem(str(what), 0, "", str(error).removeprefix(f"{what}: "))


def _check_recipe(path: Path, profile: str | None, sets: list[str]) -> tuple[list[SourceCheck], list[Problem]]:
    from herdbook.core.store import Store, store_path
    from herdbook.data.check import check_source
    from herdbook.data.source import Source
    from herdbook.plan import build_plan
    from herdbook.recipe import read_recipe

    loaded = read_recipe(path, profile, sets)
    store = Store.open(store_path())
    plan = build_plan(loaded, store)
    renderer, problems = _base_renderer(loaded, store, None)
    for mix, spec in loaded.recipe.mixes.items():
        if spec.base not in (None, loaded.recipe.base):
            problems += _base_renderer(loaded, store, mix)[1]
    checks = []
    for name in loaded.recipe.sources:
        node = plan.nodes.get(f"source:{name}")
        if node is None:
            problems.append(loaded.document.problem(("sources", name), "no mix uses this source.", "warning"))
            continue
        config: Any = node.config
        files = tuple((Path(file.path), file.path) for file in config.files)
        source = Source(name, config.format, files, config.options, config.licence)
        checks.append(check_source(source, renderer, loaded.recipe.train.max_length))
    problems += _template_problems(loaded, renderer) + _items_problems(loaded, plan)
    return checks, problems


def _items_problems(loaded: LoadedRecipe, plan: Plan) -> list[Problem]:
    """Read the local items of every evaluation as the run will; a problem where they cannot be asked."""
    from herdbook.core.errors import HerdbookError
    from herdbook.evals.benchmark import EvaluationOptions, needed_files, select

    problems = []
    for index, evaluation in enumerate(loaded.recipe.evaluate):
        config: Any = plan.nodes[f"items:{evaluation.name}"].config
        files = [Path(file.path) for file in config.files]
        if not files:
            continue
        try:
            selection = select(config.benchmark, config.preset, EvaluationOptions(shots=config.shots))
            selection.benchmark.load(needed_files(selection, files), selection.preset)
        except HerdbookError as error:
            named = [file for file in files if str(error).startswith(f"{file}:")]
            problems.append(_as_problem(named[0], error) if named else loaded.problem(("evaluate", index), str(error)))
    return problems


def _base_renderer(loaded: LoadedRecipe, store: Store, mix: str | None) -> tuple[Renderer | None, list[Problem]]:
    """Return the renderer of the recipe's base, or of a mix's own, with the template; a problem where there is none."""
    from herdbook.chat.renderer import load_renderer
    from herdbook.chat.tokenizer import load_tokenizer
    from herdbook.core.errors import ModelError, TemplateError
    from herdbook.train.bases import check_folder

    recipe = loaded.recipe
    base = (recipe.mixes[mix].base if mix else None) or recipe.base
    where = ("mixes", mix, "base") if mix else ("base",)
    folder = base_folder(base, loaded, store)
    if folder is None:
        message = f"{base!r} is fetched from the hub when the recipe runs; until then tokens are not counted."
        return None, [loaded.document.problem(where, message, "warning")]
    try:
        check_folder(base, folder)
        return load_renderer(load_tokenizer(folder), recipe.template), []
    except ModelError as error:
        return None, [loaded.problem(where, str(error))]
    except TemplateError as error:
        return None, [loaded.problem(("template",), str(error))]


def base_folder(base: str, loaded: LoadedRecipe, store: Store) -> Path | None:
    """Return where a base model's files lie now, or None for a hub id that no run has fetched yet."""
    from herdbook.locate import find_base

    if base.startswith("builtin:"):
        from herdbook.builtin import builtin_path

        return builtin_path("cria")
    local = find_base(base, loaded.folder)
    if local is not None:
        return local
    fetched = [artifact for artifact in store.all() if artifact.manifest.step == f"base:{base}"]
    return fetched[-1].path / "model" if fetched else None


def _template_problems(loaded: LoadedRecipe, renderer: Renderer | None) -> list[Problem]:
    problems = renderer.problems() if renderer is not None else []
    return [loaded.document.problem(("template",), text, "warning") for text in problems]


def _check_file(path: Path, format: str, base: str, template: str, max_length: int) -> SourceCheck:
    from herdbook.chat.renderer import load_renderer
    from herdbook.chat.tokenizer import load_tokenizer
    from herdbook.cli.resolve import resolve_model
    from herdbook.data.check import check_source
    from herdbook.data.source import Source
    from herdbook.locate import find_data_files

    files = tuple((file, str(file)) for file in find_data_files(str(path), Path.cwd()))
    renderer = load_renderer(load_tokenizer(resolve_model(base)), template)
    return check_source(Source(path.name, format, files, {}, None), renderer, max_length)


def _print(checks: list[SourceCheck], problems: list[Problem]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = stdout()
    found = problems + [problem for check in checks for problem in check.problems]
    shown = 40
    for problem in found[:shown]:
        colour = "red" if problem.severity == "error" else "yellow"
        console.print(f"[{colour}]{problem.severity}[/] {escape(str(problem))}", soft_wrap=True)
    if len(found) > shown:
        console.print(f"... and {len(found) - shown} more (--json lists them)")
    if checks:
        table = Table(box=None, pad_edge=False)
        for title in (
            "source",
            "format",
            "records",
            "rejected",
            "dropped",
            "turns",
            "tokens",
            "trained",
            "cut",
            "longest",
        ):
            table.add_column(title, justify="left" if title in ("source", "format") else "right")
        for check in checks:
            tokens = check.tokens
            counts = (tokens.tokens, tokens.trained_tokens, tokens.truncated, tokens.longest) if tokens else ()
            turns = check.summary.as_stats().get("turns", 0)
            numbers = (check.records, check.rejected, sum(check.dropped.values()), turns, *counts)
            table.add_row(escape(check.name), check.format, *(f"{number:,}" for number in numbers))
        console.print(table)
        for check in checks:
            if check.tokens and check.tokens.examples:
                console.print(f"[bold]{escape(check.name)}[/], first conversation; [green]trained[/], [dim]context[/]:")
                console.print(_coloured(check.tokens.examples[0]))
    left_out = sum(check.left_out for check in checks)
    if left_out:
        console.print(f"... and {left_out} more problems that were only counted")
    errors = sum(problem.severity == "error" for problem in found)
    console.print("[bold green]ok[/]" if not errors else f"[bold red]{errors} errors[/]")


def _coloured(spans: list[tuple[str, bool]]) -> Text:
    from rich.text import Text

    text = Text()
    for piece, trained in spans:
        text.append(piece, style="green" if trained else "dim")
    text.truncate(1200)
    return text

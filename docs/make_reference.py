"""Write docs/reference/recipe.md from the recipe's own models, so that it cannot differ from what is checked.

python docs/make_reference.py            # writes
python docs/make_reference.py --check    # exit code 1 if the file is out of date
"""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from herdbook.core import catalog
from herdbook.recipe import (
    BENCHMARKS,
    FORMATS,
    STEPS,
    TEMPLATES,
    CleaningStep,
    EvaluationSpec,
    MixSpec,
    Part,
    Recipe,
    SourceSpec,
)
from herdbook.train.config import LoraConfig, TrainConfig

TARGET = Path(__file__).parent / "reference" / "recipe.md"
SECTIONS: list[tuple[str, str, type[BaseModel]]] = [
    ("The recipe", "The top of the file.", Recipe),
    ("A source", "`sources.NAME`", SourceSpec),
    ("A cleaning step", "in `prepare` and `sources.NAME.clean`: `name`, or `{name: {option: value}}`", CleaningStep),
    ("A mix", "`mixes.NAME`: `{source: weight, ...}`, with these words beside the sources", MixSpec),
    ("A part of a mix", "`mixes.NAME.SOURCE`: a weight, or", Part),
    ("Training", "`train`, and `mixes.NAME.train` for one mix", TrainConfig),
    ("LoRA", "`train.lora`", LoraConfig),
    (
        "An evaluation",
        "in `evaluate`: `benchmark`, `benchmark@preset`, or `{benchmark@preset: {option: value}}`",
        EvaluationSpec,
    ),
]


def type_name(annotation: object) -> str:
    """Write a type as a reader of YAML understands it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(part) for part in parts if part is not type(None))
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (list, tuple):
        return f"list of {type_name(parts[0])}"
    if origin is dict:
        return f"mapping of {type_name(parts[1])}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", typing.Any: "any value"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))  # type: ignore[call-overload]


def table(model: type[BaseModel]) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if field.is_required():
            default = "required"
        elif field.default is PydanticUndefined:
            made = field.default_factory() if field.default_factory else ""  # type: ignore[call-arg]
            default = "see below" if isinstance(made, BaseModel) else f"`{_plain(made)}`"
        else:
            default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {type_name(field.annotation)} | {default} | {field.description or ''} |")
    return rows


def _plain(value: object) -> object:
    if isinstance(value, list):
        return f"[{', '.join(str(getattr(item, 'name', item)) for item in value)}]"
    return value


def page() -> str:
    lines = ["# Recipe reference", "", "Generated from the models that check recipes: `make docs`.", ""]
    for title, where, model in SECTIONS:
        lines += [f"## {title}", "", where, "", *table(model), ""]
    lines += ["## Names", ""]
    for noun, package in (("Formats", FORMATS), ("Cleaning steps", STEPS), ("Benchmarks", BENCHMARKS)):
        lines.append(f"{noun}:")
        for name in catalog.names(package):
            first = (catalog.load(package, name).__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
            lines.append(f"- `{name}`: {first}")
        lines.append("")
    lines += [f"Templates: {', '.join(f'`{name}`' for name in TEMPLATES)} (`tokenizer` is the tokenizer's own).", ""]
    return "\n".join(lines)


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return 0 if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

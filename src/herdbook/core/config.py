"""YAML 1.2 with positions: read a file into plain values, and turn what is wrong with them into file:line:column.

`1e-4` is a number and `no` a string, as YAML 1.2 has it. Duplicate keys are errors.
"""

from __future__ import annotations

import io
import types
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from herdbook.core.catalog import nearest
from herdbook.core.errors import ConfigError

M = TypeVar("M", bound=BaseModel)
Where = tuple[str | int, ...]  # path of keys and indices from the top of a document


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or worth a look, in recipe or data. `line` and `column` count from 1; 0: unknown."""

    file: str
    line: int
    field: str
    message: str
    severity: str = "error"  # error | warning
    column: int = 0

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class InvalidConfig(ConfigError):
    """Everything that is wrong with a config file, one `Problem` each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)

    def __reduce__(self) -> tuple[type[InvalidConfig], tuple[list[Problem]]]:
        return (InvalidConfig, (self.problems,))


@dataclass(slots=True)
class Document:
    """A YAML document as plain dicts, lists and scalars, with the (line, column) of every key and item."""

    file: str
    text: str
    data: Any
    positions: dict[Where, tuple[int, int]] = field(default_factory=dict)

    def problem(self, where: Where, message: str, severity: str = "error") -> Problem:
        """Make a Problem for the value at `where`, or for its nearest ancestor that the file has."""
        line, column = 0, 0
        for length in range(len(where), 0, -1):
            if where[:length] in self.positions:
                line, column = self.positions[where[:length]]
                break
        return Problem(self.file, line, dotted(where), message, severity, column)


def dotted(where: Where) -> str:
    """Write a path as users write it: `sources.cot.path`, `evaluate[2]`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def parse_scalar(text: str) -> Any:
    """Read one YAML value, as given behind `--set key=`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(f"The value {text!r} is not YAML: {getattr(error, 'problem', None) or error}.") from error


def read_yaml(path: Path) -> Document:
    """Read a YAML file. Raises ConfigError for a missing, unreadable or broken file, with line and column."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. `herdbook new NAME` writes a recipe to start from."
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name the recipe file in it.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 (byte {error.start}); save the file as UTF-8.") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Document:
    """Parse YAML text; `file` is only used in messages. Raises ConfigError with file:line:column."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="rt", pure=True)
    reader.allow_duplicate_keys = False
    try:
        loaded = reader.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        what = (error.problem or error.context or "cannot be read").split("\n")[0]
        raise ConfigError(f"{place}: this is not valid YAML: {what}.") from error
    except YAMLError as error:  # a character that YAML does not allow; its place is an offset
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise ConfigError(f"{file}:{line}: this is not valid YAML: {str(error).splitlines()[0]}.") from error
    document = Document(file, text, None)
    document.data = _plain(loaded, (), document.positions)
    return document


def _plain(node: Any, where: Where, positions: dict[Where, tuple[int, int]]) -> Any:
    """Strip ruamel's round-trip types from `node`, noting the position of every key and item below it."""
    if isinstance(node, dict):
        result: dict[Any, Any] = {}
        for key, value in node.items():
            name = key if isinstance(key, str) else str(key)
            place = _place(node, key)
            if place:
                positions[(*where, name)] = (place[0] + 1, place[1] + 1)
            result[name] = _plain(value, (*where, name), positions)
        return result
    if isinstance(node, list):
        for index in range(len(node)):
            place = _place(node, index)
            if place:
                positions[(*where, index)] = (place[0] + 1, place[1] + 1)
        return [_plain(value, (*where, index), positions) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _place(node: Any, key: Any) -> Sequence[int] | None:
    """Return where ruamel read a key or item: line and column from 0."""
    marks = getattr(node, "lc", None)
    return marks.data.get(key) if marks is not None and marks.data else None


def set_path(data: dict[str, Any], path: str, value: Any, origin: str) -> list[Where]:
    """Set `a.b.c` in nested dicts, `*` standing for every key there; return the places that were set.

    Raises ConfigError if `*` meets nothing or a part of the path is not a mapping. `origin` names who asked.
    """
    parts = path.split(".")
    targets: list[tuple[dict[str, Any], Where]] = [(data, ())]
    for part in parts[:-1]:
        following: list[tuple[dict[str, Any], Where]] = []
        for node, where in targets:
            for key in list(node) if part == "*" else [part]:
                child = node.setdefault(key, {})
                if not isinstance(child, dict):
                    place = dotted((*where, key))
                    raise ConfigError(
                        f"{origin}: {path!r} cannot be set, because {place} is {child!r} and not a mapping."
                    )
                following.append((child, (*where, key)))
        targets = following
    if not targets:
        raise ConfigError(f"{origin}: {path!r} matches nothing in the recipe.")
    for node, _ in targets:
        node[parts[-1]] = value
    return [(*where, parts[-1]) for _, where in targets]


def validate(model: type[M], data: Any, document: Document, at: Where = ()) -> M:
    """Make a `model` of plain data. Raises InvalidConfig with a Problem for everything that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InvalidConfig([_explain(model, item, document, at) for item in error.errors()]) from error


def _explain(model: type[BaseModel], item: Any, document: Document, at: Where) -> Problem:
    """Turn one pydantic error into a sentence with the value and, for unknown keys, the nearest known name."""
    where: Where = tuple(item["loc"])
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        known = fields_at(model, where[:-1])
        guess = nearest(str(where[-1]), known)
        hint = f"did you mean {guess!r}?" if guess else f"known here: {', '.join(known)}."
        message = f"unknown key {where[-1]!r}; {hint}"
    elif kind == "missing":
        message = f"{where[-1]!r} is required here."
    elif kind == "value_error":
        message = str(item["ctx"]["error"])
    else:
        said = item["msg"].removeprefix("Input ").rstrip(".")
        message = f"{value!r} is not allowed: it {said}." if said.startswith("should") else f"{value!r}: {said}."
    return document.problem((*at, *where), message)


def fields_at(model: Any, where: Where) -> list[str]:
    """List the keys that are allowed at `where` below a pydantic model."""
    for part in where:
        for candidate in _alternatives(model):
            origin = typing.get_origin(candidate)
            if origin in (dict, list, tuple):
                model = typing.get_args(candidate)[-1 if origin is dict else 0]
                break
            if isinstance(candidate, type) and issubclass(candidate, BaseModel) and part in candidate.model_fields:
                model = candidate.model_fields[str(part)].annotation
                break
    for candidate in _alternatives(model):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return [field.alias or name for name, field in candidate.model_fields.items()]
    return []


def _alternatives(annotation: Any) -> list[Any]:
    """Split `A | B | None` into its parts."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for part in typing.get_args(annotation) if part is not type(None)]
    return [annotation]

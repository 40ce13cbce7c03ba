"""Find a component by its name: one file per format, cleaning step, benchmark, ...; the file name is the name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from herdbook.core.errors import ConfigError


def names(package: str) -> list[str]:
    """List the components of a package without importing them, sorted."""
    paths = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(paths) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """Import the component `name` of `package`, or an out-of-tree plugin given as a dotted path.

    Raises ConfigError with the nearest known name if there is none.
    """
    if "." in name:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"The plugin {name!r} cannot be imported: {error}.") from error
    known = names(package)
    if name not in known:
        raise ConfigError(unknown(package.rsplit(".", 1)[-1].rstrip("s"), name, known))
    return importlib.import_module(f"{package}.{name}")


def nearest(name: str, known: list[str]) -> str | None:
    """Return the known name that `name` was most likely meant to be, if any is close."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(noun: str, name: str, known: list[str]) -> str:
    """Say that `name` is no known `noun`, and which one may be meant."""
    guess = nearest(name, known)
    hint = f"did you mean {guess!r}?" if guess else f"known: {', '.join(known) or 'none'}."
    return f"There is no {noun} named {name!r}; {hint}"

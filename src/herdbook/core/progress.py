"""How a step tells what it is doing. The command line draws it; tests and libraries may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress of one step; every call is cheap and may be dropped."""

    def update(self, done: float, total: float | None = None, **info: float | str) -> None:
        """Report `done` of `total` units and what to show beside it, e.g. `loss=1.2, unit="tok"`."""
        ...

    def note(self, text: str) -> None:
        """Say one line that the user should see (a fallback taken, a file skipped)."""
        ...


class SilentProgress:
    """Drops everything."""

    def update(self, done: float, total: float | None = None, **info: float | str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

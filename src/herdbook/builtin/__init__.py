"""What ships in the package: the small base `cria`, its corpus and tokenizer, and the quickstart's data."""

from __future__ import annotations

from herdbook.builtin.base import BASES, builtin_path, write_base

__all__ = ["BASES", "builtin_path", "write_base"]

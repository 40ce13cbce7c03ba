"""From raw files to conversations: one source, record by record, each either converted or rejected with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from herdbook.core import catalog
from herdbook.core.errors import ConfigError
from herdbook.core.types import Conversation, Reject
from herdbook.data.fields import RecordError
from herdbook.data.records import HUB, Row, excerpt, read_hub, read_records

FORMATS = "herdbook.data.formats"
CORPUS = "corpus"  # the format name of the built-in corpus, which has no files

_CORPUS_DOCUMENTS = 10_000
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Source:
    """What to read: files as (path, name in messages) in order; or `options["path"]`: a hub dataset, `builtin:corpus`.

    The corpus takes the options `documents` (how many) and `seed`.
    """

    name: str
    format: str
    files: tuple[tuple[Path, str], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None


def read_source(source: Source) -> Iterator[list[Conversation] | Reject]:
    """Yield, for every record, its conversations or why it was rejected.

    Conversations get the source's name, an id that is unique in the source, and file, line and licence in `meta`.
    Raises DataError for a file that cannot be read, ConfigError for an unknown format or option.
    """
    converter = catalog.load(FORMATS, "text" if source.format == CORPUS else source.format)
    rows = _rows(source, converter)
    options = _format_options(source, converter)
    seen: set[str] = set()
    file, number = "", 0
    for row in rows:
        file, number = row.file, number + 1 if row.file == file else 1
        if isinstance(row, Reject):
            yield row
            continue
        try:
            conversations = converter.convert(row.record, options)
            for conversation in conversations:
                _check(conversation)
        except RecordError as error:
            yield Reject(row.file, row.line, error.reason, error.field, _raw(row.record))
            continue
        yield [_finished(c, source, row, number, seen) for c in conversations]


def reason_key(reject: Reject) -> str:
    """Name a reject's reason without what differs from record to record, so that equal reasons can be counted."""
    reason = reject.reason.split(" (", 1)[0]
    return f"{_INDEX.sub('[]', reject.field)} {reason}".strip()


def _rows(source: Source, converter: ModuleType) -> Iterator[Row | Reject]:
    if source.format == CORPUS:
        from herdbook.builtin.corpus import documents

        count, seed = source.options.get("documents", _CORPUS_DOCUMENTS), source.options.get("seed", 0)
        for number, document in enumerate(documents(count, seed), 1):
            yield Row(CORPUS, number, {"text": document})
    elif str(source.options.get("path", "")).startswith(HUB):
        yield from read_hub(source.options["path"])
    for path, name in source.files:
        yield from read_records(path, name, getattr(converter, "COLUMNS", ()))


def _format_options(source: Source, converter: ModuleType) -> dict[str, Any]:
    """Return the options meant for the converter. Raises ConfigError for one that it does not know."""
    place = ("path", "documents", "seed") if source.format == CORPUS else ("path",)
    known: list[str] = list(getattr(converter, "OPTIONS", ()))
    options = {key: value for key, value in source.options.items() if key not in place}
    for key in options:
        if key not in known:
            raise ConfigError(f"sources.{source.name}: {catalog.unknown(f'option of {source.format}', key, known)}")
    return options


def _check(conversation: Conversation) -> None:
    """Refuse what no later step could use: nothing to train on, or text that is not Unicode text."""
    try:
        conversation.id.encode()
        for message in conversation.messages:
            message.content.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(error.object[error.start]):04X}"
        raise RecordError("", f"holds half of a surrogate pair ({code})") from error
    if not any(message.is_trained for message in conversation.messages):
        roles = ", ".join(message.role for message in conversation.messages)
        raise RecordError("", f"has no assistant turn to train on (turns: {roles or 'none'})")


def _finished(conversation: Conversation, source: Source, row: Row, number: int, seen: set[str]) -> Conversation:
    own = conversation.id or f"{Path(row.file).name.split('.', 1)[0]}:{number}"
    unique, count = own, 1
    while unique in seen:
        count += 1
        unique = f"{own}#{count}"
    seen.add(unique)
    meta = {"file": row.file, "line": row.line, **conversation.meta}
    if source.licence:
        meta["licence"] = source.licence
    return Conversation(unique, source.name, conversation.messages, meta)


def _raw(record: Mapping[str, Any]) -> str:
    try:
        return excerpt(record)
    except (TypeError, ValueError):  # keys or values that have no JSON form
        return json.dumps(repr(record)[:500])

"""Looking at all of a source before anything runs: what would be rejected, dropped, cut or never trained on, and where.

Streams; needs no GPU and writes nothing. `herdbook check` prints the result as a table or as JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from herdbook.chat.renderer import Renderer
from herdbook.chat.spans import trained_spans
from herdbook.core.config import Problem
from herdbook.core.errors import DataError
from herdbook.core.types import Conversation, Reject
from herdbook.data.detect import resolve_format
from herdbook.data.encode import encode_batches
from herdbook.data.records import FileError
from herdbook.data.source import Source, read_source, reason_key
from herdbook.data.steps import validate
from herdbook.data.summary import Summary
from herdbook.data.table import to_batch

_GROUP = 1000  # conversations that are rendered at once
_PROBLEMS = 200  # of a source that are told one by one; the counts hold all
_EXAMPLES = 3
_NO_LIMIT = 2**31 - 1


@dataclass(slots=True)
class TokenCheck:
    """What rendering found. `examples` are (text, trained?) spans of the first conversations."""

    rows: int = 0  # conversations with something to train on
    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0  # tokens of the longest row, after the cut at max_length
    truncated: int = 0  # rows cut at max_length
    rejected: Counter[str] = field(default_factory=Counter)  # rows that training would never see, by reason
    special_text: int = 0  # special-token strings inside contents, encoded as plain text
    examples: list[list[tuple[str, bool]]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; a span is [text, 0 or 1]."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
            "longest": self.longest,
            "truncated": self.truncated,
            "rejected": dict(self.rejected.most_common()),
            "special_text": self.special_text,
            "examples": [[[text, int(on)] for text, on in spans] for spans in self.examples],
        }


@dataclass(slots=True)
class SourceCheck:
    """All that was found in one source."""

    name: str
    format: str
    reason: str = ""  # why this format
    records: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)  # what the cleaning step `validate` would drop, by reason
    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0  # problems beyond the first few hundred
    summary: Summary = field(default_factory=Summary)
    tokens: TokenCheck | None = None

    @property
    def ok(self) -> bool:
        """True if nothing worse than a warning was found."""
        return all(problem.severity != "error" for problem in self.problems)

    def add(self, problem: Problem) -> None:
        """Note a problem of one record, or just count it when there are many."""
        if len(self.problems) < _PROBLEMS:
            self.problems.append(problem)
        else:
            self.left_out += 1

    def as_json(self) -> dict[str, Any]:
        """Return JSON values: the counts of this source."""
        return {
            "total": self.records,
            "rejected": self.rejected,
            "reasons": dict(self.reasons.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "format": self.format,
            "format_reason": self.reason,
            "problems_left_out": self.left_out,
            "conversations": self.summary.as_stats(),
            "tokens": self.tokens.as_json() if self.tokens else None,
        }


def check_source(source: Source, renderer: Renderer | None = None, max_length: int | None = None) -> SourceCheck:
    """Read, convert, validate and (given a renderer) tokenise every record of a source.

    Nothing is raised for what is wrong with the data: a file that breaks off is a problem like the others. Name the
    files of the source by their paths, so that the problems name them.
    """
    check = SourceCheck(source.name, source.format, tokens=TokenCheck() if renderer else None)
    try:
        source, check.reason = resolve_format(source)
        check.format = source.format
        group: list[Conversation] = []
        for conversation in _conversations(source, check):
            group.append(conversation)
            if len(group) == _GROUP:
                _look_at(group, check, renderer, max_length)
                group.clear()
        _look_at(group, check, renderer, max_length)
    except FileError as error:
        check.problems.append(Problem(error.path, error.line, "", error.message))
    except DataError as error:
        check.problems.append(Problem(source.name, 0, "", str(error)))
    else:
        _conclude(source, check, max_length)
    return check


def check_json(checks: Sequence[SourceCheck]) -> dict[str, Any]:
    """Return the document that `herdbook check --json` prints: ok, problems, rows."""
    return {
        "ok": all(check.ok for check in checks),
        "problems": [problem.as_json() for check in checks for problem in check.problems],
        "rows": {
            "total": sum(check.records for check in checks),
            "rejected": sum(check.rejected for check in checks),
            "by_source": {check.name: check.as_json() for check in checks},
        },
    }


def _conversations(source: Source, check: SourceCheck) -> Iterator[Conversation]:
    for result in read_source(source):
        check.records += 1
        if isinstance(result, Reject):
            check.rejected += 1
            check.reasons[reason_key(result)] += 1
            check.add(
                Problem(
                    result.file, result.line, result.field, f"{result.reason}; repair the record, or it is left out."
                )
            )
            continue
        yield from result


def _look_at(
    conversations: Sequence[Conversation], check: SourceCheck, renderer: Renderer | None, max_length: int | None
) -> None:
    """Count a group of conversations, validate them, and render those that pass."""
    config = validate.Config()
    check.summary.add(conversations)
    sound: list[Conversation] = []
    for conversation in conversations:
        fault = validate.find_fault(conversation, config)
        if fault is None:
            sound.append(conversation)
            continue
        reason, turn = fault
        check.dropped[reason] += 1
        message = f"{reason}; the cleaning step `validate` drops the conversation."
        check.add(_problem(conversation, f"turn {turn}" if turn else "", message, "warning"))
    if renderer is not None and check.tokens is not None and sound:
        _render(sound, check, check.tokens, renderer, max_length)


def _render(
    conversations: Sequence[Conversation],
    check: SourceCheck,
    tokens: TokenCheck,
    renderer: Renderer,
    max_length: int | None,
) -> None:
    """Encode a group as the step ENCODE would, and note what it would set aside."""
    encoded = encode_batches([to_batch(conversations)], renderer, max_length or _NO_LIMIT)
    tokens.rows += len(encoded.offsets) - 1
    tokens.tokens += len(encoded.ids)
    tokens.trained_tokens += int(encoded.trained.sum())
    tokens.longest = max(tokens.longest, int(np.diff(encoded.offsets).max(initial=0)))
    tokens.truncated += encoded.truncated
    tokens.rejected.update(encoded.reasons)
    tokens.special_text += encoded.special_text
    for row in encoded.rejected:
        meta = json.loads(row.meta)
        detail = f" ({row.detail})" if row.detail else ""
        advice = "Raise max_length or shorten it." if "max_length" in row.reason else "Repair or remove it."
        message = f"{row.reason}{detail}: nothing of the conversation would be trained on. {advice}"
        check.add(Problem(str(meta.get("file", row.source)), int(meta.get("line", 0)), "messages", message))
    for start, end in pairwise(encoded.offsets[: _EXAMPLES + 1 - len(tokens.examples)].tolist()):
        tokens.examples.append(trained_spans(encoded.ids[start:end], encoded.trained[start:end], renderer.tokenizer))


def _conclude(source: Source, check: SourceCheck, max_length: int | None) -> None:
    """Add what can only be said about all records together."""
    place = source.files[0][1] if source.files else source.name
    if check.summary.rows == 0:
        check.problems.append(Problem(place, 0, "", f"no record can be used as format {check.format!r}."))
    tokens = check.tokens
    if tokens is None:
        return
    if tokens.truncated:
        message = f"{tokens.truncated} of {tokens.rows} conversations are cut at max_length {max_length}."
        check.problems.append(Problem(place, 0, "", message, "warning"))
    if tokens.special_text:
        message = f"{tokens.special_text} special-token texts stand inside contents; they are encoded as plain text."
        check.problems.append(Problem(place, 0, "", message, "warning"))


def _problem(conversation: Conversation, field: str, message: str, severity: str = "error") -> Problem:
    meta = conversation.meta
    return Problem(str(meta.get("file", conversation.source)), int(meta.get("line", 0)), field, message, severity)

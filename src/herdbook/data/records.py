"""Reading raw data files, one record at a time, each with the place where it stands.

JSON lists, JSONL, CSV, TSV, Parquet and plain text, each also as `.gz` or `.zst`. A record that cannot be read is a
`Reject`; a file that cannot be read on from some place is a `DataError` with file and line. `line` is the line where
the record starts, or the record's number in a Parquet file or hub dataset (both count from 1).
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from herdbook.core.errors import DataError, MissingDependency
from herdbook.core.types import Reject
from herdbook.data.fields import kind_of

HUB = "hub:"
COMPRESSIONS = (".gz", ".zst")
# Plain text is read when it is named, but not picked up from a folder: README.txt and LICENSE.txt live there.
FOLDER_KINDS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
KINDS = (*FOLDER_KINDS, ".txt")

_EXCERPT = 500  # characters of a broken record that a reject keeps
_BLANK = re.compile(r"[ \t\n\r]*")
_HEADER_CELL = re.compile(r"[A-Za-z_][\w -]{0,39}")


class FileError(DataError):
    """A data file cannot be read, or not beyond `line` (0: no line to name)."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(path, line, message)
        self.path = path
        self.line = line
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


class Row(NamedTuple):
    """A raw record and where it stands: the file's name, the line, the record."""

    file: str
    line: int
    record: dict[str, Any]


def file_kind(path: Path) -> str:
    """Return the suffix that says how to read a file, without the compression: ".jsonl" for "a.jsonl.gz"."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes = suffixes[:-1]
    return suffixes[-1].lower() if suffixes else ""


def is_data_file(path: Path) -> bool:
    """True for a file that is data when a folder is read; text files there are licences and notes."""
    return file_kind(path) in FOLDER_KINDS


def read_records(path: Path, name: str = "", columns: Sequence[str] = ()) -> Iterator[Row | Reject]:
    """Read one data file. `name` is what rows and rejects call the file (default: its path).

    `columns` names the columns of a CSV or TSV file that may come without a header line: the first line counts as a
    header only if it holds all these names. Without `columns` a CSV file has a header, and a TSV file has one if its
    first line looks like names; unnamed columns are called `column_1`, `column_2`, ...

    Raises FileError for a file that is missing, empty, truncated, not UTF-8, or broken beyond one record.
    """
    if not path.is_file():
        raise FileError(str(path), 0, f"the data file does not exist{_nearest(path)}.")
    if path.stat().st_size == 0:
        raise FileError(str(path), 0, "the data file is empty. Fetch it again or take it out of the recipe.")
    kind = file_kind(path)
    if kind not in KINDS:
        known = f"{', '.join(KINDS)}, each also compressed as {' or '.join(COMPRESSIONS)}"
        raise FileError(str(path), 0, f"the data file has an unknown ending; Herdbook reads {known}.")
    any_row = False
    for row in _read(path, kind, name or str(path), columns):
        any_row = True
        yield row
    if not any_row:
        raise FileError(str(path), 0, "the data file holds no records. Fetch it again or take it out of the recipe.")


def read_hub(path: str) -> Iterator[Row]:
    """Read a hub dataset, `hub:owner/name[:split]` (default: train). Raises MissingDependency without `datasets`."""
    dataset, _, split = path.removeprefix(HUB).partition(":")
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependency(f"Reading {path} needs the package `datasets`: pip install 'herdbook[hub]'.") from error
    for number, record in enumerate(load_dataset(dataset, split=split or "train"), 1):
        yield Row(path, number, dict(record))


def _read(path: Path, kind: str, name: str, columns: Sequence[str]) -> Iterator[Row | Reject]:
    if kind == ".parquet":
        return _parquet(path, name)
    if kind in (".csv", ".tsv"):
        return _delimited(path, kind, name, columns)
    if kind == ".txt":
        return (Row(name, n, {"text": line.rstrip("\r\n")}) for n, line in _lines(path) if line.strip())
    if kind == ".json":
        return _json(path, name)
    return _json_lines(_lines(path), name)


# -- bytes and lines ---------------------------------------------------------------------------------------------------


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))  # type: ignore[arg-type]  # iterates lines in C
    if path.suffix == ".zst":
        import pyarrow as pa  # unlike a plain zstd reader it reports a truncated frame

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line with its line feed). Lines end at line feeds only, as JSONL has it."""
    number = 0
    try:
        with _open(path) as stream:
            for number, raw in enumerate(stream, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number, error) from error
    except (EOFError, zlib.error, OSError) as error:
        raise _unreadable(path, number, error) from error


def _whole(path: Path) -> str:
    try:
        with _open(path) as stream:
            data = stream.read()
    except (EOFError, zlib.error, OSError) as error:
        raise _unreadable(path, 0, error) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, data.count(b"\n", 0, error.start) + 1, error) from error


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> FileError:
    byte = error.object[error.start]
    guess = " It looks like UTF-16." if line == 1 and error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
    message = f"the file is not UTF-8 (byte 0x{byte:02x}).{guess} Convert it, for example with iconv."
    return FileError(str(path), line, message)


def _unreadable(path: Path, line: int, error: Exception) -> FileError:
    if path.suffix in COMPRESSIONS:
        message = f"the compressed file is truncated or damaged ({error}); fetch or compress it again."
        return FileError(str(path), line, message)
    return FileError(str(path), line, f"the file cannot be read ({error}).")


# -- JSON --------------------------------------------------------------------------------------------------------------


def _json_lines(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Row | Reject]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Reject(name, number, f"is not valid JSON ({_json_reason(error)})", "", line[:_EXCERPT].rstrip("\n"))
            continue
        yield _row(name, number, value)


def _json(path: Path, name: str) -> Iterator[Row | Reject]:
    """A list of records, or one record; JSON lines under a .json name are read as JSON lines."""
    text = _whole(path)
    start = _blank_end(text, 0)
    if start == len(text):
        raise FileError(str(path), 0, "the data file is empty. Fetch it again or take it out of the recipe.")
    if text[start] == "[":
        yield from _json_list(text, start, path, name)
        return
    first, _, rest = text[start:].partition("\n")
    if rest.strip() and _is_json(first):
        yield from _json_lines(enumerate(text.split("\n"), 1), name)
        return
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken_json(path, error) from error
    yield _row(name, 1 + text.count("\n", 0, start), value)


def _json_list(text: str, start: int, path: Path, name: str) -> Iterator[Row | Reject]:
    """Walk a JSON list value by value, so that every record has its line."""
    decode = json.JSONDecoder().raw_decode
    line, counted = 1, 0
    position = _blank_end(text, start + 1)
    if text[position : position + 1] == "]":
        return
    while True:
        line += text.count("\n", counted, position)
        counted = position
        try:
            value, position = decode(text, position)
            position = _blank_end(text, position)
            if text[position : position + 1] not in (",", "]"):
                raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
        except (ValueError, RecursionError) as error:
            raise _broken_json(path, error) from error
        yield _row(name, line, value)
        if text[position] == "]":
            break
        position = _blank_end(text, position + 1)
    end = _blank_end(text, position + 1)
    if end < len(text):
        raise _broken_json(path, json.JSONDecodeError("Extra data after the list", text, end))


def _blank_end(text: str, position: int) -> int:
    return _BLANK.match(text, position).end()  # type: ignore[union-attr]  # the pattern matches the empty string


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _broken_json(path: Path, error: Exception) -> FileError:
    line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
    return FileError(
        str(path), line, f"the JSON is broken ({_json_reason(error)}). Repair that line or fetch the file again."
    )


def _row(name: str, line: int, value: object) -> Row | Reject:
    if isinstance(value, dict):
        return Row(name, line, value)
    return Reject(name, line, f"is {kind_of(value)}, not an object with named fields", "", excerpt(value))


def excerpt(value: object) -> str:
    """Return the start of a record as JSON text, for the reader of rejects.jsonl."""
    return json.dumps(value, ensure_ascii=False, default=str)[:_EXCERPT]


# -- tables ------------------------------------------------------------------------------------------------------------


def _delimited(path: Path, kind: str, name: str, columns: Sequence[str]) -> Iterator[Row | Reject]:
    cells = _csv_cells(path, name) if kind == ".csv" else _tsv_cells(path)
    header: list[str] = []
    for row in cells:
        if isinstance(row, Reject):
            yield row
            continue
        line, values = row
        if not header:
            header, is_header = _header(values, kind, columns)
            if is_header:
                continue
        if len(values) != len(header):
            reason = f"has the wrong number of cells ({len(values)} where {len(header)} are expected)"
            yield Reject(name, line, reason, "", excerpt(values))
            continue
        yield Row(name, line, dict(zip(header, values, strict=True)))


def _tsv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """TSV has no quoting: a quotation mark is a quotation mark."""
    return ((number, line.rstrip("\r\n").split("\t")) for number, line in _lines(path) if not line.isspace())


def _csv_cells(path: Path, name: str) -> Iterator[tuple[int, list[str]] | Reject]:
    csv.field_size_limit(sys.maxsize)  # the default of 128 KiB a cell is below real conversations
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            if "unexpected end" in str(error):
                raise FileError(str(path), start, "a quotation mark opens here and is never closed.") from error
            yield Reject(name, start, f"is not valid CSV ({error})")
            continue
        if values is None:
            return
        if values:
            yield start, values


def _header(values: list[str], kind: str, columns: Sequence[str]) -> tuple[list[str], bool]:
    """Return the column names, and whether the first line held them."""
    names = [value.strip() for value in values]
    if columns:
        is_header = set(columns) <= set(names)
        return (names if is_header else list(columns)), is_header
    looks_like_names = len(set(names)) == len(names) and all(_HEADER_CELL.fullmatch(name) for name in names)
    if kind == ".csv" or looks_like_names:
        return names, True
    return [f"column_{i}" for i in range(1, len(names) + 1)], False


def _parquet(path: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for record in batch.to_pylist():
                    number += 1
                    yield Row(name, number, record)
    except (pa.ArrowException, OSError) as error:
        raise FileError(str(path), number, f"the Parquet file is damaged ({error}); fetch it again.") from error


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor does the folder {path.parent})"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""

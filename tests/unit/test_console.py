"""What the command line draws and where: names of any kind, and nothing but the document on stdout."""

import subprocess
import sys
from pathlib import Path

import pytest

from herdbook.cli.console import LiveEvents

NAME = "train:[bold]a[/b] [/]:0"  # what rich would read as markup


def test_names_with_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]):
    with LiveEvents(1, 0) as events:
        events.started(NAME)
        events.note(NAME, "a note [/x]")
        events.finished(NAME, "key", True, 0.1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count(NAME) == 2
    assert "a note [/x]" in printed.err


def test_a_worker_keeps_stdout_for_the_document(tmp_path: Path):
    """What a library prints in a worker goes to stderr, also from native code."""
    code = (
        "import os, sys; from herdbook.core.types import Runtime; from herdbook.executors.local import _start_worker;"
        "_start_worker(sys.argv[1], Runtime(threads=1), None); print('python', flush=True); os.write(1, b'native')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "python\nnative" in done.stderr

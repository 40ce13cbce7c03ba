"""The store: keys, atomic commits, locks, versions, a full disk."""

import json
import multiprocessing
import os
import subprocess
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.core.digest import FileRef, canonical_json, step_key, tree_digest
from herdbook.core.errors import StepFailed, StoreError
from herdbook.core.execute import make
from herdbook.core.progress import SilentProgress
from herdbook.core.runs import all_runs, new_run
from herdbook.core.step import Node, StepConfig
from herdbook.core.store import Store
from herdbook.core.types import Runtime


class Config(StepConfig):
    rate: float = 1.0
    files: tuple[FileRef, ...] = ()


class Breaks:
    """A step with a mistake in it."""

    kind, version, reproducible, Config = "items", 1, True, Config

    def run(self, config: Any, inputs: Any, ctx: Any) -> dict[str, Any]:
        return {"value": 1 // 0}


BREAKS = Breaks()


def manifest(key: str) -> dict:
    return {
        "step": "s", "kind": "items", "key": key, "version": 1, "config": {}, "inputs": {}, "stats": {},
        "reproducible": True, "seconds": 0.0,
    }  # fmt: skip


def test_key_does_not_depend_on_how_a_number_was_written_nor_on_where_a_file_lies():
    here = FileRef(name="a", sha256="x", size=1, path="/here/a")
    there = FileRef(name="a", sha256="x", size=1, path="/there/a")
    keys = {step_key("s", 1, Config(rate=rate, files=(file,)), {}) for rate in (1, 1.0) for file in (here, there)}
    assert len(keys) == 1
    assert step_key("s", 2, Config(), {}) != step_key("s", 1, Config(), {})
    assert step_key("s", 1, Config(), {"a": "1"}) != step_key("s", 1, Config(), {"a": "2"})


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5))
def test_canonical_form_ignores_the_order_of_keys(value: dict):
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_digest_is_of_contents_and_leaves_logs_out(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name / "logs").mkdir(parents=True)
        (tmp_path / name / "file").write_text("same")
        (tmp_path / name / "logs" / "time").write_text(name)
    assert tree_digest(tmp_path / "a")[0] == tree_digest(tmp_path / "b")[0]
    (tmp_path / "b" / "file").write_text("other")
    assert tree_digest(tmp_path / "a")[0] != tree_digest(tmp_path / "b")[0]


def test_an_artifact_appears_whole_and_its_scratch_goes(tmp_path: Path):
    store = Store.open(tmp_path / "herd")
    with store.scratch("k") as (out, work):
        (out / "file").write_text("x")
        (work / "checkpoint").write_text("y")
        assert store.get("k") is None
        store.commit(manifest("k"), out)
    found = store.get("k")
    assert found is not None
    assert (found.path / "file").read_text() == "x"
    assert not (store.root / "scratch" / "k").exists()


def test_a_damaged_artifact_counts_as_missing_and_is_made_again(tmp_path: Path):
    store = Store.open(tmp_path / "herd")
    weights = tmp_path / "weights"
    weights.write_text("w")

    def make(key: str) -> None:
        with store.scratch(key) as (out, _):
            (out / "model").mkdir()
            (out / "model" / "weights").symlink_to(weights)
            store.commit({**manifest(key), "kind": "model"}, out)

    make("k")
    (store.artifact_path("k") / "manifest.json").unlink()
    (store.root / "artifacts" / "stray file").write_text("not ours")
    assert store.get("k") is None
    assert list(store.all()) == []
    make("k")
    assert store.get("k") is not None
    weights = weights.rename(tmp_path / "moved")  # a base folder that its owner moved: the links lead nowhere
    assert store.get("k") is None
    make("k")
    found = store.get("k")
    assert found is not None
    assert (found.path / "model" / "weights").read_text() == "w"


def test_work_survives_a_failed_try_but_half_made_files_do_not(tmp_path: Path):
    store = Store.open(tmp_path / "herd")

    def half(out: Path, work: Path) -> None:
        (out / "half").write_text("x")
        (work / "checkpoint").write_text("y")
        raise RuntimeError

    with pytest.raises(RuntimeError), store.scratch("k") as folders:
        half(*folders)
    with store.scratch("k") as (out, work):
        assert not list(out.iterdir())
        assert (work / "checkpoint").read_text() == "y"


def hold(root: Path, seconds: float, entered: Connection) -> None:
    with Store.open(root).lock("k"):
        entered.send(True)
        time.sleep(seconds)


def test_a_key_is_made_by_one_process_at_a_time_and_freed_by_its_death(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    first = context.Process(target=hold, args=(tmp_path / "herd", 60, send))
    first.start()
    assert receive.poll(20)
    assert receive.recv()
    second = context.Process(target=hold, args=(tmp_path / "herd", 0, send))
    second.start()
    assert not receive.poll(0.3)  # waits for the first
    first.kill()
    assert receive.poll(20)  # the system freed the lock
    second.join(20)
    assert second.exitcode == 0


def test_runs_of_the_same_second_keep_their_order(tmp_path: Path):
    store = Store.open(tmp_path / "herd")
    started = [new_run(store, "study", "r.yaml", None, ()).id for _ in range(8)]
    assert [run.id for run in all_runs(store)] == started


def test_a_step_that_fails_leaves_its_traceback_whatever_its_name(tmp_path: Path):
    store = Store.open(tmp_path / "herd")
    node = Node(f"source:a/b é\n{'x' * 300}", f"{__name__}:BREAKS", Config())
    with pytest.raises(StepFailed, match=r"ZeroDivisionError: .*The traceback is in"):
        make(store, node, {}, Runtime(), SilentProgress())
    (log,) = (store.root / "runs").glob("*.error.txt")
    assert log.name.startswith("source.a_b___xxx")
    assert "ZeroDivisionError" in log.read_text()


def test_a_store_of_a_newer_version_is_refused_untouched(tmp_path: Path):
    store = Store.open(tmp_path / "herd")
    (store.root / "store.json").write_text(json.dumps({"version": 99}))
    with pytest.raises(StoreError, match=r"version 99.*reads up to version 1"):
        Store.open(tmp_path / "herd")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_gets_a_sentence_and_loses_nothing(tmp_path: Path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this container may not mount a small file system")
    try:
        store = Store.open(small / "herd")
        with store.scratch("kept") as (out, _):
            (out / "file").write_text("x")
            store.commit(manifest("kept"), out)
        with pytest.raises(StoreError, match=r"disk that holds the store .* is full"), store.scratch("big") as (out, _):
            (out / "file").write_bytes(b"x" * 2_000_000)
        assert store.get("kept") is not None
        assert store.get("big") is None
    finally:
        subprocess.run(["umount", str(small)], check=True)

"""Files by their bytes: links keep their own name, and a changed file is read again."""

import hashlib
import os
from pathlib import Path

import pytest

from herdbook.core.digest import DigestCache
from herdbook.core.disk import disk_errors
from herdbook.core.errors import DataError, StoreError


def test_a_link_keeps_its_name_and_has_the_digest_of_what_it_points_to(tmp_path: Path):
    (tmp_path / "0a1b2c").write_text("{}")
    (tmp_path / "config.json").symlink_to(tmp_path / "0a1b2c")
    found = DigestCache(tmp_path / "digests.sqlite").file(tmp_path / "config.json")
    assert (found.name, found.path) == ("config.json", str(tmp_path / "config.json"))
    assert found.sha256 == hashlib.sha256(b"{}").hexdigest()


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path):
    cache, file = DigestCache(tmp_path / "digests.sqlite"), tmp_path / "a"
    file.write_text("one")
    os.utime(file, ns=(1, 1))
    first = cache.file(file)
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert cache.file(file) == first, "same size and time: taken from the cache"
    os.utime(file, ns=(2, 2))
    assert cache.file(file).sha256 == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.jsonl"
    file.write_text("{}")
    monkeypatch.setattr(Path, "open", lambda path, mode: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
    with pytest.raises(DataError, match=r"a\.jsonl: the file may not be read \(no\); change its permissions"):
        DigestCache(tmp_path / "digests.sqlite").file(file)


@pytest.mark.parametrize(
    ("refused", "raised"), [("herd/runs/x", StoreError), ("", StoreError), ("data", PermissionError)]
)
def test_only_what_the_store_refuses_is_blamed_on_the_store(tmp_path: Path, refused: str, raised: type[Exception]):
    with pytest.raises(raised), disk_errors(tmp_path / "herd"):
        raise PermissionError(13, "no", str(tmp_path / refused))

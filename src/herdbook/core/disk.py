"""What the disk under the store can refuse: room and permission, told as sentences."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from herdbook.core.errors import StoreError

# How libraries that lose the errno say it: PyTorch, Rust's standard library, SQLite.
_FULL = ("No space left on device", "file write failed", "os error 28", "database or disk is full")


def is_disk_full(error: BaseException) -> bool:
    """True if `error` says that the disk is full; native libraries say it in a message instead of an errno."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _FULL)


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn a full or unwritable disk into a sentence."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            free = shutil.disk_usage(root if root.exists() else root.parent).free
            raise StoreError(
                f"The disk that holds the store {root} is full ({free / 2**20:.1f} MB free). Finished steps are kept: "
                "free some space (`herdbook gc` lists what no recipe needs) and run the same command again."
            ) from error
        if isinstance(error, OSError) and _is_refusal_of(root, error):
            raise StoreError(
                f"The store {root} cannot be written ({error.strerror}: {error.filename}). "
                "Change its permissions or set HERDBOOK_HOME to a folder of yours."
            ) from error
        raise


def _is_refusal_of(root: Path, error: OSError) -> bool:
    """True if `error` says that something in `root`, or a folder on the way there, may not be written."""
    if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
        return False
    refused = Path(str(error.filename or root))
    return refused.is_relative_to(root) or root.is_relative_to(refused)

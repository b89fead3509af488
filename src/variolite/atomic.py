"""Files and folders that appear whole or not at all, and locks that end with their process."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

_BYTES = 8
_MARK = "[0-9a-f]" * 2 * _BYTES


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed or this process ends, however it does.

    False where another process holds it, None where the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # what lies there can still be read
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_still(descriptor: int, path: Path) -> bool:
    """Whether an open file is what lies at a path now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Lock what is at a path, or will be, to read it and write it again.

    Yields False where another process has it. Raises an OSError if that is what the system says.
    """
    lock = path.with_name(f".{path.name}.lock")
    made = [folder for folder in lock.parents if not folder.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        free = try_lock(descriptor) is not False
        if not free or is_still(descriptor, lock):
            break
        os.close(descriptor)  # its owner removed it just now
    try:
        yield free
    finally:
        if free:
            _remove(lock)
        os.close(descriptor)
        for folder in made:
            with suppress(OSError):  # something was written there
                folder.rmdir()


@contextmanager
def placed(path: Path, *, folder: bool = False) -> Iterator[tuple[Path, int]]:
    """Yield a new, empty file or folder beside ``path``, and its descriptor; at the end it is put
    there in one step. A missing folder around it is made.

    What killed processes left beside ``path`` is removed first. After an error there is nothing
    new, and what was at ``path`` is unchanged. Raises an OSError if that is what the system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.{_MARK}.tmp"):
        _remove_abandoned(left)
    temporary, descriptor = _locked_beside(path, folder)
    try:
        yield temporary, descriptor
        os.fsync(descriptor)
        if sys.platform == "win32":  # where nothing may be open or in the way
            descriptor = os.close(descriptor) or -1
            if folder and path.exists():
                path.rmdir()
        temporary.replace(path)
        _sync(path.parent)  # the new entry lasts a power cut too
    finally:
        _remove(temporary)
        if descriptor >= 0:
            os.close(descriptor)


def _locked_beside(path: Path, folder: bool) -> tuple[Path, int]:
    while True:
        # No one can guess the name, or have laid a link there.
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(_BYTES)}.tmp")
        if folder:
            temporary.mkdir()
            descriptor = os.open(temporary, os.O_RDONLY)
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            descriptor = os.open(temporary, flags, 0o666)
        # Another process may have found it before it was locked, and taken it for abandoned.
        if try_lock(descriptor) is not False and is_still(descriptor, temporary):
            return temporary, descriptor
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):
        # Network file systems lock only what is open for writing.
        mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
        descriptor = os.open(path, mode | getattr(os, "O_NOFOLLOW", 0))
        try:
            if try_lock(descriptor):
                _remove(path)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _sync(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""Unfinished folders: their names, a lock while their process lives, removal of what dead processes left."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from fedsim.results.folders import PARTIAL
from fedsim.whole_files import is_folder

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]  # no stub for its absence

SURELY_LEFT_S = 86_400.0
"""On a file system without locks, a process that has written nothing for a day counts as dead."""


def partial_of(folder: Path) -> Path:
    """Return a name for a folder while it is being written; nobody else gets the same."""
    return folder.with_name(f"{folder.name}.{uuid4().hex[:12]}.partial")


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the one it is for; what is still there at the end goes.

    Raises:
        OSError: it cannot be made.
    """
    partial = partial_of(folder)
    lock = -1
    try:
        lock = _claimed(partial)
        yield partial
    finally:
        # Gone already where all went well; left by an error or Ctrl-C otherwise.
        shutil.rmtree(partial, ignore_errors=True)
        _release(lock)


def _claimed(partial: Path) -> int:
    """Make a folder and lock it; who clears up may take it away in between."""
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            lock = _locked(partial, wait=True)
        except FileNotFoundError:
            continue
        if lock < 0 or partial.exists():
            return lock
        _release(lock)


def clear_left_overs(place: Path) -> None:
    """Remove the partial folders in a place whose owners are dead: a lock dies with its process."""
    for partial in place.iterdir() if is_folder(place) else ():
        if not PARTIAL.search(partial.name):
            continue
        try:
            lock = _locked(partial, wait=False)
            old = time.time() - partial.stat().st_mtime > SURELY_LEFT_S
        except OSError:  # somebody is writing it, or it is gone already
            continue
        if lock >= 0 or old:
            shutil.rmtree(partial, ignore_errors=True)
        _release(lock)


def _locked(folder: Path, wait: bool) -> int:
    """Lock a folder and return the handle; below zero where there are no locks.

    Raises:
        BlockingIOError: somebody else has it, and it was not to be waited for.
        OSError: it is gone.
    """
    if fcntl is None:
        return -1
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:  # a network's file system without locks on folders
        os.close(handle)
        return -1
    return handle


def _release(handle: int) -> None:
    if handle >= 0:
        os.close(handle)

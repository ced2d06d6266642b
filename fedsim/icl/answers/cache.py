"""Answers of language models on disk, so that no prompt is paid for twice.

The folder is shared by all runs and by any number of processes at once. It holds hashes and numbers (and the
text of answers that are texts), never a prompt. Nothing in it is ever thrown away, however large it grows; to
be rid of it, delete the folder. It should be on a local disk: SQLite needs locks that network file systems
may lack.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.kept import Kept, from_table, to_table

try:
    import diskcache  # type: ignore[import-untyped]  # ships no type information
    from diskcache.core import MODE_BINARY, MODE_RAW  # type: ignore[import-untyped]  # ships no type information
except ModuleNotFoundError as error:
    raise InputError(
        "keeping a language model's answers needs the extra 'llm': pip install 'fedsim-icl[llm]' "
        "(or the model's setting cache = false)"
    ) from error

VARIABLE = "FEDSIM_CACHE"
"""The environment variable that names the folder of everything that fedsim keeps between runs."""

LOCK_TIMEOUT_S = 60.0


def cache_root() -> Path:
    """Return the folder of everything that is kept between runs: FEDSIM_CACHE, or the user's cache folder.

    Raises:
        InputError: nobody says where it is: this user has no home folder.
    """
    try:
        if given := os.environ.get(VARIABLE):
            return Path(given).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedsim"
    except RuntimeError as error:
        raise InputError(
            f"there is no home folder here, where answers and copies of weights would be kept: name a folder "
            f"in the environment variable {VARIABLE}, written in full"
        ) from error


class PlainDisk(diskcache.Disk):  # type: ignore[misc]  # its base has no type information
    """Reads nothing but bytes: unpickling what somebody else put into a shared folder would run it."""

    def fetch(self, mode: int, filename: str, value: Any, read: bool) -> Any:
        return super().fetch(mode, filename, value, read) if mode in (MODE_RAW, MODE_BINARY) else b""


@contextmanager
def explained(what: str, folder: Path, close: Callable[[], None]) -> Iterator[None]:
    """Make a sentence of what goes wrong with a folder that diskcache keeps things in.

    Args:
        what: what the folder is.
        folder: where it is.
        close: closes its files.

    Raises:
        ModelError: it cannot be used.
    """
    try:
        yield
    except BaseException as error:
        # Ends a transaction that is still open: it would block every later one.
        close()
        if isinstance(error, OSError | sqlite3.Error | diskcache.Timeout):
            why = getattr(error, "strerror", None) or str(error) or "locked, or not writable"
            raise ModelError(
                f"{what} in {folder} cannot be used ({why}); what it holds is kept: make room or name "
                f"another folder in {VARIABLE}, and the same command goes on from there"
            ) from error
        raise


class AnswerCache:
    """Answers by address, in a folder.

    An answer is stored in one transaction, whole or not at all. The first one stored under an address stays:
    whoever else asked the same prompt at the same time uses it too.

    Raises:
        ModelError: the folder cannot be used: a full disk, no permission, a damaged file, a lock that does
            not go away. What was stored before stays.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_root() / "answers"
        self.damaged = 0
        """Values that could not be read and were dropped, to be asked again."""
        self._store: Any = None
        with self._explained():
            self._store = diskcache.Cache(
                self.folder,
                timeout=LOCK_TIMEOUT_S,
                disk=PlainDisk,
                # Answers were paid for: whatever their size, they stay.
                eviction_policy="none",
                # All values are in the database, where a transaction covers them, and none in files.
                disk_min_file_size=2**40,
            )

    def get(self, address: str) -> Kept | None:
        """Return the answer under an address; None if there is none that can be read."""
        with self._explained():
            value = self._store.get(address)
            if value is None:
                return None
            try:
                return _decoded(value)
            except (ValueError, TypeError):
                self.damaged += 1
                self._store.delete(address)
                return None

    def add(self, address: str, kept: Kept) -> Kept:
        """Store an answer; return the one that is there now, which may be another process's."""
        with self._explained():
            if self._store.add(address, _encoded(kept)):
                return kept
        return self.get(address) or kept

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        if self._store is not None:
            self._store.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained("the answer cache", self.folder, self.close):
            yield


def _encoded(kept: Kept) -> bytes:
    text = json.dumps(to_table(kept), separators=(",", ":"), allow_nan=False).encode()
    return b"%08x" % zlib.crc32(text) + text


def _decoded(value: bytes) -> Kept:
    check, text = value[:8], value[8:]
    if check != b"%08x" % zlib.crc32(text):
        raise ValueError("the checksum is wrong")
    return from_table(json.loads(text))

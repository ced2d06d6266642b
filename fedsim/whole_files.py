"""Files that are written whole or not at all; places that cannot be written to, found before the work."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

from fedsim.errors import InputError

PARTIAL = ".partial"
"""How the names of files and folders end that are being written; nobody reads those."""

READER_S = 30.0
"""How long a pipe with a name waits for somebody who reads from it."""

KEPT_BYTES = 1 << 26
"""Up to here, what goes into a pipe waits in memory until it is complete; more of it waits on the disk."""

MOST_LINKS = 40
"""As many links as Linux follows."""


@contextmanager
def whole(file: Path) -> Iterator[BinaryIO]:
    """Give a stream for the content of a file, which gets it when the block ends well, and else nothing.

    Links are followed and stay; a file that is there keeps its mode, its owner and its other names. Into what
    is no plain file (a pipe, a terminal, a descriptor as in ``/dev/fd/3``) the content is written. Folders
    that are missing are made.

    Raises:
        InputError: it cannot be written; a file that was there before stays as it was.
    """
    with _explained(file):
        place = _place(file)
        with _beside(place) if place is not None else _through(file) as stream:
            yield stream


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a content under its name only when all of it is on the disk; a text in UTF-8.

    Halves of characters, as in names of files that are not UTF-8, are written by their codes.

    Raises:
        InputError: it cannot be written; a file that was there before stays as it was.
    """
    with whole(file) as stream:
        stream.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def check_file(file: Path) -> None:
    """Find out before the work whether a file can be written after it; nothing stays behind.

    Raises:
        InputError: it cannot.
    """
    with _explained(file):
        place = _place(file)
        if place is not None:
            if not place.exists() or _can_stand_aside(place):
                _check(place.parent, place.name)
        elif (number := _descriptor(file)) is not None:
            os.fstat(number)
        elif not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_folder(folder: Path) -> None:
    """Find out whether a file can be written in a folder, which need not be there; nothing stays behind.

    Raises:
        OSError: it cannot.
    """
    _check(Path(os.path.realpath(folder)))


def _check(folder: Path, *names: str) -> None:
    """Find out whether files of these names can be written in a folder, which need not be there."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if there.is_symlink():  # what is left of a ring of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
    if not os.access(there, os.W_OK):
        raise PermissionError(errno.EACCES, f"{there} is not writable")
    if hasattr(os, "pathconf"):
        longest = os.pathconf(there, "PC_NAME_MAX")
        if any(len(os.fsencode(part)) > longest for part in (*folder.relative_to(there).parts, *names)):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    handle, trial = _new_file(there / "trial", 0o600)
    try:  # where there is no room left, or none for this person, a name can be had but no bytes
        os.write(handle, bytes(4096))
    finally:
        os.close(handle)
        trial.unlink(missing_ok=True)


def is_folder(path: Path) -> bool:
    """Whether there is a folder; there is none of a name that is too long."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_special(path: Path) -> bool:
    """Whether there is something that is no plain file and no folder: a pipe, a terminal, ``/dev/fd/3``."""
    try:
        return _descriptor(path) is not None or not (path.is_file() or path.is_dir() or not path.exists())
    except OSError:
        return False


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    if path.is_dir() and os.name == "nt":  # no such thing there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some file systems do not do it for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Make a sentence of what the system says."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror or error}") from error


def _place(file: Path) -> Path | None:
    """Return the file behind all links, which a new one may replace; nothing where it is to be written into.

    Raises:
        OSError: it can be neither.
    """
    if _descriptor(file) is not None:
        return None
    try:
        there = file.stat()
    except (FileNotFoundError, NotADirectoryError):  # or a link to where nothing is yet
        return Path(os.path.realpath(file))
    if stat.S_ISDIR(there.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if stat.S_ISBLK(there.st_mode):
        raise OSError(errno.EINVAL, "it is a disk")
    place = Path(os.path.realpath(file))
    # Another name of the same file would keep the old content if a new file took the place of this one.
    plain = stat.S_ISREG(there.st_mode) and there.st_nlink == 1
    return place if plain and place.exists() and os.path.samestat(there, place.stat()) else None


def _descriptor(file: Path) -> int | None:
    """Return the number of the open file that a path stands for, as ``/dev/stdout`` and ``/dev/fd/3`` do.

    Such a file is not opened again: that would begin at its start, and cut off what stands there.
    """
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(file.parent)
        if file.name.isdecimal() and re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd|/dev/fd", folder):
            return int(file.name)
        try:
            file = Path(folder, Path(folder, file.name).readlink())
        except (OSError, ValueError):
            return None
    return None


@contextmanager
def _beside(place: Path) -> Iterator[BinaryIO]:
    """Write a new file in the same folder, and give it the name at the end."""
    made = [folder for folder in (place.parent, *place.parent.parents) if not folder.exists()]
    partial = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle, partial = _like(place)
        except PermissionError:
            if not os.access(place, os.W_OK):
                raise
            with _through(place) as stream:  # who may write the file alone does that
                yield stream
            return
        stream = os.fdopen(handle, "wb")
        try:
            yield stream
            stream.flush()
            os.fsync(handle)
        finally:
            with suppress(OSError):  # told already, by what was written before
                stream.close()
        partial.replace(place)
        partial, made = None, []
        sync(place.parent)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _through(file: Path) -> Iterator[BinaryIO]:
    """Write into what is there, once all is known that is to be written."""
    with SpooledTemporaryFile(KEPT_BYTES) as kept:
        yield cast(BinaryIO, kept)
        kept.seek(0)
        with _opened(file) as stream:
            shutil.copyfileobj(kept, stream)


def _opened(file: Path) -> IO[bytes]:
    """Open what is there for writing.

    Raises:
        OSError: it cannot be written to.
    """
    if (number := _descriptor(file)) is not None:
        for stream in (sys.stdout, sys.stderr):  # what was printed before comes before
            stream.flush()
        return os.fdopen(os.dup(number), "wb")
    if not stat.S_ISFIFO(file.stat().st_mode):
        return file.open("wb")
    give_up = time.monotonic() + READER_S
    while True:
        try:
            handle = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > give_up:
                raise OSError(errno.ENXIO, "nobody reads from this pipe") from error
            time.sleep(0.02)
        else:
            os.set_blocking(handle, True)
            return os.fdopen(handle, "wb")


def _like(place: Path) -> tuple[int, Path]:
    """Open a new file that can take the place of another one: with its mode and its owner, if it is there.

    Raises:
        PermissionError: it cannot be had, or not with that owner.
        OSError: it cannot be made.
    """
    try:
        there = place.stat()
    except FileNotFoundError:
        return _new_file(place, 0o666)  # less what the person's umask takes away
    handle, partial = _new_file(place, 0o600)
    try:
        if hasattr(os, "fchown"):
            new = os.fstat(handle)
            if (new.st_uid, new.st_gid) != (there.st_uid, there.st_gid):
                os.fchown(handle, there.st_uid, there.st_gid)
            os.fchmod(handle, stat.S_IMODE(there.st_mode))
    except OSError:
        os.close(handle)
        partial.unlink(missing_ok=True)
        raise
    return handle, partial


def _can_stand_aside(place: Path) -> bool:
    """Whether a file would be replaced by a new one; otherwise it can be written into, as it is."""
    try:
        handle, partial = _like(place)
    except PermissionError:
        if os.access(place, os.W_OK):
            return False
        raise
    os.close(handle)
    partial.unlink(missing_ok=True)
    return True


def _new_file(beside: Path, mode: int) -> tuple[int, Path]:
    """Open a new file in the same folder, under a name that nobody can foresee."""
    while True:
        partial = beside.with_name(f".{beside.name[:40]}.{secrets.token_hex(8)}{PARTIAL}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            return os.open(partial, flags, mode), partial
        except FileExistsError:
            continue

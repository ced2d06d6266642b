"""Files of strangers: what a scenario may not do while `safely` holds, or the variable FEDSIM_SAFE is set.

It names no class by its place, states no file outside its own folder, and no address but one of this machine.
Parts of installed packages may be named by their kind: who installed them let them in.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fedsim.errors import InputError

VARIABLE = "FEDSIM_SAFE"
"""Other processes of a command have it from this one."""

KEYS = "FEDSIM_"
"""How the names of variables begin whose keys a stranger's scenario may send to a server on this machine."""


@contextmanager
def safely() -> Iterator[None]:
    """Treat scenarios as a stranger's within the block, in the whole process and in those that it starts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def is_safe() -> bool:
    """Whether scenarios are treated as a stranger's."""
    return os.environ.get(VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def check_class(place: str) -> None:
    """Refuse a class that is named by its place.

    Raises:
        InputError: it must not be imported.
    """
    if is_safe():
        raise InputError(
            f"{place!r}: with --safe no class is imported by its name: it is code that would run"
        )


def check_inside(path: Path, folder: Path, place: str) -> None:
    """Refuse a file outside a folder, links and ``..`` followed, and a folder with a link that leads out.

    Args:
        path: of a file or folder; it need not be there.
        folder: that of the scenario.
        place: how an error begins.

    Raises:
        InputError: it must not be read.
    """
    if not is_safe():
        return
    try:
        root = folder.resolve()
        out = next((one for one in _with_links(path) if not one.resolve().is_relative_to(root)), None)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{place}: {path} cannot be followed: {error}") from error
    if out is not None:
        raise InputError(f"{place}: {out} is outside {folder}: with --safe a scenario reads no other folder")


def elsewhere(address: str) -> str:
    """Return why nothing must be sent to an address, in half a sentence; nothing where it may be."""
    if not is_safe():
        return ""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
    except ValueError:
        host = ""
    if is_loopback(host):
        return ""
    return (
        f"{host or repr(address)} is not this machine, and with --safe nothing is sent to another one: "
        "expected 127.0.0.1, [::1] or localhost"
    )


def is_loopback(host: str) -> bool:
    """Whether a host's name or number is of the loopback interface.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.1.example.org", "0.0.0.0")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_links(path: Path) -> Iterator[Path]:
    """Yield a path, and the links at any depth where it is a folder."""
    yield path
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            yield from (one for name in (*folders, *files) if (one := Path(folder) / name).is_symlink())

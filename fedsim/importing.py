"""Classes that a scenario or a person names by their place, and the folder where one works.

That folder is searched only while such a name is imported, only for what is not installed, and only where a
command says so: a file beside a stranger's results must not run because a library looks for an optional one
of the same name. What Python itself searches (`PYTHONPATH`, the folder of a script) is left as it is.
"""

from __future__ import annotations

import glob
import importlib
import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from fedsim.errors import STRAY, InputError, first_line
from fedsim.safety import check_class

_own_folder: str | None = None
"""Where one works, if it is searched. One for the process, as `sys.path` is."""


def search(folder: Path | None) -> None:
    """Say where named classes may lie besides what is installed; none: nowhere."""
    global _own_folder  # as global as sys.path; the command line alone sets it
    _own_folder = None if folder is None else str(folder)


def searched() -> Path | None:
    """Return the folder that `search` was told."""
    return None if _own_folder is None else Path(_own_folder)


def imported(place: str, installed: bool = False) -> Any:
    """Return what lies at a place: ``package.module:name``, or ``package.module:``, the module itself.

    Args:
        place: where.
        installed: whether an installed package names it, and nobody else: it is not looked for elsewhere.

    Raises:
        InputError: it cannot be imported.
    """
    if not installed:
        check_class(place)
    try:
        with nullcontext() if installed else _findable(place.partition(":")[0]):
            return resolve_name(place)
    except STRAY as error:  # a stranger's module may fail in any way
        raise InputError(f"cannot import {place!r}: {_told(error)}{_not_searched(error)}") from error


def _told(error: BaseException) -> str:
    """Return what an error says; what is no `Exception` says too little without its name."""
    return first_line(error) if isinstance(error, Exception) else f"it raised {error!r}"


def unpickled(content: bytes) -> Any:
    """Return what was pickled in another process, where classes that a scenario names are found as there."""
    return _Unpickler(io.BytesIO(content)).load()


def _not_searched(error: BaseException) -> str:
    """Return how to have the folder searched that was not, in half a sentence; or nothing."""
    first = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not first or _own_folder is not None or not any(Path().glob(f"{glob.escape(first)}*")):
        return ""
    return " (commands that read results import nothing from this folder; PYTHONPATH=. has it searched)"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        with _findable(module):
            return super().find_class(module, name)


@contextmanager
def _findable(module: str) -> Iterator[None]:
    """Let a module be found in the folder where one works, if it is nowhere else."""
    first = module.partition(".")[0]
    if not first or _own_folder is None or first in sys.modules or find_spec(first) is not None:
        yield
        return
    importlib.invalidate_caches()  # it may have been written just now
    sys.path.append(_own_folder)
    try:
        yield
    finally:
        # The last of its kind: the person may have put the folder there as well.
        last = len(sys.path) - 1 - sys.path[::-1].index(_own_folder) if _own_folder in sys.path else None
        if last is not None:
            del sys.path[last]

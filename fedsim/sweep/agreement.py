"""Whether those who compute have the code that a sweep was started with: fedsim's, and that of others."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

from fedsim.errors import InputError
from fedsim.importing import imported
from fedsim.part_code import PACKAGE, UNKNOWN, PartCode, code_of_class, code_of_fedsim, module_name

MAIN = "__main__"


class UnfitWorkerError(InputError):
    """Who was to compute a run has other code: so it will be for every run there."""


class CodeBase(NamedTuple):
    """The code that runs are to be computed with."""

    version: str
    """Of fedsim."""
    code: str
    """SHA-256 of fedsim's."""
    parts: dict[str, PartCode]
    """By ``module:Class``."""


def code_base(parts: Mapping[str, PartCode]) -> CodeBase:
    """Return the code of this process, with that of some parts."""
    return CodeBase(fedsim_version(), code_of_fedsim(), dict(parts))


@cache
def fedsim_version() -> str:
    """Return the version of what is installed here."""
    return version(PACKAGE)


def disagreement(needed: CodeBase) -> str:
    """Return what this process has that is not what is needed, in half a sentence; nothing where all is."""
    ours = code_base({})
    if ours.version != needed.version:
        return f"has fedsim {ours.version}, but the sweep was started by fedsim {needed.version}"
    if ours.code != needed.code:
        return f"has other code of fedsim {ours.version} than the sweep was started with; start it anew"
    for place, code in needed.parts.items():
        if wrong := _wrong_with(place, code):
            return wrong
    return ""


def whereabouts() -> str:
    """Return what a person calls this process."""
    try:
        return f"the worker {sys.modules['distributed'].get_worker().address}"
    except (KeyError, AttributeError, ValueError):  # no worker of Dask's
        return f"process {os.getpid()} on {socket.gethostname()}"


def _wrong_with(place: str, needed: PartCode) -> str:
    if place.startswith(f"{MAIN}:"):
        return f"cannot have {place!r}, which was typed in; put it into a file of its own, or use one process"
    try:
        kind = _class_at(place)
    except InputError as error:
        return f"{error}; install its package there, or start it where its file lies"
    here = code_of_class(kind)
    for package, wanted in needed.packages.items():
        if (found := here.packages.get(package)) != wanted:
            has = f"{package} {found}" if found else f"no {package}"
            return f"has {has}, but the sweep was started with {package} {wanted}, which {place!r} is of"
    for module, digest in needed.modules.items():
        if not digest.startswith(UNKNOWN) and here.modules.get(module) != digest:
            return (
                f"has other code of {module!r} than the sweep was started with, and {place!r} runs it; bring "
                "it there and start it anew"
            )
    return ""


def _class_at(place: str) -> Any:
    """Return a class of the module that Python was started with, or of one that can be imported."""
    module, _, name = place.partition(":")
    if module == module_name(MAIN) and hasattr(sys.modules[MAIN], name):
        return getattr(sys.modules[MAIN], name)
    return imported(place)

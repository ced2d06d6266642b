"""From tables laid over each other to one that is validated: what is taken away goes, paths become whole."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedsim.errors import InputError
from fedsim.icl.models.weights import sha256
from fedsim.icl.tasks.text_files import digest as digest_of_folder
from fedsim.safety import check_inside, is_safe
from fedsim.scenario.model import Scenario
from fedsim.scenario.overrides import Gone, Table
from fedsim.scenario.spots import Spot

MOST_LOOKED_AT = 1000
"""Files of a folder that are hashed in search of one that has moved."""


class FileText(str):
    """A text in a scenario file, which knows where the file is."""

    folder: Path
    root: Path

    def __new__(cls, text: str, folder: Path, root: Path) -> FileText:
        """Return a text of a file in this folder; `root` is that of the file which extends it."""
        made = super().__new__(cls, text)
        made.folder, made.root = folder, root
        return made


def with_folder(value: Any, folder: Path, root: Path) -> Any:
    """Return what a file says, with texts that know the file's folder: any of them may be a path."""
    if isinstance(value, str):
        return FileText(value, folder, root)
    if isinstance(value, list):
        return [with_folder(part, folder, root) for part in value]
    if isinstance(value, dict):
        return {key: with_folder(part, folder, root) for key, part in value.items()}
    return value


def settled(table: Table, place: str = "", root: type[BaseModel] = Scenario) -> Table:
    """Return a table as it is validated.

    A key that was taken away is left out; where this would bring back a default, and the setting may be
    without a value, it is none. A path that a file states starts at the file's folder, any other at the
    folder where one works; which settings are paths, their types say.

    Args:
        table: all layers of it, merged.
        place: how an error begins.
        root: what the table is.

    Raises:
        InputError: a key is taken away that does not exist, or a path leads to no file.
    """
    result: Table = _settled(table, Spot(root=root), place, "")
    return result


def _settled(value: Any, spot: Spot, place: str, inside: str) -> Any:
    if isinstance(value, str):
        return str(value) if spot.path is None else _whole(value, spot, f"{place}{inside}".rstrip("."))
    if isinstance(value, list):
        return [
            _settled(part, spot.inside(number, value), place, f"{inside}{number}.")
            for number, part in enumerate(value)
        ]
    if not isinstance(value, dict):
        if isinstance(value, Gone):  # as a part of a list: lists are replaced, and not laid over each other
            raise InputError(value.sentence)
        return value
    result: Table = {}
    for key, inner in value.items():
        within = spot.inside(key, value)
        if not isinstance(inner, Gone):
            result[key] = _settled(inner, within, place, f"{inside}{key}.")
            if within.path is not None and isinstance(digest := value.get("sha256"), str):
                result[key] = _found_again(result[key], inner, digest, within, place, f"{inside}{key}")
        elif within.may_be_none:
            if not within.none_if_left_out:
                result[key] = None
        elif not inner.was_there and not _is_riddle(spot, value):
            raise InputError(inner.sentence)
    return result


def _found_again(path: Any, stated: Any, digest: str, spot: Spot, place: str, key: str) -> Any:
    """Return where data are whose path leads nowhere: beside the scenario or its results, by their hash.

    Raises:
        InputError: they are not there.
    """
    if not isinstance(path, str) or (spot.path and path in spot.path.names) or Path(path).exists():
        return path
    if not isinstance(stated, FileText):
        return path
    for folder in _homes(stated.folder):
        if (found := _of_digest(folder, Path(path).name, digest)) is not None:
            check_inside(found, stated.root, f"{place}{key}")
            return str(found.resolve())
    if spot.path is not None and not spot.path.needed:
        return path
    raise InputError(
        f"{place}{key}: {path}: no such file, nor one of its content (sha256 {digest[:12]}...) beside the "
        f"scenario; put it there, or say where it is: --set {key}=PATH"
    )


def _homes(folder: Path) -> list[Path]:
    """Return where data of a scenario may lie: its folder; for one of a run, those of the results, too."""
    of_run = (folder / "provenance.json").is_file()
    place = folder.resolve()
    return [folder, place.parent, place.parent.parent] if of_run and not is_safe() else [folder]


def _of_digest(folder: Path, name: str, digest: str) -> Path | None:
    """Return the file of this content in a folder, or the folder in it; that of this name is asked first."""
    try:
        inside = sorted(folder.iterdir(), key=lambda one: (one.name != name, one.name))
    except OSError:
        return None
    for one in [one for one in inside if one.is_file() or one.name == name][:MOST_LOOKED_AT]:
        try:
            if (sha256(one) if one.is_file() else digest_of_folder(one)) == digest:
                return one
        except (InputError, OSError):
            continue
    return None


def _is_riddle(spot: Spot, value: Table) -> bool:
    """Whether nobody can tell the settings of a table because its kind is wrong, which will be said."""
    return spot.family is not None and spot.model(value) is None


def _whole(text: str, spot: Spot, place: str) -> str:
    """Return where a path leads; from the root on where it is kept, so that a run is the same everywhere."""
    if spot.path is not None and text in spot.path.names:
        return str(text)
    if not text or "\0" in text:
        none = f"; for none write {place.rpartition('.')[2]} = {{ unset = true }}" if spot.may_be_none else ""
        raise InputError(f"{place}: found {text[:40]!r}, expected a path{none}")
    folder = text.folder if isinstance(text, FileText) else Path()
    try:
        path = (folder.resolve() if spot.is_kept else folder) / Path(text).expanduser()
        check_inside(path, text.root if isinstance(text, FileText) else folder, place)
        mode = path.stat().st_mode
    except RuntimeError as error:  # nobody knows a home
        raise InputError(f"{place}: found {text[:40]!r}, but there is no such home") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"{place}: found {text[:40]!r}: {error.strerror}") from error
        return str(path)  # its reader has better words
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{place}: {path} is a pipe or a device, expected a file: it is read more than once")
    return str(path)

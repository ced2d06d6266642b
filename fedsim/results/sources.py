"""The files that a sweep was read from, kept beside its runs: results are understood without their author."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedsim.errors import InputError
from fedsim.results.partial import partial_folder
from fedsim.results.writing import UnwritableError
from fedsim.scenario.toml_text import read_toml
from fedsim.secrets import redacted
from fedsim.whole_files import sync

SOURCES = ".sources"
"""How the names of such folders end; no run lies below one."""

HOW = "sweep.json"
"""Which of the files was run, and with which options; it stands beside the files."""

Texts = dict[str, str]
"""Contents of files by their place below a folder, ``/`` between names."""


def source_texts(file: Path, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Texts:
    """Return what a sweep was read from: its file, those that it extends, and what the command added.

    Nothing for a file that comes from a pipe, which cannot be read a second time.
    """
    if not file.is_file():
        return {}
    read = dict(_chain(file))
    top = Path(os.path.commonpath([place.parent for place in read]))
    texts = {place.relative_to(top).as_posix(): redacted(text) for place, text in read.items()}
    how = {
        "file": Path(os.path.realpath(file)).relative_to(top).as_posix(),
        "set": [redacted(override) for override in overrides],
        "only": list(only),
    }
    return texts | {HOW: json.dumps(how, indent=2) + "\n"}


def write_sources(texts: Texts, place: Path) -> Path | None:
    """Write the files of a sweep into the folder of its runs, unless they are there; none without files.

    Other files, or other options, have a folder of their own: several sweeps may share a place.

    Raises:
        UnwritableError: the place cannot be written to; nothing is left behind.
    """
    if not texts:
        return None
    mark = hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:12]
    name = Path(json.loads(texts[HOW])["file"]).stem
    folder = place / f"{name[:100]}.{mark}{SOURCES}"
    if folder.exists():
        return folder
    try:
        with partial_folder(folder) as partial:
            for inner, text in texts.items():
                (partial / inner).parent.mkdir(parents=True, exist_ok=True)
                (partial / inner).write_text(text, encoding="utf-8", newline="\n")
                sync(partial / inner)
            if not folder.exists():
                partial.rename(folder)
    except OSError as error:
        if not folder.exists():  # another process has written the same
            raise UnwritableError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def found_sources(place: Path) -> list[Path]:
    """Return the folders of sources in the folder that holds some runs."""
    return sorted(one for one in place.glob(f"*{SOURCES}") if (one / HOW).is_file())


def _chain(file: Path) -> Iterator[tuple[Path, str]]:
    """Yield a file and those that it extends, each with its text; reading them has found no ring."""
    place = Path(os.path.realpath(file))
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {error}") from error
    yield place, text
    base: Any = read_toml(text, str(file)).get("extends")
    if isinstance(base, str) and (file.parent / base).is_file():
        yield from _chain(file.parent / base)

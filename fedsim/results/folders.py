"""Run folders on disk: found, checked, read one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import ResultsError

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""The version of run folders; raised whenever a reader of the old one would misread the new one."""

ORIGIN = "provenance.json"
FILES = ("scenario.toml", "steps.parquet", "workers.parquet", "summary.json", ORIGIN)
"""What every run folder holds."""

KEYS = ("scenario", "variant", "seed")
"""What tells the runs of a table apart, besides their address."""

PARTIAL = ".partial"
"""How the names of folders end that are being written; nobody reads those."""

PACKAGES = ("fedsim-icl", "numpy", "scipy", "simpy", "torch", "pydantic", "pandas")
AGAIN = "run the scenario again"


@cache
def versions() -> dict[str, str]:
    """Return the versions of what makes results."""
    return {package: version(package) for package in PACKAGES}


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole run of this version of fedsim; the sizes of its files tell."""
    return folder.exists() and not why_not_finished(folder)


def why_not_finished(folder: Path) -> str:
    """Return why what is at a run's address is not that run, in half a sentence; nothing if it is."""
    try:
        origin = check_folder(folder)
    except ResultsError as error:
        return str(error).removesuffix(f"; {AGAIN}").removeprefix(f"{folder}: ")
    if origin.get("run_id") != folder.name:
        return f"holds the run {origin.get('run_id')!r}"
    made_by, ours = origin.get("versions", {}).get("fedsim-icl"), versions()["fedsim-icl"]
    return "" if made_by == ours else f"made by fedsim {made_by}, this is {ours}"


def find_runs(path: Path) -> list[Path]:
    """Return the finished run folders at or below a path, in order of name.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
    """
    return list(found_runs(path))


def found_runs(path: Path) -> dict[Path, dict[str, Any]]:
    """Return the finished run folders at or below a path, in order of name, with their provenance.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
    """
    if not path.exists():
        raise ResultsError(f"{path}: no such results folder")
    found = dict(_walk(str(path)))
    if not found:
        raise ResultsError(f"{path}: no finished run in this folder")
    folders = sorted((Path(folder), sizes) for folder, sizes in found.items())
    return {folder: _checked(folder, sizes) for folder, sizes in folders}


def check_folder(folder: Path) -> dict[str, Any]:
    """Return a run folder's provenance.

    Raises:
        ResultsError: a file is missing or cut short, or the folder is of another format.
    """
    return _checked(folder, dict(_walk(str(folder))).get(str(folder), {}))


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the headline numbers of a run folder."""
    summary = _read_json(folder / "summary.json")
    if missing := [key for key in (*KEYS, "ended", "seconds_by_activity") if key not in summary]:
        raise ResultsError(f"{folder / 'summary.json'}: damaged: no {missing[0]!r}")
    return summary


def read_table(folder: Path, table: str) -> pd.DataFrame:
    """Return one table of one run folder."""
    import pandas as pd

    file = folder / f"{table}.parquet"
    try:
        return pd.read_parquet(file)
    except Exception as error:  # damaged files raise errors of many kinds
        why = f"not a table that can be read ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
        raise ResultsError(
            f"{file}: damaged, or the installed pyarrow does not fit: {why}; {AGAIN}"
        ) from error


def _walk(folder: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the run folders at or below a path, each with the sizes of its files; each is looked at once."""
    files: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry)
        # By more than one file, so that a folder with one of them missing is seen and not passed over.
        if any(entry.name in (ORIGIN, "steps.parquet") for entry in files):
            yield folder, {entry.name: entry.stat().st_size for entry in files}
    except FileNotFoundError:  # gone meanwhile: another sweep puts a new one in its place
        return
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read: {error.strerror or error}") from error
    for entry in folders:
        if not entry.name.endswith(PARTIAL):
            yield from _walk(entry.path)


def _checked(folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Return the provenance of a folder whose files have these sizes (bytes)."""
    origin = _read_json(folder / ORIGIN)
    if (found := origin.get("format")) != FORMAT:
        raise ResultsError(f"{folder}: results of format {found!r}, expected {FORMAT}; {AGAIN}")
    expected = origin.get("files")
    if not isinstance(expected, dict) or not isinstance(origin.get("settings"), dict):
        raise ResultsError(f"{folder / ORIGIN}: damaged: no files or no settings in it; {AGAIN}")
    if missing := [name for name in (*FILES, *expected) if name not in sizes]:
        raise ResultsError(f"{folder}: damaged: {missing[0]} is missing; {AGAIN}")
    for name, size in expected.items():
        if sizes[name] != size:
            raise ResultsError(
                f"{folder}: damaged: {name} has {sizes[name]:,} bytes, expected {size:,}; {AGAIN}"
            )
    return origin


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ResultsError(f"{file.parent}: damaged: {file.name} is missing; {AGAIN}") from None
    except (OSError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ResultsError(f"{file}: damaged: {why}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{file}: damaged: not a JSON object")
    return found

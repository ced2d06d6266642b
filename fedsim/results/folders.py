"""Run folders on disk: found, checked, read one by one."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedsim.errors import ResultsError, ResultsWarning
from fedsim.results.addresses import TIMING_ONLY
from fedsim.results.digests import digest, is_whole
from fedsim.whole_files import is_folder

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""The version of run folders; raised whenever a reader of the old one would misread the new one."""

ORIGIN = "provenance.json"
FILES = ("scenario.toml", "steps.parquet", "workers.parquet", "summary.json", ORIGIN)
"""What every run folder holds."""

KEYS = ("scenario", "variant", "seed")
"""What tells the runs of a table apart, besides their address."""

PARTIAL = re.compile(r"\.[0-9a-f]{12}\.partial")
"""How the names of folders end that are being written; nobody reads those."""

SOURCES = re.compile(r"\.[0-9a-f]{12}\.sources$")
"""How the names of folders end that hold the files of a sweep, whatever these are called."""

RUN_ID = re.compile("[0-9a-f]{12}")
MANY = 5
"""So many things of a kind are told one by one."""

PACKAGES = ("fedsim-icl", "numpy", "scipy", "simpy", "torch", "pydantic", "pandas")
AGAIN = "run the scenario again"


@cache
def versions() -> dict[str, str]:
    """Return the versions of what makes results."""
    return {package: version(package) for package in PACKAGES}


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole run of this version of fedsim, as it was written."""
    return is_folder(folder) and not why_not_finished(folder)


def why_not_finished(folder: Path) -> str:
    """Return why what is at a run's address is not that run, in half a sentence; nothing if it is."""
    try:
        origin = check_folder(folder)
        check_contents(folder, origin)
    except ResultsError as error:
        return str(error).removesuffix(f"; {AGAIN}").removeprefix(f"{folder}: ")
    if origin.get("run_id") != folder.name:
        return f"holds the run {origin.get('run_id')!r}"
    made_by, ours = origin.get("versions", {}).get("fedsim-icl"), versions()["fedsim-icl"]
    return "" if made_by == ours else f"made by fedsim {made_by}, this is {ours}"


def find_runs(*paths: Path) -> list[Path]:
    """Return the finished run folders at or below some paths, each run once, in order of name.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
    """
    return list(found_runs(*paths))


def found_runs(*paths: Path) -> dict[Path, dict[str, Any]]:
    """Return the finished run folders at or below some paths, in order of name, with their provenance.

    Links are followed. A run that is there several times, such as in a copy of its folder, counts once; a
    warning tells so, and what else may surprise.

    Raises:
        ResultsError: nothing at one of them, or a folder is damaged or of another format.
    """
    found = dict(run for path in paths for run in _runs_below(path))
    return _each_once({folder: _checked(folder, found[folder]) for folder in sorted(found)}, paths)


def _runs_below(path: Path) -> list[tuple[Path, dict[str, int]]]:
    """Return the run folders at or below a path, with the sizes of their files.

    Raises:
        ResultsError: there is none.
    """
    try:
        path.stat()
    except OSError as error:
        nothing = isinstance(error, FileNotFoundError)
        why = "no such results folder" if nothing else f"cannot be read: {error.strerror or error}"
        why = f"a link to {path.readlink()}, where nothing is" if nothing and path.is_symlink() else why
        raise ResultsError(f"{path}: {why}") from error
    folders = [(Path(found.path), found.sizes) for found in _walk(path, tell=True) if found.is_run]
    if not folders:
        raise ResultsError(f"{path}: no finished run in this folder")
    return folders


def files_below(path: Path, ending: str) -> list[Path]:
    """Return the files at or below a path whose names end so, where run folders are looked for."""
    return sorted(
        Path(found.path, name) for found in _walk(path) for name in found.sizes if name.endswith(ending)
    )


def is_timing_only(folder: Path, origin: dict[str, Any], *below: Path) -> bool:
    """Whether a run is one of the clock alone.

    Args:
        folder: of the run.
        origin: its provenance.
        below: where it may have been found; older runs tell by their place below alone.
    """
    if isinstance(recorded := origin.get("timing_only"), bool):
        return recorded
    return any(
        TIMING_ONLY in folder.relative_to(place).parts for place in below if folder.is_relative_to(place)
    )


def check_folder(folder: Path) -> dict[str, Any]:
    """Return a run folder's provenance.

    Raises:
        ResultsError: a file is missing or cut short, or the folder is of another format.
    """
    try:
        with os.scandir(folder) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries}
    except FileNotFoundError:
        sizes = {}
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read: {error.strerror or error}") from error
    return _checked(folder, sizes)


def check_contents(folder: Path, origin: dict[str, Any], names: Collection[str] | None = None) -> None:
    """Compare files with the digests that the provenance states; older runs state none.

    Args:
        folder: of the run.
        origin: its provenance.
        names: which files; all of them if not given.

    Raises:
        ResultsError: a file is not what was written, or cannot be read.
    """
    for name, expected in origin.get("digests", {}).items():
        if names is not None and name not in names:
            continue
        try:
            found = digest((folder / name).read_bytes())
        except OSError as error:
            raise ResultsError(f"{folder / name}: cannot be read: {error.strerror or error}") from error
        if found != expected:
            raise ResultsError(f"{folder}: damaged: {name} is not what was written; {AGAIN}")


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the headline numbers of a run folder."""
    summary = _parsed(folder / "summary.json", _content(folder / "summary.json"))
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


class _Found(NamedTuple):
    """A folder, and the sizes of the files in it."""

    path: str
    sizes: dict[str, int]

    @property
    def is_run(self) -> bool:
        """Whether it is the folder of a run, perhaps a damaged one; nothing is known by one file alone."""
        ours = sum(name in self.sizes for name in FILES)
        return ours >= 3 or (ours > 0 and RUN_ID.fullmatch(Path(self.path).name) is not None)


def _walk(top: Path, tell: bool = False) -> Iterator[_Found]:
    """Yield every folder at or below a path once, also those behind links; links come after all others."""
    links, seen = [str(top)], set[tuple[int, int]]()
    lost: list[str] = []
    while links:
        later: list[str] = []
        for link in links:
            yield from _below(link, seen, later, lost)
        links = sorted(later)
    if not tell:
        return
    _warn([f"{link}: a link to {Path(link).readlink()}, where nothing is; left out" for link in sorted(lost)])


def _below(folder: str, seen: set[tuple[int, int]], links: list[str], lost: list[str]) -> Iterator[_Found]:
    """Yield a folder and those in it not seen yet; collect links to further ones, and to nothing."""
    sizes: dict[str, int] = {}
    folders: list[str] = []
    try:
        here = Path(folder).stat()
        if (here.st_dev, here.st_ino) in seen:
            return
        seen.add((here.st_dev, here.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    size = entry.stat().st_size
                except OSError:
                    if entry.is_symlink():
                        lost.append(entry.path)
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(entry.path)
                else:
                    sizes[entry.name] = size
    except FileNotFoundError:  # gone meanwhile: another sweep puts a new one in its place
        return
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be read: {error.strerror or error}") from error
    yield _Found(folder, sizes)
    for inner in folders:
        if not PARTIAL.search(inner[len(folder) :]) and not SOURCES.search(inner):
            yield from _below(inner, seen, links, lost)


def _each_once(found: dict[Path, dict[str, Any]], paths: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Return each run once, from the folder that has its name; tell of copies, and of other names."""
    kept: dict[tuple[Any, bool], Path] = {}
    copies: list[tuple[Path, Path]] = []
    # A run of the clock alone had the address of the one that learns before it was recorded which it is.
    for folder in sorted(found, key=lambda folder: not _has_its_name(folder, found[folder])):
        run = found[folder]["run_id"], is_timing_only(folder, found[folder], *paths)
        if run in kept:
            copies.append((folder, kept[run]))
        else:
            kept[run] = folder
    said = []
    for copy, first in copies:
        numbers = [found[folder].get("digests", {}).get("summary.json") for folder in (copy, first)]
        but = ", but its numbers are others" if numbers[0] != numbers[1] else ""
        said.append(f"{copy}: the same run as {first}{but}; it counts once")
    _warn(said)
    named = [folder for folder in kept.values() if not _has_its_name(folder, found[folder])]
    _warn([f"{folder}: holds the run {found[folder]['run_id']}, by its name another" for folder in named])
    return {folder: origin for folder, origin in found.items() if folder in kept.values()}


def _has_its_name(folder: Path, origin: dict[str, Any]) -> bool:
    """Whether a folder, or what a link leads to, is called as the run in it."""
    return origin["run_id"] in (folder.name, Path(os.path.realpath(folder)).name)


def _warn(said: list[str]) -> None:
    """Tell what a reader of results should know; much of a kind is counted."""
    more = len(said) - MANY
    for sentence in [*said[:MANY], *([f"... and {more:,} more of the kind"] if more > 0 else [])]:
        warnings.warn(sentence, ResultsWarning, stacklevel=2)


def _checked(folder: Path, sizes: dict[str, int]) -> dict[str, Any]:
    """Return the provenance of a folder whose files have these sizes (bytes)."""
    content = _content(folder / ORIGIN)
    origin = _parsed(folder / ORIGIN, content)
    if (found := origin.get("format")) != FORMAT:
        raise ResultsError(f"{folder}: results of format {found!r}, expected {FORMAT}; {AGAIN}")
    if not is_whole(content, origin):
        raise ResultsError(f"{folder}: damaged: {ORIGIN} is not what was written; {AGAIN}")
    expected: Any = origin.get("files")
    tables = expected, origin.get("settings"), origin.get("digests", {})
    if not all(isinstance(table, dict) for table in tables) or not isinstance(origin.get("run_id"), str):
        raise ResultsError(f"{folder / ORIGIN}: damaged: no files, no settings or no run in it; {AGAIN}")
    if missing := [name for name in (*FILES, *expected) if name not in sizes]:
        raise ResultsError(f"{folder}: damaged: {missing[0]} is missing; {AGAIN}")
    for name, size in expected.items():
        if sizes[name] != size:
            raise ResultsError(
                f"{folder}: damaged: {name} has {sizes[name]:,} bytes, expected {size:,}; {AGAIN}"
            )
    return origin


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ResultsError(f"{file.parent}: damaged: {file.name} is missing; {AGAIN}") from None
    except OSError as error:
        raise ResultsError(f"{file}: cannot be read: {error.strerror or error}") from error


def _parsed(file: Path, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ResultsError(f"{file}: damaged: {why}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{file}: damaged: not a JSON object")
    return found

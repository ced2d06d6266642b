"""Writing run folders: files made by the process of the run, written by the main one, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import shlex
import shutil
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim import whole_files
from fedsim.errors import InputError
from fedsim.part_code import code_of, code_of_fedsim
from fedsim.results.addresses import address, folder_of, settings_of
from fedsim.results.digests import digest, sealed
from fedsim.results.folders import FILES, FORMAT, ORIGIN, is_finished, versions
from fedsim.results.partial import partial_folder, partial_of
from fedsim.results.tables import NOT_ALWAYS
from fedsim.scenario import dump
from fedsim.secrets import redacted, redacted_values, without_known
from fedsim.whole_files import sync

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.simulation import Run


class UnwritableError(InputError):
    """The place of results cannot be written to: no run there can be kept."""


TIMED = "# A run of the clock alone, which learnt nothing: made by `fedsim run --timing-only`.\n"
"""Stands above the scenario of such a run."""

Files = dict[str, bytes]
"""A run folder as it travels from where the run was made: contents by name."""


def check_writable(folder: Path, tried: bool = False) -> None:
    """Find out before a run whether its folder can be written after it.

    Args:
        folder: of the run.
        tried: whether something has been written beside it already.

    Raises:
        UnwritableError: it cannot.
    """
    try:
        place = Path(os.path.realpath(folder))
        if place.exists() and not place.is_dir():
            raise FileExistsError(errno.EEXIST, "a file is in the way")
        if not tried:
            whole_files.check_folder(place.parent)
    except OSError as error:
        raise UnwritableError(f"cannot write results to {folder}: {error.strerror or error}") from error


def command_line() -> str:
    """Return the command that this process was started with, as a shell takes it; without secrets."""
    module = getattr(sys.modules["__main__"], "__spec__", None)  # where it was started by `python -m`
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else Path(sys.argv[0]).name
    return " ".join([program, *(shlex.quote(redacted(word)) for word in sys.argv[1:])])


def pack(run: Run, duration_s: float, command: str) -> Files:
    """Return the files of a run's folder.

    Args:
        run: what was found.
        duration_s: of the run, in real seconds.
        command: what somebody typed to have it run, perhaps on another machine.
    """
    tables: dict[str, pd.DataFrame | None] = {"steps": run.steps, "workers": run.workers}
    tables |= {name: getattr(run, name) for name in NOT_ALWAYS}
    dumped = dump(run.scenario)
    timing_only = bool(run.summary["timing_only"])
    files = {"scenario.toml": ((TIMED if timing_only else "") + dumped).encode()}
    files |= {f"{name}.parquet": _parquet(table) for name, table in tables.items() if table is not None}
    if run.learned is not None:
        files["learned.json"] = run.learned.encode()
    if run.answers is not None:
        files["answers.jsonl"] = without_known(run.answers).encode()
    files["summary.json"] = _json(run.summary)
    origin = {
        "format": FORMAT,
        "run_id": address(run.scenario, dumped, timing_only),
        "timing_only": timing_only,
        **provenance(run, duration_s, command),
        "files": {name: len(content) for name, content in files.items()},
        "digests": {name: digest(content) for name, content in files.items()},
    }
    return files | {ORIGIN: sealed(_text(origin))}


def provenance(run: Run, duration_s: float, command: str) -> dict[str, Any]:
    """Return where results come from: versions, machine, seed, command, duration, a real model's work."""
    return {
        "versions": versions() | {"python": platform.python_version()},
        "platform": _platform(),
        "seed": run.scenario.seed,
        "command": redacted(command),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_s": round(duration_s, 3),
        "model": redacted_values(run.usage),
        "settings": settings_of(run.scenario),
        "code": code_of_fedsim(),
        "parts": {place: code._asdict() for place, code in code_of(run.scenario).items()},
    }


def write(run: Run, out: Path, duration_s: float) -> Path:
    """Write a run's folder and return it; an older folder of the same run gives way.

    Raises:
        UnwritableError: the place cannot be written to; nothing is left behind.
    """
    folder = folder_of(run.scenario, out, run.summary["timing_only"])
    write_files(folder, pack(run, duration_s, command_line()), replace=True)
    return folder


def write_files(folder: Path, files: Files, replace: bool) -> None:
    """Write a run folder, whole or not at all.

    Args:
        folder: where to.
        files: what it holds.
        replace: whether it takes the place of a finished one; otherwise that one stays, as one stays that
            another process has finished meanwhile. What is damaged gives way in any case.

    Raises:
        UnwritableError: the place cannot be written to; nothing is left behind.
    """
    assert set(files) >= set(FILES)
    try:
        place = Path(os.path.realpath(folder))  # a link to it stays
        with partial_folder(place) as partial:
            for name, content in files.items():
                (partial / name).write_bytes(content)
            # All are on the disk before they have their name, and the first one takes the others along.
            for path in (*(partial / name for name in files), partial):
                sync(path)
            while not _placed(partial, folder, replace):
                replace = False  # somebody else has just finished the same run
            sync(place.parent)
    except OSError as error:
        raise UnwritableError(f"cannot write results to {folder}: {error.strerror or error}") from error


def _placed(partial: Path, folder: Path, replace: bool) -> bool:
    """Give a folder its name, unless a finished one has it; false: another one came in between."""
    place, aside = Path(os.path.realpath(folder)), None
    if place.exists():
        if not place.is_dir():
            raise FileExistsError(errno.EEXIST, "a file is in the way")
        if not replace and is_finished(folder):
            return True
        aside = partial_of(place)
    try:
        if aside is not None:
            place.rename(aside)
        partial.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT) and partial.exists():
            return False
        raise
    finally:
        if aside is not None and aside.exists():
            if place.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:  # it could not be replaced: what was there stays there
                aside.rename(place)
    return True


@cache
def _platform() -> str:
    return platform.platform()


def _parquet(table: pd.DataFrame) -> bytes:
    import pyarrow
    from pyarrow import parquet

    # Column by column: half the time of `to_parquet`, which also keeps pandas' types beside Arrow's.
    columns = [pyarrow.array(table[name], from_pandas=True) for name in table.columns]
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(columns, list(table.columns)), content)
    return content.getvalue()


def _json(content: dict[str, Any]) -> bytes:
    return (_text(content) + "\n").encode()


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False)

"""Runs that broke off without a result, remembered beside the run folders."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedsim.errors import ResultsError, ResultsWarning
from fedsim.results.folders import AGAIN, FORMAT, files_below, versions
from fedsim.results.partial import partial_folder
from fedsim.results.writing import UnwritableError
from fedsim.scenario import Scenario, resolved
from fedsim.secrets import redacted
from fedsim.whole_files import sync


def record_of(folder: Path) -> Path:
    """Return where it is noted that a run failed."""
    return folder.with_name(f"{folder.name}.failed.json")


def write_failure(folder: Path, scenario: Scenario, reason: str, trace: str, command: str) -> None:
    """Note that a run failed.

    Args:
        folder: where its results would have gone.
        scenario: what was to be run.
        reason: a sentence.
        trace: the stack where it happened, for whoever wrote the part; may be empty.
        command: what somebody typed to have it run.

    Raises:
        UnwritableError: the place cannot be written to; nothing is left behind.
    """
    note = {
        "format": FORMAT,
        "run_id": folder.name,
        "reason": redacted(reason),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": redacted(command),
        "versions": versions(),
        "scenario": resolved(scenario),
        "trace": redacted(trace).splitlines(),
    }
    record = record_of(folder)
    try:
        with partial_folder(record) as partial:
            (partial / record.name).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
            sync(partial / record.name)
            (partial / record.name).replace(record)
    except OSError as error:
        raise UnwritableError(f"cannot write results to {record}: {error.strerror or error}") from error


def read_failure(folder: Path) -> dict[str, Any] | None:
    """Return what was noted of a run that failed under this version of fedsim; nothing if it did not.

    Raises:
        ResultsError: the note cannot be read.
    """
    record = record_of(folder)
    try:
        note = json.loads(record.read_bytes())
        ours = note["format"] == FORMAT and note["versions"]["fedsim-icl"] == versions()["fedsim-icl"]
        return {"reason": str(note["reason"]), **note} if ours else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{record}: damaged: not the note of a failed run; delete it, then {AGAIN}"
        ) from error


def find_failures(path: Path) -> list[dict[str, Any]]:
    """Return what was noted of failed runs at or below a path; what is no such note is told, and left out."""
    ending = record_of(Path("run")).name.removeprefix("run")
    notes = []
    for file in files_below(path, ending):
        try:
            note = read_failure(file.with_name(file.name.removesuffix(ending)))
        except ResultsError as error:
            warnings.warn(f"{error}; left out", ResultsWarning, stacklevel=2)
            continue
        notes += [note] if note is not None else []
    return notes


def forget_failure(folder: Path) -> None:
    """Remove the note of a run that went well after all."""
    record_of(folder).unlink(missing_ok=True)

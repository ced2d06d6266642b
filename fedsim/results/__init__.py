"""Run folders: written whole or not at all, loaded as tidy tables."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError, ResultsError, nearest
from fedsim.scenario import Scenario, dump, resolved

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.simulation import Run

FORMAT = 1
"""Of a run folder; raised whenever a reader of the old one would misread it."""

FILES = ("scenario.toml", "steps.parquet", "workers.parquet", "summary.json", "provenance.json")
"""What every run folder holds."""

TIMING_ONLY = "timing-only"
"""The folder, among results, of runs of the clock alone."""

KEYS = ("scenario", "variant", "seed")
"""What tells the runs of a table apart, besides their address."""

MODEL = ("kind", "model", "weights", "file")
METHOD = ("kind", "encoder.kind", "encoder.model")
ALWAYS = (
    "problem.kind",
    "network.server",
    "network.workers",
    *(f"problem.model.{key}" for key in MODEL),
    *(f"problem.method.{key}" for key in METHOD),
)
"""Settings that have a column even where they do not vary: who answered belongs beside any accuracy."""

KEPT_WITH_SPANS = ("spans", "tickets")
"""The tables of those runs alone whose scenario says `record.spans = true`."""

NOT_ALWAYS = (*KEPT_WITH_SPANS, "queue", "links")
"""Those; a queue at the LLM service, kept with the spans too; and the links of a network that has some."""

TABLES = ("runs", "steps", "workers", *NOT_ALWAYS)
PACKAGES = ("fedsim-icl", "numpy", "scipy", "simpy", "torch", "pydantic", "pandas")


def run_id(scenario: Scenario) -> str:
    """Return the address of a run: a hash of the resolved scenario, its seed included."""
    return _address(resolved(scenario))


def _address(table: dict[str, Any]) -> str:
    """Return the address of a resolved scenario, wherever the files lie whose content it states."""
    import tomli_w

    placeless = tomli_w.dumps(_without_places(table))
    return hashlib.sha256(placeless.encode()).hexdigest()[:12]


def _without_places(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if not isinstance(value, dict):
        return value
    places = {"file", "folder"} if "sha256" in value else set()
    return {key: _without_places(part) for key, part in value.items() if key not in places}


def folder_of(scenario: Scenario, out: Path) -> Path:
    """Return where the results of a scenario go."""
    return out / scenario.name / run_id(scenario)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole, readable run of this version of fedsim."""
    try:
        made_by = check_folder(folder)["versions"]["fedsim-icl"]
        read_summary(folder)
        read_table(folder, "steps")
        read_table(folder, "workers")
        address = _address(tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8")))
    except (ResultsError, KeyError, TypeError, ValueError, OSError):
        return False
    return bool(made_by == version("fedsim-icl") and address == folder.name)


def check_writable(folder: Path) -> None:
    """Find out before a run whether its folder can be written after it.

    Raises:
        InputError: it cannot.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"cannot write results to {folder}: {there} is a file")
    if not os.access(there, os.W_OK):
        raise InputError(f"cannot write results to {folder}: {there} is not writable")


def write(run: Run, out: Path, duration_s: float) -> Path:
    """Write a run's folder and return it; an older folder of the same run gives way.

    Raises:
        InputError: the place cannot be written to; nothing is left behind.
    """
    folder = folder_of(run.scenario, out)
    partial = partial_of(folder)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "scenario.toml").write_text(dump(run.scenario), encoding="utf-8")
        run.steps.to_parquet(partial / "steps.parquet", index=False)
        run.workers.to_parquet(partial / "workers.parquet", index=False)
        for name in NOT_ALWAYS:
            table: pd.DataFrame | None = getattr(run, name)
            if table is not None:
                table.to_parquet(partial / f"{name}.parquet", index=False)
        if run.answers is not None:
            (partial / "answers.jsonl").write_text(run.answers, encoding="utf-8")
        _write_json(partial / "summary.json", run.summary)
        _write_json(partial / "provenance.json", provenance(run, duration_s))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write results to {folder}: {error.strerror or error}") from error
    finally:
        # Gone already where all went well; left by an error or Ctrl-C otherwise.
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def partial_of(folder: Path) -> Path:
    """Return where a run folder is while it is being written."""
    return folder.with_name(folder.name + ".partial")


def provenance(run: Run, duration_s: float) -> dict[str, Any]:
    """Return where results come from: versions, machine, seed, command, duration, a real model's work."""
    return {
        "format": FORMAT,
        "versions": {package: version(package) for package in PACKAGES}
        | {"python": platform.python_version()},
        "platform": platform.platform(),
        "seed": run.scenario.seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_s": round(duration_s, 3),
        "model": run.usage,
    }


def load_results(path: str | Path, table: str = "runs") -> pd.DataFrame:
    """Load one tidy table over all finished runs below a folder.

    Args:
        path: a run folder, or any folder above some.
        table: ``runs`` (a row a run: headline numbers, and a column for every setting that varies between
            the runs, and for who answered), ``steps``, ``workers``, ``spans``, ``tickets``, ``queue`` or
            ``links`` (their tables, with scenario, variant, seed, run_id).

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: no such table.
    """
    import pandas as pd

    if table not in TABLES:
        raise InputError(f"no table {table!r}{nearest(table, TABLES)} (tables: {', '.join(TABLES)})")
    path = Path(path)
    folders = find_runs(path)
    # A timing-only run is not the run that its scenario describes: beside real ones it would mislead.
    learned = [folder for folder in folders if TIMING_ONLY not in folder.relative_to(path).parts]
    summaries = {folder: read_summary(folder) for folder in learned or folders}
    ordered = sorted(summaries, key=lambda folder: [summaries[folder][key] for key in KEYS])
    if table == "runs":
        return _runs({folder: summaries[folder] for folder in ordered})
    parts = []
    for folder in ordered:
        if table in NOT_ALWAYS and not (folder / f"{table}.parquet").exists():
            continue
        part = read_table(folder, table)
        keys = {key: summaries[folder][key] for key in KEYS} | {"run_id": folder.name}
        parts.append(part.assign(**keys)[[*keys, *part.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def find_runs(path: Path) -> list[Path]:
    """Return the finished run folders at or below a path, in order of name.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
    """
    if not path.exists():
        raise ResultsError(f"{path}: no such results folder")
    # By more than one file, so that a folder with one of them missing is seen and not passed over.
    found = {file.parent for name in ("provenance.json", "steps.parquet") for file in path.rglob(name)}
    folders = sorted(folder for folder in found if folder.suffix != ".partial")
    if not folders:
        raise ResultsError(f"{path}: no finished run in this folder")
    for folder in folders:
        check_folder(folder)
    return folders


def check_folder(folder: Path) -> dict[str, Any]:
    """Return a run folder's provenance.

    Raises:
        ResultsError: a file is missing, or the folder is of another format.
    """
    origin = _read_json(folder / "provenance.json")
    if origin.get("format") != FORMAT:
        found = origin.get("format")
        raise ResultsError(
            f"{folder}: results of format {found!r}, expected {FORMAT}; run the scenario again"
        )
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise ResultsError(f"{folder}: damaged: {missing[0]} is missing; run the scenario again")
    return origin


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
    except Exception as error:  # pyarrow has no common error class for damaged files
        raise ResultsError(f"{file}: damaged: not a table that can be read") from error


def _runs(summaries: dict[Path, dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    rows, settings = [], []
    for folder, summary in summaries.items():
        row = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
        for activity, seconds in summary["seconds_by_activity"].items():
            row[f"seconds_{activity}"] = seconds
        rows.append({"run_id": folder.name, **row})
        try:
            scenario = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(f"{folder / 'scenario.toml'}: damaged: {_first_line(error)}") from error
        settings.append(dict(_flat(scenario)))
    table = pd.DataFrame(rows)
    for column in ("accuracy", "loss", "time_to_target_s"):
        table[column] = table[column].astype(float) if column in table else float("nan")
    varied = pd.DataFrame(settings)
    skip = {*KEYS, "name", "description"}
    keep = [
        key
        for key in varied
        if key not in skip and (key in ALWAYS or varied[key].astype(str).nunique(dropna=False) > 1)
    ]
    # `cuts` is the number of live cuts among the measurements, and a switch among the settings.
    names = {key: f"{key} (setting)" if key in table else key for key in keep}
    return pd.concat([table, varied[keep].rename(columns=names)], axis=1)


def _flat(table: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested tables and lists under dotted names."""
    if isinstance(table, dict):
        items = list(table.items())
    elif isinstance(table, list) and any(isinstance(part, dict) for part in table):
        items = [(str(place), part) for place, part in enumerate(table)]
    else:
        return [(prefix, table)]
    return [leaf for key, value in items for leaf in _flat(value, f"{prefix}.{key}" if prefix else key)]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(f"{file.parent}: damaged: {file.name} is missing") from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file}: damaged: {_first_line(error)}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{file}: damaged: not a JSON object")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

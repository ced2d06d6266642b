"""Run folders: written whole or not at all, loaded as tidy tables."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError, ResultsError, nearest
from fedsim.scenario import Scenario, dump

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.simulation import Run

FORMAT = 1
"""Of a run folder; raised whenever a reader of the old one would misread it."""

TABLES = ("runs", "steps", "workers", "spans")
PACKAGES = ("fedsim-icl", "numpy", "scipy", "simpy", "torch", "pydantic", "pandas")


def run_id(scenario: Scenario) -> str:
    """Return the address of a run: a hash of the resolved scenario, its seed included."""
    return hashlib.sha256(dump(scenario).encode()).hexdigest()[:12]


def folder_of(scenario: Scenario, out: Path) -> Path:
    """Return where the results of a scenario go."""
    return out / scenario.name / run_id(scenario)


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole run of this version of fedsim."""
    try:
        provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    own = version("fedsim-icl")
    return provenance.get("format") == FORMAT and provenance.get("versions", {}).get("fedsim-icl") == own


def write(run: Run, out: Path, duration_s: float) -> Path:
    """Write a run's folder and return it; an older folder of the same run gives way.

    Raises:
        InputError: the place cannot be written to; nothing is left behind.
    """
    folder = folder_of(run.scenario, out)
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "scenario.toml").write_text(dump(run.scenario), encoding="utf-8")
        run.steps.to_parquet(partial / "steps.parquet", index=False)
        run.workers.to_parquet(partial / "workers.parquet", index=False)
        if run.spans is not None:
            run.spans.to_parquet(partial / "spans.parquet", index=False)
        _write_json(partial / "summary.json", run.summary)
        _write_json(partial / "provenance.json", provenance(run.scenario, duration_s))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(f"cannot write results to {folder}: {error.strerror or error}") from error
    return folder


def provenance(scenario: Scenario, duration_s: float) -> dict[str, Any]:
    """Return where results come from: versions, machine, seed, command, duration."""
    return {
        "format": FORMAT,
        "versions": {package: version(package) for package in PACKAGES}
        | {"python": platform.python_version()},
        "platform": platform.platform(),
        "seed": scenario.seed,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration_s": round(duration_s, 3),
    }


def load_results(path: str | Path, table: str = "runs") -> pd.DataFrame:
    """Load one tidy table over all finished runs below a folder.

    Args:
        path: a run folder, or any folder above some.
        table: ``runs`` (a row a run: headline numbers, and a column for every setting that varies between the
            runs), ``steps``, ``workers`` or ``spans`` (their tables, with scenario, variant, seed, run_id).

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: no such table.
    """
    import pandas as pd

    if table not in TABLES:
        raise InputError(f"no table {table!r}{nearest(table, TABLES)} (tables: {', '.join(TABLES)})")
    folders = find_runs(Path(path))
    if table == "runs":
        return _runs(folders)
    parts = []
    for folder in folders:
        file = folder / f"{table}.parquet"
        if table == "spans" and not file.exists():
            continue
        summary = read_summary(folder)
        part = _read_parquet(file)
        keys = {key: summary[key] for key in ("scenario", "variant", "seed")} | {"run_id": folder.name}
        parts.append(part.assign(**keys)[[*keys, *part.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def find_runs(path: Path) -> list[Path]:
    """Return the finished run folders at or below a path, in order of name."""
    if not path.exists():
        raise ResultsError(f"{path}: no such results folder")
    found = sorted(file.parent for file in path.rglob("provenance.json"))
    folders = [folder for folder in found if not folder.name.endswith(".partial")]
    if not folders:
        raise ResultsError(f"{path}: no finished run in this folder")
    for folder in folders:
        form = _read_json(folder / "provenance.json").get("format")
        if form != FORMAT:
            raise ResultsError(
                f"{folder}: results of format {form!r}, expected {FORMAT}; run the scenario again"
            )
    return folders


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the headline numbers of a run folder."""
    return _read_json(folder / "summary.json")


def read_table(folder: Path, table: str) -> pd.DataFrame:
    """Return one table of one run folder."""
    return _read_parquet(folder / f"{table}.parquet")


def _runs(folders: list[Path]) -> pd.DataFrame:
    import tomllib

    import pandas as pd

    rows, settings = [], []
    for folder in folders:
        summary = read_summary(folder)
        row = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
        for activity, seconds in summary["seconds_by_activity"].items():
            row[f"seconds_{activity}"] = seconds
        rows.append({"run_id": folder.name, **row})
        try:
            scenario = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ResultsError(f"{folder / 'scenario.toml'}: damaged: {error}") from error
        settings.append(dict(_flat(scenario)))
    table = pd.DataFrame(rows)
    for column in ("accuracy", "loss", "time_to_target_s"):
        table[column] = table[column].astype(float) if column in table else float("nan")
    varied = pd.DataFrame(settings)
    skip = {"name", "variant", "seed", "description"}
    keep = [key for key in varied if key not in skip and varied[key].astype(str).nunique(dropna=False) > 1]
    return pd.concat([table, varied[keep]], axis=1)


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
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file}: damaged: {error}") from error
    if not isinstance(found, dict):
        raise ResultsError(f"{file}: damaged: not a JSON object")
    return found


def _read_parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except Exception as error:  # pyarrow has no common error class for damaged files
        raise ResultsError(f"{file}: damaged or missing: {error}") from error


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

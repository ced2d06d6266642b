"""Tidy tables over many runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedsim.errors import InputError, ResultsError, nearest
from fedsim.results.folders import (
    KEYS,
    check_contents,
    found_runs,
    is_timing_only,
    read_summary,
    read_table,
)
from fedsim.results.tables import ALWAYS, NOT_ALWAYS, TABLES
from fedsim.secrets import names_secret, redacted_values

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

_OF_ATTACKS = re.compile(r"attacks\.\d")
_SHARE = re.compile(r"attacks\.\d+\.fraction")

Json = dict[str, Any]


def load_results(path: str | Path | Sequence[str | Path], table: str = "runs") -> pd.DataFrame:
    """Load one tidy table over all finished runs below a folder.

    Args:
        path: a run folder, or any folder above some; or several of them.
        table: ``runs`` (one row per run, in the order of scenario, variant, the settings that vary, and seed:
            headline numbers, and a column for every setting that varies between the runs, for who answered,
            and for the versions of fedsim and of others' parts where they vary), ``steps``, ``workers``,
            ``spans``, ``tickets``, ``queue`` or ``links`` (their tables, with scenario, variant, seed,
            run_id).

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: no such table.
    """
    import pandas as pd

    if table not in TABLES:
        raise InputError(f"no table {table!r}{nearest(table, TABLES)} (tables: {', '.join(TABLES)})")
    origins, learned = _found(path)
    runs = []
    for folder in learned or origins:
        origin = origins[folder]
        check_contents(folder, origin, ["summary.json"])
        summary = {"timing_only": not learned, **read_summary(folder)}
        runs.append(_Run(folder, origin["run_id"], summary, origin))
    runs = _in_order(runs)
    if table == "runs":
        return _runs(runs)
    runs = [run for run in runs if table not in NOT_ALWAYS or f"{table}.parquet" in run.origin["files"]]
    for run in runs:
        check_contents(run.folder, run.origin, [f"{table}.parquet"])
    return _long(table, runs) if runs else pd.DataFrame()


def remarks(path: str | Path | Sequence[str | Path]) -> list[str]:
    """Return in sentences what `load_results` leaves out below a folder, and of what its runs are a mixture.

    Raises:
        ResultsError: as there.
    """
    origins, learned = _found(path)
    found = []
    if learned and (left_out := len(origins) - len(learned)):
        runs = "1 run" if left_out == 1 else f"{left_out:,} runs"
        found.append(
            f"left out: {runs} of the clock alone (--timing-only), beside {len(learned):,} with learning"
        )
    codes = {origins[folder].get("code") for folder in learned or origins}
    if len(codes) > 1:
        found.append(f"these runs were made by {len(codes)} codes of fedsim (code in provenance.json)")
    return found


def _found(path: str | Path | Sequence[str | Path]) -> tuple[dict[Path, Json], list[Path]]:
    """Return the origins of all runs by folder, and the folders of those that learn."""
    paths = [Path(one) for one in ([path] if isinstance(path, str | Path) else path)]
    origins = found_runs(*paths)
    # A timing-only run is not the run that its scenario describes: beside real ones it would mislead.
    return origins, [run for run, origin in origins.items() if not is_timing_only(run, origin, *paths)]


class _Run(NamedTuple):
    """A run of results."""

    folder: Path
    run_id: str
    summary: Json
    origin: Json


def _in_order(runs: list[_Run]) -> list[_Run]:
    """Return runs in the order of scenario, variant, the settings that vary, and seed."""
    settings = _settings(runs)
    varied = _varied(settings)

    def place(number: int) -> list[Any]:
        scenario, variant, seed = (runs[number].summary[key] for key in KEYS)
        return [scenario, variant, *(_rank(settings[number].get(key)) for key in varied), seed]

    return [runs[number] for number in sorted(range(len(runs)), key=place)]


def _rank(value: Any) -> tuple[int, float, str]:
    """Return by what a setting is sorted: one that a run does not have first, then numbers by their size."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 1, value, ""
    return 2, 0.0, str(value)


def _settings(runs: Sequence[_Run]) -> list[Json]:
    settings = [run.origin["settings"] | _made_by(run.origin) for run in runs]
    shares = {key: 0.0 for one in settings for key in one if _SHARE.fullmatch(key)}
    # Without any attack the share of workers that carry it out is known.
    return [one if any(map(_OF_ATTACKS.match, one)) else one | shares for one in settings]


def _runs(runs: Sequence[_Run]) -> pd.DataFrame:
    """Return one row per run."""
    import pandas as pd

    rows, settings = [], _settings(runs)
    for _, run_id, summary, _ in runs:
        row = {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
        if "cautions" in summary:
            row["cautions"] = "; ".join(summary["cautions"])
        for activity, seconds in summary["seconds_by_activity"].items():
            row[f"seconds_{activity}"] = seconds
        rows.append({"run_id": run_id, **row})
    table = pd.DataFrame(rows)
    for column in ("accuracy", "loss", "time_to_target_s", "time_to_target_resolution_s"):
        table[column] = table[column].astype(float) if column in table else float("nan")
    varied = _varied(settings)
    columns = {key: [_shown(key, one.get(key)) for one in settings] for key in varied}
    return pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)


def _made_by(origin: Json) -> Json:
    """Return the versions of what computed a run, by name: of fedsim, and of somebody else's parts."""
    parts = origin.get("parts", {})
    own = {
        f"versions.{place}": "-".join(digest[:8] for digest in part["modules"].values())
        for place, part in parts.items()
    }
    return {"versions.fedsim": origin["versions"].get("fedsim-icl")} | own


def _shown(key: str, value: Any) -> Any:
    """Return a setting as others may see it: results may be older than the rule that none is secret."""
    if isinstance(value, str) and ("://" in value or names_secret(key)):
        return redacted_values({key: value})[key]
    return value


def _varied(settings: list[Json]) -> list[str]:
    """Return the settings that do not have the same value in all runs, and those that are always shown."""
    skip = {*KEYS, "name", "description"}
    keys = [key for key in _merged(settings) if key not in skip]
    return [key for key in keys if key in ALWAYS or _differs([one.get(key) for one in settings])]


def _merged(settings: list[Json]) -> list[str]:
    """Return the keys of all runs: one that some runs alone have stands after what is before it there."""
    found: list[str] = []
    for keys in sorted({tuple(one) for one in settings}, key=lambda keys: (len(keys), keys)):
        place = 0
        for key in keys:
            if key not in found:
                found.insert(place, key)
            place = found.index(key) + 1
    return found


def _differs(values: list[Any]) -> bool:
    """Whether some values are not equal; a whole number equals itself with a point, a switch is no number."""
    first = values[0]
    switch = isinstance(first, bool)
    return any(value != first or isinstance(value, bool) != switch for value in values)


def _long(table: str, runs: Sequence[_Run]) -> pd.DataFrame:
    """Return the tables of all runs below each other, with what tells the runs apart."""
    import pandas as pd
    import pyarrow

    files = [f"{run.folder}/{table}.parquet" for run in runs]
    try:
        rows = _read(files)
    except Exception as error:
        for run in runs:
            read_table(run.folder, table)  # says which one is damaged
        if not isinstance(error, pyarrow.ArrowException):
            raise
        why = f"tables of different runs do not go together: {str(error).splitlines()[0]}"
        raise ResultsError(f"{table}.parquet: {why}") from error
    home = pd.Categorical(rows.pop("__filename"), categories=files).codes
    keys = {
        **{key: [run.summary[key] for run in runs] for key in KEYS},
        "run_id": [run.run_id for run in runs],
    }
    found = {key: pd.Series(values).take(home).array for key, values in keys.items()}
    return pd.concat([pd.DataFrame(found, index=rows.index), rows], axis=1)


def _read(files: list[str]) -> pd.DataFrame:
    import pyarrow
    from pyarrow import dataset, fs, parquet

    factory = dataset.FileSystemDatasetFactory(fs.LocalFileSystem(), files, dataset.ParquetFileFormat())
    # The schema of all: a column may be missing from some tables, and be whole numbers in others.
    # Not by the factory, which can do it only since pyarrow 22.
    schemas = [parquet.read_schema(file) for file in files]
    schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
    found: pyarrow.Table = factory.finish(schema).to_table(columns=[*schema.names, "__filename"])
    return found.to_pandas()

"""What a report is made from: the runs below a folder, their paths and where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim.errors import InputError, nearest
from fedsim.results import find_failures, found_runs, is_timing_only, load_results
from fedsim_analysis.frames import named
from fedsim_analysis.report.places import in_places

MAX_NAMED = 8


@dataclass(frozen=True)
class Material:
    """The runs of a report.

    `runs` has one row per run, in the order of the report: the table of that name with the columns `method`
    and `setting`; `place`, the number of the scenario, method and setting that it shares with the runs of
    other seeds; and `has_target`, whether its scenario asks for a target. `load` gives any other table of the
    same results; `folders` and `origins` (the provenance) are by address. `chosen` is the run that the report
    looks at more closely, and `timing_only` counts the runs of the clock alone, which are left out beside
    runs that learn.
    """

    path: Path
    runs: pd.DataFrame
    load: Callable[[str], pd.DataFrame]
    folders: dict[str, Path]
    origins: dict[str, dict[str, Any]]
    chosen: str | None
    timing_only: int

    def scenario(self, run_id: str) -> str:
        """Return the resolved scenario of a run, as it stands in its folder."""
        return (self.folders[run_id] / "scenario.toml").read_text(encoding="utf-8")

    def descriptions(self) -> dict[str, list[str]]:
        """Return what the scenarios say of themselves, by name."""
        found: dict[str, dict[str, None]] = {}
        for name, run_id in zip(self.runs["scenario"], self.runs["run_id"], strict=True):
            told = found.setdefault(name, {})
            if text := self.origins[run_id]["settings"].get("description"):
                told[text] = None
        return {name: list(texts) for name, texts in found.items()}

    def cautions(self) -> dict[str, int]:
        """Return what makes results of some runs mean less than they seem to, and of how many each."""
        if "cautions" not in self.runs:
            return {}
        return dict(Counter(text for text in self.runs["cautions"].fillna("") if text))

    def failures(self) -> dict[str, int]:
        """Return why runs failed that have no folder, and how many did for each reason."""
        return dict(Counter(note["reason"] for note in find_failures(self.path)))


def read(path: Path, run_id: str | None = None) -> Material:
    """Read the runs at or below a path.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: `run_id` is none of the runs.
    """
    load = cache(lambda table: load_results(path, table))
    runs = in_places(named(load("runs")))
    found = found_runs(path)
    timed = [folder for folder, origin in found.items() if is_timing_only(folder, origin, path)]
    if len(timed) == len(found):
        timed = []  # they are the report's
    # Of older results, a run of the clock alone has the address of the run that learns, which goes before it.
    folders = {found[folder]["run_id"]: folder for folder in (*timed, *(set(found) - set(timed)))}
    known = list(runs["run_id"])
    if run_id is not None and run_id not in known:
        few = f" (runs: {', '.join(known[:MAX_NAMED])}{', ...' if len(known) > MAX_NAMED else ''})"
        raise InputError(f"{path}: no run {run_id!r}{nearest(run_id, known)}{few}")
    origins = {name: found[folders[name]] for name in known}
    wanted = [any(key.startswith("target.") for key in origins[name]["settings"]) for name in known]
    return Material(
        path,
        runs.assign(has_target=wanted),
        load,
        folders,
        origins,
        run_id,
        len(timed),
    )

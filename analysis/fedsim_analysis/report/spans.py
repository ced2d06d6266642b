"""The data of the interactive timeline: what every worker and the server did when, run by run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from fedsim.errors import InputError
from fedsim.results import read_table
from fedsim_analysis import style
from fedsim_analysis.report.looks import activity, method_looks
from fedsim_analysis.report.material import Material
from fedsim_analysis.words import counted

MAX_SPANS = 4000
"""The most spans per run: as many bars as a browser zooms smoothly."""
MAX_ROWS = 50
"""The most rows per run: the server and the first workers."""
MAX_ALL = 60_000
"""The most spans of all runs together: 2 MB of the page."""
MAX_RUNS = 100
"""The most runs: more are hard to choose from."""
READABLE = 40
"""How many spans of the busiest worker are in view at first: about eight jobs."""


def timelines(material: Material) -> dict[str, Any]:
    """Return the timelines of the runs that kept spans, those of the first seeds first.

    The result has `runs`, `activities` (how each is drawn) and `note` (what is left out, if anything).

    Raises:
        InputError: the chosen run kept no spans.
    """
    folders, chosen = material.folders, material.chosen
    runs = material.runs[[(folders[name] / "spans.parquet").exists() for name in material.runs["run_id"]]]
    if chosen is not None and chosen not in set(runs["run_id"]):
        raise InputError(
            f"{material.path}: run {chosen!r} kept no spans: set `record.spans = true` in its scenario and "
            "run it again"
        )
    # One run per place first, so that the limit leaves none out while others show several seeds.
    order = runs.assign(turn=runs.groupby("place").cumcount(), later=runs["run_id"] != chosen)
    methods = method_looks(material.runs["method"])
    kept: list[dict[str, Any]] = []
    total = 0
    for _, run in order.sort_values(["later", "turn", "place"]).iterrows():
        if total >= MAX_ALL or len(kept) >= MAX_RUNS:
            break
        kept.append(_timeline(material, run, methods[run["method"]]["text"]))
        total += kept[-1]["n_spans"]
    left_out = len(runs) - len(kept)
    note = f"{counted(left_out, 'more run')} with spans left out; --run RUN_ID shows any." if left_out else ""
    used = {name for run in kept for name in run["activities"]}
    looks = {name: activity(name) for name in style.in_order(used, style.ACTIVITIES)}
    return {"runs": kept, "activities": list(looks.items()), "note": note}


def _timeline(material: Material, run: pd.Series[Any], method: str) -> dict[str, Any]:
    folder = material.folders[run["run_id"]]
    spans = read_table(folder, "spans")
    spans = spans[spans["activity"] != "stepping"]
    names = sorted(spans["entity"].unique(), key=lambda name: (name != "server", len(name), name))
    rows = names[:MAX_ROWS]
    inside = spans[spans["entity"].isin(rows)]
    shown = inside.head(MAX_SPANS)
    ends_s = float(shown["end_s"].max()) if len(shown) else 0.0
    if len(shown) < len(inside):
        # All that begins before the first span that is left out; beyond it rows would look idle.
        ends_s = float(inside["start_s"].iloc[MAX_SPANS])
    steps = read_table(folder, "steps")
    steps = steps[(steps["step"] > 0) & (steps["time_s"] <= ends_s)]
    return {
        "run_id": run["run_id"],
        "label": _label(run, method, several=material.runs["scenario"].nunique() > 1),
        "rows": rows,
        "activities": {
            str(name): {
                "row": [rows.index(entity) for entity in group["entity"]],
                "start_s": _rounded(group["start_s"]),
                "length_s": _rounded(group["end_s"] - group["start_s"]),
            }
            for name, group in shown.groupby("activity")
        },
        "steps": {"step": steps["step"].tolist(), "time_s": _rounded(steps["time_s"])},
        "end_s": round(ends_s, 6),
        "first_s": round(_readable(shown, ends_s), 6),
        "n_spans": len(shown),
        "note": " ".join(_left_out(len(names), len(inside), len(shown), ends_s)),
    }


def _label(run: pd.Series[Any], method: str, several: bool) -> str:
    parts = [style.task_name(run["scenario"])] if several else []
    parts += [method, run["setting"], f"seed {run['seed']}", run["run_id"]]
    return ", ".join(part for part in parts if part)


def _readable(spans: pd.DataFrame, end_s: float) -> float:
    """Return the time until which the busiest worker has done as many spans as can be read at once."""
    workers = spans[spans["entity"] != "server"]
    last = workers[workers.groupby("entity").cumcount() == READABLE - 1]
    return min(end_s, float(last["end_s"].min())) if len(last) else end_s


def _left_out(n_rows: int, n_inside: int, n_shown: int, end_s: float) -> Iterator[str]:
    if n_rows > MAX_ROWS:
        yield f"The server and the first {MAX_ROWS - 1} of {n_rows - 1:,} workers."
    if n_shown < n_inside:
        yield f"The first {n_shown:,} of {n_inside:,} spans, up to {end_s:,.0f} s."


def _rounded(seconds: pd.Series[float]) -> list[float]:
    return [round(value, 6) for value in seconds.tolist()]

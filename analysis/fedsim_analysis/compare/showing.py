"""A comparison as people read it: cells of text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from fedsim_analysis.compare.comparing import Comparison
from fedsim_analysis.compare.contrasts import LEVEL
from fedsim_analysis.style import method_name
from fedsim_analysis.varied import short_names
from fedsim_analysis.words import UNKNOWN, duration, setting, uncertain

NOT_THERE = ""
"""A setting that a method does not have."""


def cells(found: Comparison, metric: str | None = None) -> pd.DataFrame:
    """Return a comparison with every cell as text, of one metric or of all.

    Headings are short; of one metric those of its numbers are `mean`, `difference` and `ratio`, of all they
    begin with its name. Means beside no baseline stand under the name of the metric alone.
    """
    rows = [
        _row(found, row, [metric] if metric else list(found.metrics), metric is None) for row in _rows(found)
    ]
    return pd.DataFrame(rows)


def _rows(found: Comparison) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in found.table.to_dict("records")]


def _row(found: Comparison, row: dict[str, Any], metrics: list[str], named: bool) -> dict[str, str]:
    shorts = {name: short for short, name in short_names(list(found.axes)).items()}
    told = {"scenario": str(row["scenario"])} if "scenario" in row else {}
    told |= {shorts[name]: _setting(row[name]) for name in found.axes}
    told |= {"method": method_name(row["method"]), "runs": str(row["runs"])}
    for metric in metrics:
        if found.baseline is None:
            told[metric] = _mean(row, metric)
            continue
        before = f"{metric} " if named else ""
        told[f"{before}mean"] = _mean(row, metric)
        told[f"{before}difference"] = _difference(row, metric)
        told[f"{before}ratio"] = _ratio(row, metric)
    return told


def _setting(value: object) -> str:
    return NOT_THERE if value is None or (isinstance(value, float) and math.isnan(value)) else setting(value)


def _mean(row: dict[str, Any], metric: str) -> str:
    missed = row.get(f"{metric}_missed", 0)
    if missed == row["runs"]:
        return f"never in {missed}"
    text = (">= " if missed else "") + _uncertain(row, metric)
    spoken = duration(row[metric]) if metric.endswith("_s") else ""
    best = "best" if row.get(f"{metric}_best", False) else ""
    notes = [note for note in (spoken, f"{missed} missed" if missed else "", best) if note]
    return text + (f" ({', '.join(notes)})" if notes else "")


def _uncertain(row: dict[str, Any], name: str) -> str:
    return uncertain(row[name], (row[f"{name}_high"] - row[f"{name}_low"]) / 2)


def _difference(row: dict[str, Any], metric: str) -> str:
    name = f"{metric}_difference"
    if math.isnan(row[name]):
        return UNKNOWN if not row["baseline"] else "baseline"
    return _uncertain(row, name) + ("*" if row[f"{metric}_p"] < LEVEL else "")


def _ratio(row: dict[str, Any], metric: str) -> str:
    name = f"{metric}_ratio"
    if math.isnan(row[name]):
        return "" if row["baseline"] else UNKNOWN
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")

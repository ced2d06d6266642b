"""What changes of demonstrations do: measured on a real model, published, and simulated, side by side."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from typing import Any

import pandas as pd
from rich import box
from rich.table import Column, Table

from fedsim_analysis.frames import require
from fedsim_analysis.statistics import Estimate, estimate

KEYS = ["change", "per_class", "order"]
READERS = ("small", "large", "very_large")
LIKE: dict[str, str] = {"adversarial": "unranked"}
"""What a change is measured against, where that is not right demonstrations in the same number."""


def published() -> list[dict[str, str]]:
    """Return the published figures: a row each, all cells as they are written."""
    file = files("fedsim.icl.models") / "published_demonstrations.csv"
    return list(csv.DictReader(file.read_text().splitlines()))


def table(measured: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each kind of prompt that was measured or simulated.

    Args:
        measured: one row per draw and kind: `change, per_class, order, draw, accuracy, base` (fractions).
        simulated: one row per task, reader and kind: `task, reader, change, per_class, order, accuracy, base`
            (percent).

    Returns:
        `change, per_class, order, measured, measured_low, measured_high, published`, and for each reader its
        name, `<reader>_low` and `<reader>_high`, the least and the most of the tasks. Numbers are points of
        accuracy against right demonstrations in the same number and order; of "none" and of other numbers of
        right ones, against one a class; of right ones in another order, against any order. Of backdoors they
        are the part of the queries that the trigger leads to the target less the part that goes there without
        it. Bounds of what was measured are those of the 95 % interval over draws.

    Raises:
        InputError: a column is missing.
    """
    require(measured, "measured", [*KEYS, "draw", "accuracy"])
    require(simulated, "simulated", [*KEYS, "task", "reader", "accuracy"])
    by_draw = _effects(
        measured.assign(accuracy=100 * measured["accuracy"], base=100 * _base(measured)), "draw"
    )
    of_tasks = {
        reader: _effects(rows.assign(base=_base(rows)), "task")
        for reader, rows in simulated.groupby("reader")
    }
    known = dict.fromkeys(key for found in (*of_tasks.values(), by_draw) for key in found)
    rows = []
    for key in sorted(known, key=lambda one: (_place(one[0]), one)):
        row: dict[str, object] = dict(zip(KEYS, key, strict=True))
        row |= _of_draws(by_draw.get(key)).columns("measured") | {"published": _said(*key)}
        for reader in READERS:
            values = of_tasks[reader].get(key) if reader in of_tasks else None
            least, mean, most = (
                (math.nan,) * 3 if values is None else (values.min(), values.mean(), values.max())
            )
            row |= {reader: mean, f"{reader}_low": least, f"{reader}_high": most}
        rows.append(row)
    return pd.DataFrame(rows)


def render(rows: pd.DataFrame) -> Table:
    """Return `table` for the terminal."""
    shown = Table(
        *(Column(name) for name in ("change", "a class", "order")),
        Column("measured", justify="right", no_wrap=True),
        Column("published", max_width=40),
        *(Column(reader, justify="right", no_wrap=True) for reader in READERS),
        title="Points of accuracy against right labels; of backdoors, what a trigger adds to its target",
        caption="measured: 95 % interval over draws; readers: mean of six tasks, least and most",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for row in rows.to_dict("records"):
        numbers = [_cell(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in READERS]
        said = _cell(row["measured"], row["measured_low"], row["measured_high"])
        order = "" if row["order"] == "shuffled" else row["order"]
        shown.add_row(row["change"], str(row["per_class"] or ""), order, said, row["published"], *numbers)
    return shown


def _base(rows: pd.DataFrame) -> pd.Series[float]:
    return rows["base"] if "base" in rows else pd.Series(math.nan, index=rows.index)


def _effects(rows: pd.DataFrame, unit: str) -> dict[tuple[str, int, str], pd.Series[float]]:
    """Return what each kind of prompt does, in points, by draw or task."""
    kinds: dict[Any, pd.DataFrame] = {key: group.set_index(unit) for key, group in rows.groupby(KEYS)}
    found = {}
    for (change, per_class, order), group in kinds.items():
        if change.startswith("backdoor"):
            found[change, per_class, order] = group["accuracy"] - group["base"]
            continue
        number = 1 if change == "none" or (change, order) == ("right", "shuffled") else per_class
        in_order = "shuffled" if change == "right" else order
        like = kinds.get((LIKE.get(change, "right"), number, in_order))
        like = kinds.get(("right", number, in_order)) if like is None else like
        if change not in LIKE.values() and like is not None and like is not group:
            found[change, per_class, order] = group["accuracy"] - like["accuracy"]
    return found


def _of_draws(values: pd.Series[float] | None) -> Estimate:
    return estimate([math.nan] if values is None else values)


def _place(change: str) -> int:
    """Return where a change stands in the table."""
    order = ("none", "right", "random_labels", "flipped_labels", "out_of_class", "off_topic", "other_words")
    return order.index(change) if change in order else len(order)


def _said(change: str, per_class: int, order: str) -> str:
    """Return what is published about a kind of prompt, in short."""
    if change == "right":
        change = "order" if order == "by_class" else change
        per_class = 2 if order == "by_class" else per_class
    points = ("drop", "accuracy", "success")
    alike = [row for row in published() if row["change"] == change and row["low"]]
    alike = [row for row in alike if row["quantity"].startswith(points)]
    fitting = [row for row in alike if row["per_class"] in (str(per_class), "")]
    return "; ".join(_in_words(row) for row in fitting if row["per_class"] or len(fitting) == 1)


def _in_words(row: dict[str, str]) -> str:
    low, high = row["low"], row["high"]
    sign = "-" if row["quantity"].startswith("drop") else ""
    value = f"{sign}{low}" if high in ("", low) else f"{sign}{low} to {sign}{high}".replace("-0 ", "0 ")
    beyond = " beyond random labels" if "beyond" in row["quantity"] else ""
    unit = "" if row["unit"] == "points" else " %"
    named = row["quantity"] if not row["quantity"].startswith("drop") else ""
    return f"{named} {value}{unit}{beyond} ({row['model']})".strip()


def _cell(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:+z.1f}" if math.isnan(low) else f"{mean:+z.1f} ({low:+z.1f}, {high:+z.1f})"

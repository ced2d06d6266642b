"""Does a fitted surrogate agree with the real model? On held-out prompts, and in the same run with both.

Left: the loss of prompts that the fit has not seen, by the real model and by the surrogate, with Spearman's
rank correlation and its 95 % interval over prompts. Middle: where the surrogate gives a label a probability,
what probability the real model gives it; the area of a point is its share of the answers. Right: test loss of
one scenario run with the one and with the other; a line is the mean over the seeds, its band the 95 %
interval of the mean where there are several.

Source: ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import require
from analysis.statistics import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("prompts", "ranks", "reliability", "runs", "steps")

_SPLITS = {"train": ("training queries", "#117733", "o"), "test": ("test queries", "#6699CC", "s")}
_ANSWERED = {"real": ("real model", "#000000", "-"), "fitted": ("surrogate", "#117733", "--")}
_LARGEST_POINT = 60.0
_NUMBERS = ("x", "y", "low", "high", "count")


def table(
    prompts: pd.DataFrame,
    ranks: pd.DataFrame,
    reliability: pd.DataFrame,
    runs: pd.DataFrame,
    steps: pd.DataFrame,
) -> pd.DataFrame:
    """Return everything that is drawn: `panel, series, x, y, low, high, count`.

    Args:
        prompts: a row per held-out prompt, with `split`, `loss_real` and `loss_fitted`.
        ranks: a row per split, predictor, quantity and measure, with `value`, `low`, `high` and `prompts`.
        reliability: a row per split, predictor and bin, with `predicted`, `real` and `answers`.
        runs: a row per run, with `run_id` and `answered` ("real" or "fitted").
        steps: a row per server step, with `run_id`, `step` and `loss` (null where not evaluated).

    Returns:
        In panel "prompts" `x` is the real and `y` the surrogate's loss; in "ranks" `y` is the correlation; in
        "reliability" `x` is the predicted and `y` the real probability of `count` answers; in "curves" `x` is
        the server step and `y` the mean loss over `count` runs.

    Raises:
        InputError: a table is empty or lacks a column.
    """
    require(prompts, "prompts", ["split", "loss_real", "loss_fitted"])
    require(ranks, "ranks", ["split", "predictor", "quantity", "measure", "value", "low", "high", "prompts"])
    require(reliability, "reliability", ["split", "predictor", "predicted", "real", "answers"])
    require(runs, "runs", ["run_id", "answered"])
    require(steps, "steps", ["run_id", "step", "loss"])
    drawn = ranks[
        (ranks["predictor"] == "fitted") & (ranks["quantity"] == "loss") & (ranks["measure"] == "spearman")
    ]
    bins = reliability[reliability["predictor"] == "fitted"]
    parts = {
        "prompts": _renamed(prompts, series="split", x="loss_real", y="loss_fitted"),
        "ranks": _renamed(drawn, series="split", y="value", low="low", high="high", count="prompts"),
        "reliability": _renamed(bins, series="split", x="predicted", y="real", count="answers"),
        "curves": _curves(runs, steps),
    }
    columns = ["panel", "series", *_NUMBERS]
    return pd.concat([part.assign(panel=name)[columns] for name, part in parts.items()], ignore_index=True)


def figure(
    prompts: pd.DataFrame,
    ranks: pd.DataFrame,
    reliability: pd.DataFrame,
    runs: pd.DataFrame,
    steps: pd.DataFrame,
) -> Figure:
    """Draw `table`: three panels side by side."""
    rows = table(prompts, ranks, reliability, runs, steps)
    parts = dict(iter(rows.groupby("panel")))
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN, 2.4), layout="constrained")
        left, middle, right = picture.subplots(1, 3)
        _prompts(left, parts["prompts"], parts["ranks"])
        _reliability(middle, parts["reliability"])
        _runs(right, parts["curves"])
    return picture


def _renamed(table: pd.DataFrame, series: str, **numbers: str) -> pd.DataFrame:
    """Return `series` and `_NUMBERS`, each from the column that is named for it; NaN without a name."""
    columns = {
        name: table[numbers[name]].astype(float) if name in numbers else float("nan") for name in _NUMBERS
    }
    return pd.DataFrame({"series": table[series], **columns})


def _curves(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    evaluated = steps[["run_id", "step", "loss"]].dropna().merge(runs[["run_id", "answered"]], on="run_id")
    rows = []
    for (answered, step), group in evaluated.groupby(["answered", "step"]):
        found = estimate(group["loss"])
        rows.append(
            {"series": answered, "x": step, "y": found.mean, "low": found.low, "high": found.high}
            | {"count": found.count}
        )
    return pd.DataFrame(rows, columns=["series", *_NUMBERS])


def _prompts(axes: Axes, rows: pd.DataFrame, ranks: pd.DataFrame) -> None:
    for split, (label, colour, marker) in _SPLITS.items():
        points, found = rows[rows["series"] == split], ranks[ranks["series"] == split]
        if points.empty:
            continue
        (rank,) = found.itertuples()
        text = f"{label}: $\\rho$ = {rank.y:.2f} ({rank.low:.2f} to {rank.high:.2f})"
        axes.scatter(points["x"], points["y"], s=6, marker=marker, color=colour, alpha=0.6, label=text)
    _diagonal(axes, min(rows["x"].min(), rows["y"].min()), max(rows["x"].max(), rows["y"].max()))
    axes.set_xlabel("Loss of a held-out prompt, real model")
    axes.set_ylabel("Loss by the surrogate")
    _legend_above(axes)


def _reliability(axes: Axes, rows: pd.DataFrame) -> None:
    for split, (label, colour, marker) in _SPLITS.items():
        points = rows[rows["series"] == split]
        if points.empty:
            continue
        area = _LARGEST_POINT * points["count"] / points["count"].max()
        axes.plot(points["x"], points["y"], color=colour, linewidth=0.8)
        axes.scatter(points["x"], points["y"], s=area, marker=marker, color=colour, alpha=0.7, label=label)
    _diagonal(axes, 0, 1)
    axes.set_xlabel("Probability by the surrogate")
    axes.set_ylabel("Mean probability, real model")
    _legend_above(axes)


def _runs(axes: Axes, rows: pd.DataFrame) -> None:
    for answered, (label, colour, line) in _ANSWERED.items():
        points = rows[rows["series"] == answered]
        axes.plot(points["x"], points["y"], color=colour, linestyle=line, label=label)
        axes.fill_between(points["x"], points["low"], points["high"], color=colour, alpha=0.18, linewidth=0)
    axes.set_xlabel("Server iterations")
    axes.set_ylabel("Test cross-entropy")
    axes.set_xlim(left=0)
    axes.grid()
    _legend_above(axes)


def _diagonal(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.grid()


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)

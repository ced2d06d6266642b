"""What agreement is worth: test accuracy against how alike the workers' data are, with and without exchange.

In every method a worker is measured with words of its own, so that all are measured alike; cenDBT's are those
of its one machine. Left the means over seeds, right what each gains over local tuning without exchange (the
variant `local`), paired by seed; whiskers are 95 % t intervals. A hollow point marks runs of which half or
more did not meet their constraint, h <= epsilon.

Source: ours; Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated
visual classification", 2019, section 3, for class proportions drawn from a Dirichlet distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from fedsim_analysis import style, sweeps
from fedsim_analysis.frames import require
from fedsim_analysis.statistics import estimate, paired_differences
from fedsim_analysis.varied import check_averaged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs",)

LOCAL = "local"
"""The variant that the others are compared with."""

_ALPHA = "problem.dirichlet_alpha"
_APART = 0.035
"""The distance between neighbouring lines, as a share of a decade."""
_NEEDED = f"a variant {LOCAL!r} beside others, and {_ALPHA} that varies"


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method and Dirichlet alpha.

    Args:
        runs: one row per run; `problem.dirichlet_alpha` varies, and a variant is called ``local``.

    Returns:
        `method, alpha, runs`; `accuracy_percent` of own words and `gain_points` over local tuning, each with
        its `_low` and `_high` (no gain for local tuning itself); `constraint_met`, the share of the runs that
        did, and `consensus_gap`, its mean.

    Raises:
        InputError: no scenario has what is needed, or two runs share method, alpha and seed.
    """
    require(runs, "runs", ["accuracy", "consensus_gap"])
    runs = sweeps.only_scenario(runs, _fits, _NEEDED)
    runs = runs.assign(
        alpha=runs[_ALPHA].astype(float), accuracy_percent=100 * runs["accuracy"].astype(float)
    )
    check_averaged(runs, ["method", "alpha"])
    if "constraint_met" not in runs:
        runs = runs.assign(constraint_met=float("nan"))
    rows = []
    for method in style.methods_in_order(runs["method"]):
        for alpha, group in runs[runs["method"] == method].groupby("alpha"):
            local = runs[(runs["method"] == LOCAL) & (runs["alpha"] == alpha)]
            cells: dict[str, object] = {"method": method, "alpha": alpha, "runs": len(group)}
            cells |= estimate(group["accuracy_percent"]).columns("accuracy_percent")
            if method != LOCAL:
                ours, theirs = (one.set_index("seed")["accuracy_percent"] for one in (group, local))
                cells |= paired_differences(ours, theirs).columns("gain_points")
            cells["constraint_met"] = group["constraint_met"].astype(float).mean()
            cells["consensus_gap"] = group["consensus_gap"].astype(float).mean()
            rows.append(cells)
    return pd.DataFrame(rows)


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs)
    looks = style.methods(rows["method"])
    with style.look():
        picture = Figure(figsize=(style.PAGE_IN * 0.72, 2.4), layout="constrained")
        accuracy, gain = picture.subplots(1, 2)
        for number, (name, look) in enumerate(looks.items()):
            points = rows[rows["method"] == name]
            places = points["alpha"] * 10 ** (_APART * (number - 0.5 * (len(looks) - 1)))
            _line(accuracy, places, points, "accuracy_percent", look)
            if name != LOCAL:
                _line(gain, places, points, "gain_points", look)
        gain.axhline(0, color=looks[LOCAL].colour, linestyle=looks[LOCAL].line, linewidth=0.9)
        accuracy.set_ylabel("Test accuracy, own words (%)")
        gain.set_ylabel("Gain over local tuning (points)")
        for panel in (accuracy, gain):
            panel.set_xscale("log")
            values = sorted(rows["alpha"].unique())
            panel.set_xticks(values, [f"{value:g}" for value in values])
            panel.minorticks_off()
            panel.grid(axis="y")
            panel.set_xlabel("Dirichlet $\\alpha$ (small: unlike data)")
        picture.legend(*accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=len(looks))
    return picture


def _fits(runs: pd.DataFrame) -> bool:
    return LOCAL in set(runs["method"]) and bool(sweeps.varying(runs, _ALPHA.replace(".", r"\.")))


def _line(axes: Axes, places: pd.Series[float], points: pd.DataFrame, name: str, look: style.Method) -> None:
    low, high = points[name] - points[f"{name}_low"], points[f"{name}_high"] - points[name]
    settings: dict[str, Any] = {"color": look.colour, "marker": "o", "markersize": 3}
    axes.errorbar(
        places, points[name], [low, high], **settings, linestyle=look.line, label=look.label, elinewidth=0.7
    )
    unmet = points["constraint_met"] <= 0.5
    axes.plot(places[unmet], points[name][unmet], **settings, linestyle="", markerfacecolor="white", zorder=3)

"""A Q-Q plot of measured delays against the laws fitted to them; `fedsim fit-latency` draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from fedsim.errors import InputError
from fedsim.whole_files import check_file, write_whole
from fedsim_analysis import style

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A date or a maker would make the same picture differ from one time to the next.
METADATA: dict[str, dict[str, str | None]] = {
    ".pdf": {"CreationDate": None, "Producer": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}

PANELS_A_ROW = 3
LARGEST_LINEAR = 10
"""How many times the least delay the largest one is at most on linear axes."""


def table(delays_s: Floats, quantiles_s: Mapping[str, Callable[[Floats], Floats]]) -> pd.DataFrame:
    """Return the points of the plot: `probability`, `measured`, and a column of seconds per law.

    The i-th least of n delays stands at the probability (i - 0.5) / n.

    Source: Hazen's plotting positions; Wilk and Gnanadesikan, "Probability plotting methods for the analysis
    of data", Biometrika, 1968.
    """
    probabilities = (np.arange(len(delays_s)) + 0.5) / len(delays_s)
    laws = {name: quantiles(probabilities) for name, quantiles in quantiles_s.items()}
    return pd.DataFrame({"probability": probabilities, "measured": np.sort(delays_s), **laws})


def figure(delays_s: Floats, quantiles_s: Mapping[str, Callable[[Floats], Floats]]) -> Figure:
    """Draw measured delays (up) against the quantiles of each law (across), one panel per law.

    Points on the line agree; the axes are logarithmic where the delays differ by more than ten times. They
    show what was measured and a little more: a law may be far off. The panels are in the order of
    `quantiles_s`, in rows of three.
    """
    points = table(delays_s, quantiles_s)
    ends_s = float(points["measured"].iloc[0]), float(points["measured"].iloc[-1])
    scale = "log" if ends_s[1] > LARGEST_LINEAR * ends_s[0] else "linear"
    with style.look():
        rows = math.ceil(len(quantiles_s) / PANELS_A_ROW)
        columns = min(len(quantiles_s), PANELS_A_ROW)
        picture = Figure(figsize=(style.PAGE_IN, 2.1 * rows), layout="constrained")
        panels = picture.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(quantiles_s) :]:
            axes.remove()
        for axes, name in zip(panels.flat, quantiles_s, strict=False):
            axes.plot(ends_s, ends_s, color="#999999", linewidth=0.6)
            axes.plot(
                points[name],
                points["measured"],
                color=style.ACTIVITIES["calling"].colour,
                marker="o",
                markersize=2,
                linestyle="none",
            )
            axes.set(title=name, xscale=scale, yscale=scale)
            axes.set(xlim=_around(ends_s, scale), ylim=_around(ends_s, scale))
        picture.supxlabel("Quantile of the law (s)", fontsize="medium")
        picture.supylabel("Measured delay (s)", fontsize="medium")
        if scale == "log":  # shared: one axis of each direction stands for all
            for axis in (panels[0, 0].xaxis, panels[0, 0].yaxis):
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(NullFormatter())
    return picture


def _around(ends_s: tuple[float, float], scale: str) -> tuple[float, float]:
    """Return the limits of an axis: the ends, and a twelfth of what is between them on both sides."""
    low, high = ends_s
    if scale == "log":
        factor = (high / low) ** (1 / 12)
        return low / factor, high * factor
    margin = (high - low) / 12
    return low - margin, high + margin


def check(output: Path) -> None:
    """Find out whether a picture can be written under a name.

    Raises:
        InputError: the name ends otherwise, or the file cannot be written.
    """
    if output.suffix not in METADATA:
        known = ", ".join(METADATA)
        raise InputError(f"cannot write {output}: expected a name that ends in one of {known}")
    check_file(output)


def save(picture: Figure, output: Path) -> None:
    """Write a picture, whole or not at all, in the format that its name ends in.

    Raises:
        InputError: the name ends otherwise, or the file cannot be written.
    """
    check(output)
    drawn = BytesIO()
    with style.look():
        picture.savefig(drawn, format=output.suffix[1:], dpi=style.PNG_DPI, metadata=METADATA[output.suffix])
    write_whole(output, drawn.getvalue())

"""Fits as a person reads them: how they compare, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedsim.terminal import plain_table
from fedsim_analysis.fitting.latency.held import Landmarks, measured, told, worst

if TYPE_CHECKING:
    from rich.table import Table

    from fedsim_analysis.fitting.latency.compare import LawFit
    from fedsim_analysis.fitting.latency.single import Floats


def comparison(fits: list[LawFit], delays_s: Floats) -> Table:
    """Return one row per law, in the order of the fits, and one for what was measured: at most 80 columns.

    Seconds; `most off` is the landmark that a law misses most, and by how much.
    """
    table = plain_table()
    table.add_column("law")
    for name in ("AIC", *(f"{name} s" for name in Landmarks._fields), "most off"):
        table.add_column(name, justify="right")
    for fit in fits:
        miss = worst(fit.delay, delays_s)
        off = f"{miss.landmark} {miss.share:+.0%}" if abs(miss.share) < 10 else f"{miss.landmark} > 10x"
        table.add_row(fit.name, f"{fit.aic:.1f}", *(f"{time:.4g}" for time in told(fit.delay)), off)
    table.add_row("measured", "", *(f"{time:.4g}" for time in measured(delays_s)), "")
    return table

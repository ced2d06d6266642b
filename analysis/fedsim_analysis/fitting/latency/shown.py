"""Fits as a person reads them: how they compare, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

if TYPE_CHECKING:
    from fedsim.timing.traces import FailureCounts
    from fedsim_analysis.fitting.latency.compare import LawFit
    from fedsim_analysis.fitting.latency.single import Floats

SHOWN_PROBABILITIES = (0.5, 0.9, 0.99)


def counted(n_requests: int, failures: FailureCounts) -> str:
    """Say how many requests were measured, and how many of them failed with which answer."""
    if not failures.total:
        return f"{n_requests} requests, none failed"
    return (
        f"{n_requests} requests, {failures.total} failed ({failures.total / n_requests:.1%}): "
        f"{failures.too_many_requests} with 429, {failures.server_errors} with 5xx, {failures.other} others"
    )


def comparison(fits: list[LawFit], delays_s: Floats) -> Table:
    """Return one row per law, the best first, and one for what was measured."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("law")
    for name in ("AIC", "above best", "log-likelihood", "mean s"):
        table.add_column(name, justify="right")
    for probability in SHOWN_PROBABILITIES:
        table.add_column(f"{probability:.0%} s", justify="right")
    probabilities = np.array(SHOWN_PROBABILITIES)
    for fit in fits:
        times_s = [fit.delay.mean_value_s, *fit.delay.law().ppf(probabilities)]
        scores = [fit.aic, fit.aic - fits[0].aic, fit.log_likelihood]
        table.add_row(fit.name, *(f"{score:.1f}" for score in scores), *(f"{time:.4g}" for time in times_s))
    measured_s = [delays_s.mean(), *np.quantile(delays_s, probabilities)]
    table.add_row("measured", "", "", "", *(f"{time:.4g}" for time in measured_s))
    return table

"""Commands that read measured traces: check them, and fit laws to measured latencies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.options import announce
from fedsim.errors import InputError, nearest
from fedsim.terminal import say, show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TIMES = ("ttft_s", "end_to_end_s")


def check_trace(
    files: Annotated[list[Path], typer.Argument(help="Traces (CSV or Parquet).", show_default=False)],
    kind: Annotated[
        str | None, typer.Option("--as", metavar="FORMAT", help="Expect this format; else by its columns.")
    ] = None,
) -> None:
    """Check traces and tell what they hold: availability, devices, requests or arrivals."""
    from fedsim.timing.traces import read_trace

    for file in files:
        trace = read_trace(file, kind)
        say(f"{file}: a trace of {trace.kind}, {len(trace)} rows, {trace.span()}: fine")


def fit_latency(
    file: Annotated[Path, typer.Argument(help="A trace of requests (CSV or Parquet).", show_default=False)],
    column: Annotated[str, typer.Option(help="Which time to fit: end_to_end_s or ttft_s.")] = "end_to_end_s",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Q-Q plot to write: .pdf, .png or .svg.")
    ] = None,
) -> None:
    """Fit laws to measured latencies; the best good one, or the trace, comes as a line for a scenario."""
    if column not in TIMES:
        raise InputError(f"no column of times {column!r}{nearest(column, TIMES)} (known: {', '.join(TIMES)})")
    from fedsim.timing.traces import Requests
    from fedsim.timing.traces.formats import read_as
    from fedsim_analysis.fitting.latency import comparison, counted, fit_all, remarks, verdict

    if output is not None:
        from fedsim_analysis.drawing import ready

        ready()
        from fedsim_analysis import latency_fit

        latency_fit.check(output)
    requests = read_as(file, Requests)
    delays_s: NDArray[np.float64] = getattr(requests.succeeded(), column)
    say(f"{file}: {counted(len(requests), requests.failures())}")
    try:
        fits = fit_all(delays_s)
    except InputError as error:
        raise InputError(f"{file}, column {column!r}: {error}") from error
    show(comparison(fits, delays_s))
    if output is not None:
        quantiles_s = {fit.name: fit.delay.law().ppf for fit in fits}
        latency_fit.save(latency_fit.figure(delays_s, quantiles_s), output)
        announce(output, str(output))
    found = verdict(fits, delays_s, file, column)
    for remark in remarks(delays_s, found.neighbours, found.blocks):
        say(remark)
    say(f"{found.reason}; in the scenario:")
    say(found.line)

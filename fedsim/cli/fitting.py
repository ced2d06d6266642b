"""Commands that read measured traces: check them, and fit laws to measured latencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedsim.cli.options import announce
from fedsim.errors import InputError, nearest
from fedsim.terminal import say, show


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
    file: Annotated[Path, typer.Argument(help="A table with times (CSV or Parquet).", show_default=False)],
    column: Annotated[
        str | None,
        typer.Option(help="Where the times are; end_to_end_s, or the only column of numbers, if not given."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Of the times: s, ms or us; by the name of the column (latency_ms) if not given."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Q-Q plot to write: .pdf, .png or .svg.")
    ] = None,
) -> None:
    """Fit laws to measured latencies; the best good one, or the trace, comes as a line for a scenario."""
    from fedsim.timing.traces.latencies import SECONDS, read_latencies
    from fedsim_analysis.fitting.latency import comparison, fit_all, remarks, verdict

    if unit is not None and unit not in SECONDS:
        raise InputError(f"--unit: found {unit!r}{nearest(unit, SECONDS)} (units: {', '.join(SECONDS)})")
    if output is not None:
        from fedsim_analysis.drawing import ready

        ready()
        from fedsim_analysis import latency_fit

        latency_fit.check(output)
    found = read_latencies(file, column, unit)
    delays_s = found.delays_s
    named = "" if found.column == "end_to_end_s" else f", times of {found.column!r} in {found.unit}"
    say(f"{file}: {found.spoken()}{named}")
    if doubt := found.doubt():
        say(f"fedsim: note: {doubt}", err=True)
    try:
        fits = fit_all(delays_s)
    except InputError as error:
        raise InputError(f"{file}, column {found.column!r}: {error}") from error
    show(comparison(fits, delays_s))
    if output is not None:
        quantiles_s = {fit.name: fit.delay.law().ppf for fit in fits}
        latency_fit.save(latency_fit.figure(delays_s, quantiles_s), output)
        announce(output, str(output))
    told = verdict(fits, delays_s, file, found.column, found.unit)
    for remark in remarks(delays_s, told.neighbours, told.blocks):
        say(remark)
    say(f"{told.reason}; in the scenario:")
    say(told.line)

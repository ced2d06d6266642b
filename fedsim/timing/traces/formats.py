"""The formats by their names, and reading a file as the trace that its columns belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from fedsim.errors import InputError, nearest
from fedsim.timing.traces.arrivals import Arrivals
from fedsim.timing.traces.availability import ObservedAvailability
from fedsim.timing.traces.base import MeasuredTrace
from fedsim.timing.traces.cells import Cells, cells_of, read_cells, values
from fedsim.timing.traces.devices import Devices
from fedsim.timing.traces.requests import Requests

FORMATS: dict[str, type[MeasuredTrace]] = {
    trace.kind: trace for trace in (ObservedAvailability, Devices, Requests, Arrivals)
}

AnyTrace = TypeVar("AnyTrace", bound=MeasuredTrace)


def read_trace(file: Path, kind: str | None = None) -> MeasuredTrace:
    """Read a CSV or Parquet file as the trace that it is, or as one of a `kind`.

    Raises:
        InputError: the kind is unknown, or the file is no correct trace; one sentence with the place.
    """
    if kind is not None and kind not in FORMATS:
        raise InputError(f"no trace format {kind!r}{nearest(kind, FORMATS)} (known: {', '.join(FORMATS)})")
    cells = read_cells(file)
    return _checked(cells, FORMATS[kind] if kind else format_of(cells.header, str(file)))


def read_as(file: Path, trace: type[AnyTrace]) -> AnyTrace:
    """Read a file as a trace of one format, such as `Requests`.

    Raises:
        InputError: the file is no correct trace of it; one sentence with the place.
    """
    return _checked(read_cells(file), trace)


def parse_as(csv: str, trace: type[AnyTrace]) -> AnyTrace:
    """Read the text of a CSV file as a trace of one format.

    Raises:
        InputError: it is no correct trace of it; one sentence with the place.
    """
    return _checked(cells_of(csv), trace)


def format_of(header: list[str], place: str) -> type[MeasuredTrace]:
    """Return the format that a header fits best: with the fewest columns too many or too few.

    Raises:
        InputError: it lacks most columns of that format too, or fits two formats equally.
    """
    own = {
        trace: {column.name for column in trace.columns if not column.optional or column.name in header}
        for trace in FORMATS.values()
    }
    strange = {trace: len(names ^ set(header)) for trace, names in own.items()}
    least = min(strange.values())
    best = [trace for trace, count in strange.items() if count == least]
    if len(best) > 1 or 2 * len(own[best[0]] & set(header)) < len(own[best[0]]):
        formats = "; ".join(f"{trace.kind}: {_names(trace)}" for trace in FORMATS.values())
        raise InputError(f"{place}: the columns {', '.join(header)} fit no format of a trace ({formats})")
    return best[0]


def _checked(cells: Cells, trace: type[AnyTrace]) -> AnyTrace:
    names = [column.name for column in trace.columns]
    absent = [column for column in trace.columns if column.name not in cells.header]
    missing = [column.name for column in absent if not column.optional]
    of_it = f"(a trace of {trace.kind} has the columns {_names(trace)})"
    for name in cells.header:
        if name not in names:
            likely = nearest(name, [column.name for column in absent])
            raise InputError(f"{cells.file}: unknown column {name!r}{likely} {of_it}")
    if missing:
        raise InputError(f"{cells.file}: no column {missing[0]!r} {of_it}")
    table = {column.name: values(cells, column) for column in trace.columns if column not in absent}
    trace.check(table, cells.place)
    return trace(**table)


def _names(trace: type[MeasuredTrace]) -> str:
    return ", ".join(
        f"{column.name} (optional)" if column.optional else column.name for column in trace.columns
    )

"""Files of trace events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from fedsim.whole_files import whole
from fedsim_analysis.trace_events.events import Event, events
from fedsim_analysis.trace_events.tables import read

EVENTS_PER_LINE = 1000


def write(folders: Sequence[Path], file: Path, tell: Callable[[Path, int], None]) -> None:
    """Write the trace events of some runs as one JSON object, whole or not at all.

    Args:
        folders: run folders; their machines stand below each other in the viewer.
        file: where to.
        tell: called now and then with the folder at work and the number of events just written.

    Raises:
        InputError: a run kept no spans, or is too long for a trace; or the file cannot be written, and one
            that was there before stays as it was.
        ResultsError: a folder is damaged.
    """
    encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
    with whole(file) as out:
        out.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        comma = "\n"
        for folder, stream in _streams(folders):
            while some := list(islice(stream, EVENTS_PER_LINE)):
                # Several at once: an encoder takes about as long to set up as for an event.
                out.write((comma + encode(some)[1:-1]).encode())
                comma = ",\n"
                tell(folder, len(some))
        out.write(b"\n]}\n")


def _streams(folders: Sequence[Path]) -> Iterator[tuple[Path, Iterator[Event]]]:
    """Yield each folder with its events; no two runs share a process, a track or an arrow."""
    machines = arrows = 0
    for folder in folders:
        run = read(folder)
        yield folder, events(run, machines, arrows)
        machines += len(run.workers) + 1
        arrows += len(run.tickets)

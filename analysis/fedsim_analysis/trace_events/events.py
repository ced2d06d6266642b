"""The events of the trace-event format.

Source: "Trace Event Format", Google, 2016: complete (X), flow (s, f), counter (C) and metadata (M) events.
Perfetto departs from it in three ways, and the events are such that both readings give the same picture: it
names a track by its `tid` alone, so no two tracks of a file share one; process 0 is its own; and it binds an
arrow to the slice that began last on the track, not to the one around the arrow's instant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim.timing.activities import Activity
from fedsim_analysis.trace_events.slices import LEAVES, SLICE, nanoseconds, rows, waiting_tickets
from fedsim_analysis.trace_events.tables import SERVER, Tables

Event = dict[str, Any]

APART = 100
"""Machine m is process 100 (m + 1); the numbers that follow are its tracks."""

AT_ONCE = 10_000
"""Rows turned into Python's numbers at a time."""


def events(run: Tables, first_machine: int = 0, first_arrow: int = 0) -> Iterator[Event]:
    """Yield the events of a run: names first, then in order of simulated time, in microseconds.

    Args:
        run: its tables.
        first_machine: how many machines came before in the same file.
        first_arrow: how many arrows came before in the same file.
    """
    table = rows(run)
    table["pid"] = APART * (first_machine + table.machine + 1)
    yield from _names(run, table, first_machine)
    server = APART * (first_machine + SERVER + 1)
    yield from heapq.merge(
        _on_tracks(run, table, first_arrow), *_counters(run, server), key=lambda event: float(event["ts"])
    )


def _names(run: Tables, table: pd.DataFrame, first_machine: int) -> Iterator[Event]:
    for machine in range(len(run.workers) + 1):
        pid = APART * (first_machine + machine + 1)
        name = "server" if machine == SERVER else f"worker {machine - 1}"
        yield _named("process_name", pid, pid, name=f"{run.label}: {name}")
        yield _named("process_sort_index", pid, pid, sort_index=first_machine + machine)
    tracks = table[["pid", "activity"]].drop_duplicates().sort_values(["pid", "activity"])
    for pid, activity in tracks.itertuples(index=False, name=None):
        yield _named("thread_name", pid, _track(pid, activity), name=run.labels[activity])
        yield _named("thread_sort_index", pid, _track(pid, activity), sort_index=activity)


def _named(what: str, pid: int, tid: int, **args: Any) -> Event:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": args}


def _track(pid: int, activity: int) -> int:
    return pid + 1 + activity


def _on_tracks(run: Tables, table: pd.DataFrame, first_arrow: int) -> Iterator[Event]:
    """Yield slices and arrows; an arrow has the number of its ticket."""
    said = run.tickets[["kind", "step", "staleness", "job"]]
    for start in range(0, len(table), AT_ONCE):
        some = table.iloc[start : start + AT_ONCE]
        # -1, no ticket, has no row: whatever comes in its place is not looked at.
        about = said.reindex(some.ticket).to_dict("list")
        columns = ("what", "pid", "activity", "at_ns", "lasts_ns", "ticket", "count")
        for what, pid, activity, at_ns, lasts_ns, ticket, count, *words in zip(
            *(some[column].tolist() for column in columns), *about.values(), strict=True
        ):
            place = {"ts": at_ns / 1000, "pid": pid, "tid": _track(pid, activity)}
            if what != SLICE:
                end = {"ph": "s"} if what == LEAVES else {"ph": "f", "bp": "e"}
                yield {"name": "ticket", "cat": "ticket", "id": first_arrow + ticket + 1, **end, **place}
                continue
            slice_ = {
                "name": run.labels[activity],
                "cat": "activity",
                "ph": "X",
                **place,
                "dur": lasts_ns / 1000,
            }
            yield slice_ | {"args": _told(activity, count, *words)} if ticket >= 0 else slice_


def _told(activity: int, count: int, kind: str, step: float, staleness: float, job: float) -> Event:
    """Return what a viewer tells of an upload, a server step, or an interlude with drained tickets."""
    if activity == Activity.UPLOADING.value:
        return {"job": int(job), "taken": kind, "step": int(step), "staleness": int(staleness)}
    return {"after_step" if kind == "drained" else "step": int(step), kind: count}


def _counters(run: Tables, pid: int) -> Iterator[Iterator[Event]]:
    """Yield one stream of events per counter; all are the server's."""
    at_ns, steps = nanoseconds(run.steps.time_s), run.steps
    yield _counter("active set", pid, at_ns, tickets=steps.active)
    yield _counter("staleness", pid, at_ns, mean=steps.staleness_mean, max=steps.staleness_max)
    came, taken = waiting_tickets(run)
    times, level = levels(came, taken)
    yield _counter("tickets at the server", pid, times, waiting=level)
    calls = run.spans[run.spans.activity == Activity.CALLING.value]
    times, level = levels(nanoseconds(calls.start_s), nanoseconds(calls.end_s))
    yield _counter("workers calling the LLM", pid, times, workers=level)
    if run.queue is not None:
        yield from _queues(run.queue, pid)


def _queues(queue: pd.DataFrame, pid: int) -> Iterator[Iterator[Event]]:
    """Yield one stream of events per LLM service: how many calls wait there, and how many are answered."""
    services = queue.service.unique()
    for service in services:
        mine = queue[queue.service == service]
        # Of what happens at one instant only the outcome is seen.
        mine = mine[~pd.Series(nanoseconds(mine.time_s), mine.index).duplicated(keep="last")]
        name = "LLM queue" if len(services) == 1 else f"LLM queue {service}"
        yield _counter(name, pid, nanoseconds(mine.time_s), queued=mine.queued, serving=mine.serving)


def levels(up: NDArray[np.int64], down: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when a count changes (ns, with time 0 first) and the count from then on.

    Args:
        up: when it grows by one.
        down: when it falls by one. Of what happens at one instant only the sum is seen.
    """
    times, place = np.unique(np.concatenate([[0], up, down]).astype(np.int64), return_inverse=True)
    change = np.zeros(len(times), dtype=np.int64)
    np.add.at(change, place[1:], np.repeat([1, -1], [len(up), len(down)]))
    keep = (change != 0) | (times == 0)
    return times[keep], change.cumsum()[keep]


def _counter(name: str, pid: int, at_ns: NDArray[np.int64], **series: Any) -> Iterator[Event]:
    values = (np.asarray(values).tolist() for values in series.values())
    for at, *now in zip(at_ns.tolist(), *values, strict=True):
        args = dict(zip(series, now, strict=True))
        yield {"name": name, "ph": "C", "ts": at / 1000, "pid": pid, "args": args}

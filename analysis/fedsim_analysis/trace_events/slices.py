"""The stretches and arrows of a run, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim.timing.activities import Activity
from fedsim_analysis.trace_events.tables import SERVER, Tables

SLICE, LEAVES, LANDS = range(3)
"""What a row of `rows` is: a stretch of an activity, or one of the two ends of an arrow."""

# Eight places a step: its uploads, where their arrows leave, the step, where they land; then the same for
# the interlude after it.
PLACES = 8

COLUMNS = ["what", "machine", "activity", "start_s", "end_s", "ticket", "count", "turn"]
"""Of `rows`, before they are in order."""


def nanoseconds(seconds: Any) -> NDArray[np.int64]:
    """Return instants (s) in whole nanoseconds: what the viewers count in."""
    return np.rint(np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64)


def landings(run: Tables) -> pd.DataFrame:
    """Return one row per server step and per interlude that took tickets of other jobs than its own.

    Its columns: kind, step; `first` and `count`, its tickets; `span`, the number of the server's span, or -1
    where it took no time; `start_s` of that span; `taken_s`, when its tickets left the inbox.
    """
    found = run.tickets.reset_index(names="ticket").groupby(["step", "kind"], as_index=False)
    table = found.agg(first=("ticket", "min"), count=("ticket", "size"), last_s=("finish_s", "max"))
    table["machine"] = SERVER
    table["at_s"] = run.steps.set_index("step").time_s.reindex(table.step).to_numpy()
    drained = table.kind == "drained"
    spans = np.where(
        drained,
        _span_at(run.spans, table, run.interlude, "start_s"),
        _span_at(run.spans, table, Activity.STEPPING, "end_s"),
    )
    # Of interludes that begin at one instant, only the last can be the one that lasts.
    table["span"] = np.where(table.duplicated(["kind", "at_s"], keep="last"), -1, spans)
    table["start_s"] = table.at_s.where(table.span < 0, run.spans.start_s.reindex(table.span).to_numpy())
    # A step takes all its tickets when it begins, an interlude when the last has come to its barrier.
    table["taken_s"] = table.start_s.where(~drained, np.maximum(table.at_s, table.last_s))
    return table


def rows(run: Tables) -> pd.DataFrame:
    """Return everything that has a place on a track, in order of time.

    Its columns: `what`; `machine` and `activity`, the track; `at_ns`, `lasts_ns`; `ticket`, the first ticket
    it belongs to, or -1; `count` of them. Uploads and steps that took no time are slices of no length, so
    that every arrow has both its ends. At one instant, an arrow follows the slice it belongs to, and what
    belongs to a later step comes later.
    """
    arrivals = landings(run)
    tickets = _uploads(run, arrivals)
    lands_on = _landing_track(run, tickets)
    uploads = tickets.assign(activity=Activity.UPLOADING.value, turn=_turn(tickets, 0))
    steps = arrivals.assign(
        activity=_landing_track(run, arrivals), turn=_turn(arrivals, 2), ticket=arrivals["first"]
    )
    leave = uploads.assign(what=LEAVES, turn=uploads.turn + 1)
    land = uploads.assign(
        what=LANDS, turn=uploads.turn + 3, machine=SERVER, activity=lands_on, start_s=tickets.taken_s
    )

    known = pd.concat([uploads, steps], ignore_index=True)
    lasting = known[known.span >= 0].set_index("span")[["ticket", "count", "turn"]]
    slices = [run.spans.join(lasting).assign(what=SLICE), known[known.span < 0].assign(what=SLICE)]
    parts = [part.reindex(columns=COLUMNS) for part in (*slices, leave, land)]
    return _in_order(pd.concat(parts, ignore_index=True))


def _turn(table: pd.DataFrame, place: int) -> pd.Series[int]:
    return PLACES * table.step + PLACES // 2 * (table.kind == "drained") + place


def _uploads(run: Tables, arrivals: pd.DataFrame) -> pd.DataFrame:
    """Return the tickets with the `span` of their upload or -1, its `start_s`, and when they were taken."""
    tickets = run.tickets.assign(at_s=run.tickets.finish_s, ticket=run.tickets.index, count=1)
    upload = _span_at(run.spans, tickets, Activity.UPLOADING, "end_s")
    began_s = run.spans.start_s.reindex(upload).to_numpy()
    # An earlier job's upload may end where a job begins that takes no time.
    found = began_s >= tickets.start_s
    return tickets.assign(
        span=np.where(found, upload, -1),
        start_s=np.where(found, began_s, tickets.finish_s),
        taken_s=np.repeat(arrivals.taken_s.to_numpy(), arrivals["count"]),
    )


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return what `rows` does of a table in seconds."""
    at_ns = nanoseconds(table.start_s)
    placed = pd.DataFrame(
        {
            **{name: table[name].astype("int64") for name in ("what", "machine", "activity")},
            "at_ns": at_ns,
            # Only what comes from a span lasts.
            "lasts_ns": nanoseconds(table.end_s.fillna(table.start_s)) - at_ns,
            "ticket": table.ticket.fillna(-1).astype("int64"),
            "count": table["count"].fillna(0).astype("int64"),
            "turn": table.turn.fillna(np.inf),
        }
    )
    return placed.sort_values(["at_ns", "turn"], kind="stable", ignore_index=True).drop(columns="turn")


def waiting_tickets(run: Tables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return when the tickets came to the server (ns), and when it took them; some it never took."""
    arrivals = landings(run)
    came = np.concatenate([nanoseconds(run.tickets.finish_s), nanoseconds(_never_taken_s(run))])
    return came, np.repeat(nanoseconds(arrivals.taken_s), arrivals["count"])


def _landing_track(run: Tables, table: pd.DataFrame) -> NDArray[np.int64]:
    return np.where(table.kind == "drained", run.interlude, Activity.STEPPING.value)


def _span_at(spans: pd.DataFrame, things: pd.DataFrame, activity: int, edge: str) -> NDArray[np.int64]:
    """Return the number of the span of this activity with this edge at each thing's `machine` and `at_s`."""
    edges = spans.loc[spans.activity == activity, ["machine", edge]].reset_index(names="number")
    found = things[["machine", "at_s"]].merge(
        edges, how="left", left_on=["machine", "at_s"], right_on=["machine", edge]
    )
    return found.number.fillna(-1).to_numpy(dtype=np.int64)


def _never_taken_s(run: Tables) -> pd.Series[float]:
    """Return when the tickets came (s) that were still at the server when the run ended.

    A worker waits for its next job when the server has read its report and no step has used it, or when the
    server has yet to read it: then it waits since later than its last ticket. Who has been given up does not
    count. Tickets of a round of an interlude are left out, those of one that the end of the run broke off
    too.
    """
    taken = pd.concat([run.tickets.machine, run.rounds.machine]).value_counts()
    workers = run.workers.set_axis(run.workers.worker + 1)
    out = workers.evicted_s.notna() | workers.expelled_s.notna()
    mine = run.spans[run.spans.machine.isin(workers.index[~out])]
    came_back = mine.activity.shift()[mine.machine == mine.machine.shift()] == Activity.DOWN.value
    mine = mine.assign(came_back=came_back.reindex(mine.index, fill_value=False))
    mine = mine[mine.activity != Activity.DOWN.value]
    waits = mine.activity == Activity.WAITING.value
    last = mine.groupby("machine").tail(1).set_index("machine")
    before = mine[~waits].groupby("machine").tail(1).set_index("machine").activity.reindex(last.index)
    read = (workers.jobs > taken.reindex(workers.index, fill_value=0)).reindex(last.index)
    reported_s = run.tickets.groupby("machine").finish_s.max().reindex(last.index).fillna(-np.inf)
    if any(str(column).startswith("skipped_") for column in run.steps):
        # In the background, who has reported for a round that is not over goes on: its last ticket tells.
        read &= last.start_s != reported_s
    unread = before.notna() & ~last.came_back & (last.start_s > reported_s)
    at_server = (last.activity == Activity.WAITING.value) & (before != run.interlude) & (read | unread)
    return last.start_s[at_server]

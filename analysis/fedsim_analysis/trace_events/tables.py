"""The tables of a run folder, by machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fedsim.errors import InputError, ResultsError
from fedsim.results import KEPT_WITH_SPANS, read_summary, read_table
from fedsim.timing.activities import LABELS

LONGEST_S = 9e9
"""The viewers count nanoseconds in 64 bits."""

SERVER = 0
"""The number of the server among the machines; worker w is machine w + 1."""


class Tables(NamedTuple):
    """The tables of one run (see `fedsim.tables`), machines and activities as numbers."""

    label: str
    steps: pd.DataFrame
    """Those taken: not the row of the start."""
    workers: pd.DataFrame
    spans: pd.DataFrame
    """machine, activity, start_s, end_s"""
    tickets: pd.DataFrame
    """With `machine` in place of `worker`; all but `rounds`, first by step, then as they were taken."""
    rounds: pd.DataFrame
    """The tickets of rounds of interludes."""
    labels: Sequence[str]
    """The names of all activities, in order of number: those of the clock, then the algorithm's own."""
    interlude: int
    """The number of what the server books interludes as; -1: there was none."""
    queue: pd.DataFrame | None = None
    """Where calls waited at an LLM service: service, time_s, queued, serving, in order of time."""


def read(folder: Path) -> Tables:
    """Read a run folder.

    Raises:
        InputError: the run kept no spans, or is too long for a trace.
        ResultsError: the folder is damaged.
    """
    for table in KEPT_WITH_SPANS:
        if not (folder / f"{table}.parquet").exists():
            raise InputError(
                f"{folder}: no {table} were recorded; run the scenario with --again --set record.spans=true"
            )
    summary = read_summary(folder)
    if summary["simulated_time_s"] > LONGEST_S:
        raise InputError(
            f"{folder}: {summary['simulated_time_s']:g} s of simulated time; a trace holds {LONGEST_S:g} s"
        )
    parts = (summary["scenario"], summary["variant"], f"seed {summary['seed']}")
    needed = ("steps", "workers", *KEPT_WITH_SPANS)
    there = ("queue",) if (folder / "queue.parquet").exists() else ()
    found = [read_table(folder, name) for name in (*needed, *there)]
    try:
        return numbered(" ".join(part for part in parts if part), *found)
    except (AttributeError, KeyError, ValueError) as error:
        raise ResultsError(f"{folder}: damaged: its spans and tickets cannot be read") from error


def numbered(
    label: str,
    steps: pd.DataFrame,
    workers: pd.DataFrame,
    spans: pd.DataFrame,
    tickets: pd.DataFrame,
    queue: pd.DataFrame | None = None,
) -> Tables:
    """Put the tables of a run in the form of `Tables`.

    Raises:
        KeyError, ValueError: a machine or an activity is unknown.
    """
    booked = [column for column in map(str, workers) if column.startswith("seconds_")]
    labels = list(dict.fromkeys([*LABELS, *(column.removeprefix("seconds_") for column in booked)]))
    # What the server does beside the clock's activities; of interludes that take no time there is no span.
    own = [label for label in spans.activity[spans.entity == "server"].unique() if label not in LABELS]
    interlude = labels.index(own[0] if own else labels[-1]) if len(labels) > len(LABELS) else -1
    machines = {"server": SERVER} | {f"worker {worker}": worker + 1 for worker in workers.worker}
    spans = pd.DataFrame(
        {
            "machine": spans.entity.map(machines).astype("int64"),
            "activity": spans.activity.map(labels.index).astype("int64"),
            "start_s": spans.start_s,
            "end_s": spans.end_s,
        }
    )
    tickets = tickets.assign(machine=tickets.worker + 1).drop(columns="worker")
    inner = tickets.kind == "inner"
    # By name: the active tickets of a step come before those drained after it.
    outer = tickets[~inner].sort_values(["step", "kind"], kind="stable", ignore_index=True)
    if queue is not None:
        queue = queue[["service", "time_s", "queued", "serving"]]
    rounds = tickets[inner]
    return Tables(label, steps[steps.step > 0], workers, spans, outer, rounds, labels, interlude, queue)

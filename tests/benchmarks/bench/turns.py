"""One cell of the table, measured in a process of its own: fedsim and its yardstick take turns.

`python -m tests.benchmarks.bench.turns NAME R S SHARE SECONDS REPEATS` prints the figures as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch

from fedsim import simulation
from fedsim.streams import Streams
from fedsim.timing.loop import run_timeline
from tests.benchmarks.bench.meter import Marks, PartMeter, now
from tests.benchmarks.bench.workloads import Workload, named
from tests.benchmarks.bench.yardsticks import Recording, bare_simpy

MICROSECONDS = 1e6
MOST_COPIED_MB = 1000
"""A yardstick of learning works on two copies of the tables: without it where they are larger than this."""


class Nothing:
    """A stand-in for the learning half, which learns nothing and keeps nothing."""

    finished = False
    expelled = ()

    def __init__(self, marks: Marks | None = None) -> None:
        self._marks = marks

    def first(self) -> None: ...

    def hand_out(self, *job: Any) -> None: ...

    def take_step(self, tickets: Any, report: Any) -> None:
        if self._marks is not None:
            self._marks.step(report.step, report.worker_updates)

    def evict(self, worker: int) -> None: ...

    def admit(self, worker: int) -> None: ...

    def forget(self, worker: int) -> None: ...


def measured(
    name: str, n_workers: int, wait_for: int, share: float = 1.0, seconds: float = 4.0, repeats: int = 5
) -> dict[str, Any]:
    """Measure one cell.

    Args:
        name: of the workload.
        n_workers: R.
        wait_for: S.
        share: of the workload's updates in one turn.
        seconds: after so much time no other turn begins.
        repeats: no more turns than these.

    Returns:
        For each turn: ``us`` and ``wall_us`` per worker update, ``yard_us`` of the yardstick if there is
        one, ``setup_s`` of the processor until the first event. And ``updates`` of a turn, the share of each
        part in ``parts``, ``peak_mib`` after the first turn, and ``before_mib`` before it, when all that it
        needs is imported.
    """
    work = named(name)
    found: dict[str, Any] = {"us": [], "wall_us": [], "yard_us": [], "setup_s": []}
    # Not `one_thread`: a run inside of it would give the threads back.
    torch.set_num_threads(1)
    with torch.no_grad():
        fedsim_turn(work, 2, 1, 0.0)  # what is imported late is imported now
        found["before_mib"] = peak_mib()
        begun_s = perf_counter()
        add_turn(found, fedsim_turn(work, n_workers, wait_for, share))
        found["peak_mib"] = peak_mib()
        yardstick = looked_into(found, work, n_workers, wait_for, share)
        while True:
            if yardstick is not None:
                found["yard_us"].append(yardstick())
            if len(found["us"]) >= repeats or perf_counter() - begun_s > seconds:
                return found
            add_turn(found, fedsim_turn(work, n_workers, wait_for, share))


def add_turn(found: dict[str, Any], marks: Marks) -> None:
    """Add what a run of fedsim has shown."""
    updates = marks.ended.updates - marks.started.updates
    found["updates"] = updates
    found["us"].append(MICROSECONDS * (marks.ended.cpu_s - marks.started.cpu_s) / updates)
    found["wall_us"].append(MICROSECONDS * (marks.ended.wall_s - marks.started.wall_s) / updates)
    found["setup_s"].append(marks.looping.cpu_s - marks.begun.cpu_s)


def fedsim_turn(
    work: Workload,
    n_workers: int,
    wait_for: int,
    share: float,
    then: Callable[[Any], None] | None = None,
) -> Marks:
    """Let fedsim do the work once."""
    scenario = work.scenario(n_workers, wait_for, share)
    marks = Marks(work.skipped, then)
    with marks.watching():
        if work.records:
            simulation.run(scenario, timing_only=not work.learns)
        else:
            run_timeline(simulation.timeline(scenario), Nothing(marks), Streams(scenario.seed))
    return marks


def looked_into(
    found: dict[str, Any], work: Workload, n_workers: int, wait_for: int, share: float
) -> Callable[[], float] | None:
    """Run once more with a meter inside; return the yardstick, which takes a turn at each call, if any."""
    meter, recording = PartMeter(), Recording()
    fits = not work.learns or work.megabytes(n_workers) < MOST_COPIED_MB
    yardstick = work.has_yardstick and fits

    def start(recorder: Any) -> None:
        meter.clear()
        if yardstick and work.learns:
            recording.start(recorder)

    with meter.metering(), recording.recording():
        marks = fedsim_turn(work, n_workers, wait_for, share, start)
    found["parts"] = meter.shares(marks.ended.wall_s - marks.started.wall_s)
    if not yardstick:
        return None
    if not work.learns:
        return lambda: bare_turn(n_workers, wait_for, work.steps(n_workers, wait_for, share), work.skipped)
    plain = recording.plain
    assert plain is not None
    prepared = plain.prepared(recording.events)
    updates = sum(len(event[0]) for event in prepared if len(event) == 1)

    def turn() -> float:
        mine = plain.copied()
        begun = now()
        mine.replay(prepared)
        return MICROSECONDS * (now().cpu_s - begun.cpu_s) / updates

    return turn


def bare_turn(n_workers: int, wait_for: int, steps: int, skipped: int) -> float:
    """Return the processor time of a worker update in bare SimPy (us)."""
    marks = Marks(skipped)
    bare_simpy(n_workers, wait_for, steps, stepped=lambda step: marks.step(step, step * wait_for))
    return MICROSECONDS * (now().cpu_s - marks.started.cpu_s) / ((steps - skipped) * wait_for)


def peak_mib() -> float:
    """Return the most memory that this process has had so far (MiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    n_workers, wait_for, repeats = (int(numbers[place]) for place in (0, 1, 4))
    json.dump(measured(name, n_workers, wait_for, float(numbers[2]), float(numbers[3]), repeats), sys.stdout)

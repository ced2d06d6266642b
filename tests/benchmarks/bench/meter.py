"""Looking into a run: when it passed three points, and which part of fedsim took how long.

Functions of fedsim are replaced while a run lasts, by ones that look at a clock and call them.
"""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Any, NamedTuple

import pytest

from fedsim.algorithms.averaging.averager import Averager
from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning import tables
from fedsim.learning.batching import BatchingLearner
from fedsim.learning.optimizers.base import Optimizer
from fedsim.problems.icl import oracle as icl
from fedsim.problems.quadratic import Bilevel
from fedsim.recorder import Recorder
from fedsim.timing import loop

LOOP = "event loop"
PARTS = (
    (Recorder, "take_step", "recording"),
    (Recorder, "hand_out", "recording"),
    (BatchingLearner, "hand_out", "server step"),
    (Tuner, "take_step", "server step"),
    (Averager, "take_step", "server step"),
    (Tuner, "work", "other"),
    (Tuner, "interlude", "cuts"),
    (Averager, "work", "other"),
    (icl.IclOracle, "upper", "other"),
    (icl.IclOracle, "_uniforms", "sampling"),
    (icl, "draw", "sampling"),
    (icl.IclOracle, "_losses", "black box"),
    (icl, "gradient", "gradient"),
    (Bilevel, "upper", "gradient"),
    (Bilevel, "lower", "cuts"),
    (Polyhedron, "pull", "cuts"),
    (Optimizer, "update", "optimizer"),
    (tables.simplex, "project", "projection"),
)
"""Where the time of an update goes: calls to meter, and the name of their part."""
NAMES = (LOOP, *dict.fromkeys(name for *_, name in PARTS if name != "other"), "other")


class Moment(NamedTuple):
    """A point in a run."""

    wall_s: float
    cpu_s: float
    updates: int = 0


class Marks:
    """When a run passed some points; a run begins where this is made.

    Args:
        skipped: how many steps are over where measuring starts.
        then: called there, with the recorder, the clock stopped.
    """

    def __init__(self, skipped: int, then: Callable[[Recorder], None] | None = None) -> None:
        self.skipped = skipped
        self.begun = now()
        self.looping = self.started = self.ended = self.begun
        self._then = then
        self._updates = 0

    def step(self, step: int, updates: int, recorder: Recorder | None = None) -> None:
        """A server step is over."""
        self._updates = updates
        if step == self.skipped:
            if self._then is not None and recorder is not None:
                self._then(recorder)
            self.started = now(updates)

    @contextmanager
    def watching(self) -> Iterator[Marks]:
        """Look at the clock as the event loop begins, after the steps that are skipped, and as it ends."""
        run_events, take_step = loop.run_events, Recorder.take_step

        def timed_events(*args: Any) -> Any:
            self.looping = now()
            halt = run_events(*args)
            self.ended = now(self._updates)
            return halt

        def noted_step(recorder: Recorder, tickets: Any, report: Any) -> Any:
            content = take_step(recorder, tickets, report)
            self.step(report.step, report.worker_updates, recorder)
            return content

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "run_events", timed_events)
            patch.setattr(Recorder, "take_step", noted_step)
            yield self


def now(updates: int = 0) -> Moment:
    """Return this moment."""
    return Moment(perf_counter(), process_time(), updates)


class PartMeter:
    """The seconds of each part, each without those of the parts that it called."""

    def __init__(self) -> None:
        self._spent_s: Counter[str] = Counter()
        self._calls = 0
        self._inside_s = 0.0

    def clear(self, *_: object) -> None:
        """Forget what was spent so far."""
        self._spent_s.clear()
        self._calls = 0

    @contextmanager
    def metering(self) -> Iterator[PartMeter]:
        """Meter all calls of `PARTS`."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, attribute, name in PARTS:
                patch.setattr(owner, attribute, self.metered(getattr(owner, attribute), name))
            yield self

    def metered(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return `call` with its time added to a part, and taken off the part that called it."""

        if inspect.isgeneratorfunction(call):
            return self._metered_rounds(call, name)

        @functools.wraps(call)
        def timed(*args: Any, **kwargs: Any) -> Any:
            inside_before_s, self._inside_s = self._inside_s, 0.0
            start_s = perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent_s = perf_counter() - start_s
                self._spent_s[name] += spent_s - self._inside_s
                self._inside_s = inside_before_s + spent_s
                self._calls += 1

        return timed

    def _metered_rounds(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed(*args: Any) -> Generator[Any, Any, Any]:
            inside = call(*args)
            resume = self.metered(inside.send, name)
            sent = None
            try:
                while True:
                    sent = yield resume(sent)
            except StopIteration as end:
                return end.value

        return timed

    def shares(self, whole_s: float) -> dict[str, float]:
        """Return the share of each part in a time; what no call has taken is the event loop's.

        The cost of looking at the clock is taken off the event loop, in which most calls begin.
        """
        loop_s = max(0.0, whole_s - sum(self._spent_s.values()) - self._calls * looking_s())
        spent_s = {LOOP: loop_s, **self._spent_s}
        total_s = sum(spent_s.values())
        return {name: spent_s.get(name, 0.0) / total_s for name in NAMES}


@functools.cache
def looking_s(calls: int = 20_000) -> float:
    """Return what a metered call costs its caller (s), beyond what it counts for itself."""
    meter = PartMeter()
    nothing = meter.metered(lambda: None, "nothing")
    begun_s = perf_counter()
    for _ in range(calls):
        nothing()
    return (perf_counter() - begun_s - meter._spent_s["nothing"]) / calls

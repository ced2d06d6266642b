"""Running the events of a simulation to its end, and noticing that it never comes there."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

import simpy
from simpy.core import EmptySchedule, StopSimulation
from simpy.events import URGENT

LONGEST_S = 2.0**33
"""How long a run may last in simulated time (s), some 272 years. Times are floats: later than this, the clock
could no longer tell two instants apart that are a microsecond from each other."""
RESOLUTION_S = 1e-6
"""A clock that moves by less than this (s) in very many events stands still."""
EVENTS_A_LOOK = 200_000
"""Events between two looks at the clock, and more where more may happen at one instant."""
MOST_EVENTS = 1e15
"""A run that needs more events than this does not end: at a million a second it would take thirty years."""


class Halt(Enum):
    """Why the event loop has ended."""

    TOLD = "told"
    """Somebody has said so: the server, at the end of its budget, or because it waits for ever."""
    HORIZON = "horizon"
    """The run has lasted as long as it should."""
    NOTHING_LEFT = "nothing left"
    """Nothing would ever happen any more."""
    OVERDUE = "overdue"
    """The run came to the end of the clock, `LONGEST_S`."""
    STANDSTILL = "standstill"
    """Time stood still, or moved so slowly that it would never come to the horizon."""


def run_events(
    env: simpy.Environment, horizon_s: float | None, events_a_look: int, counted: Callable[[], object]
) -> Halt:
    """Run events until somebody raises `StopSimulation`, and not beyond the horizon (s).

    Args:
        env: the simulation.
        horizon_s: what would happen there does not happen; none: the end of the clock.
        events_a_look: how many events may well happen at one instant.
        counted: what grows where the run comes nearer to its end, even if no time passes.
    """
    until_s = LONGEST_S if horizon_s is None else horizon_s
    end = _end(env, until_s)
    try:
        while True:
            before, before_s = counted(), env.now
            for _ in range(events_a_look):
                env.step()
            if counted() == before and _crawls(env.now - before_s, events_a_look, until_s - env.now):
                return Halt.STANDSTILL
    except (StopSimulation, EmptySchedule):
        pass
    # The event that has ended the loop is put back by SimPy, without callbacks: it does nothing now.
    if end.callbacks:
        return Halt.TOLD
    env.step()
    if math.isinf(env.peek()):
        return Halt.NOTHING_LEFT
    return Halt.OVERDUE if horizon_s is None else Halt.HORIZON


def _end(env: simpy.Environment, until_s: float) -> simpy.Event:
    """Return the event with which the loop ends, before all others of that instant: as `env.run` does it."""
    end = simpy.Event(env)
    end._ok, end._value = True, None
    env.schedule(end, URGENT, until_s - env.now)
    assert end.callbacks is not None
    end.callbacks.append(StopSimulation.callback)
    return end


def _crawls(passed_s: float, events: int, left_s: float) -> bool:
    """Whether a clock that has moved so far (s) in so many events will not get through what is left (s)."""
    return passed_s < RESOLUTION_S or events * (left_s / passed_s) > MOST_EVENTS

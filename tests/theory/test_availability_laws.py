"""What is known of workers that come and go, as laws with an exact value."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pytest
from clock_cases import NO_DELAY, clock, step_lengths
from laws import Law, check
from numpy.typing import NDArray

from fedsim.streams import Streams
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.worker import WorkerGroup

ROSS = "Ross, Introduction to Probability Models, 2014, "
LASTS_S = 2000
TURNS: dict[str, tuple[Delay, Delay]] = {
    "exponential": (Exponential(mean_s=3.0), Exponential(mean_s=1.0)),
    "lognormal": (Lognormal(median_s=2.0, sigma=1.0), Lognormal(median_s=1.0, sigma=0.5)),
}
"""How long workers are on and off."""


@cache
def coming_and_going(kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the part of the time that each of 40 workers was on, and how often per second it went down.

    They are busy with a job that never ends; one worker more makes one step per second.
    """
    on, off = TURNS[kind]
    others = WorkerGroup(count=40, compute=Constant(value_s=1e9), availability=OnOff(on=on, off=off))
    finished = clock((WorkerGroup(count=1, compute=Constant(value_s=1.0)), others), wait_for=1, steps=LASTS_S)
    table = finished.workers[1:]
    return (
        1 - table.seconds_down.to_numpy() / LASTS_S,
        table.times_down.to_numpy(dtype=np.float64) / LASTS_S,
    )


def law(name: str, setting: str, source: str, exact: float, sample: NDArray[np.float64]) -> Law:
    """Return a law of a mean, from independent draws."""
    standard_error = float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return Law(name, setting, source, exact, float(sample.mean()), standard_error)


def availability(kind: str) -> Law:
    on_s, off_s = (delay.mean_value_s for delay in TURNS[kind])
    return law(
        "availability of an on/off worker, E[on] / (E[on] + E[off])",
        f"{kind} stretches of mean {on_s:.3g} s on and {off_s:.3g} s off",
        ROSS + "section 7.5.1 (alternating renewal processes)",
        on_s / (on_s + off_s),
        coming_and_going(kind)[0],
    )


def failures(kind: str) -> Law:
    on_s, off_s = (delay.mean_value_s for delay in TURNS[kind])
    return law(
        "failures of an on/off worker, 1 / (E[on] + E[off]) (1/s)",
        f"{kind} stretches of mean {on_s:.3g} s on and {off_s:.3g} s off",
        ROSS + "proposition 7.1 (elementary renewal theorem)",
        1 / (on_s + off_s),
        coming_and_going(kind)[1],
    )


@cache
def rest_of_a_stretch() -> Law:
    """A worker that has come and gone for ever: how long the present stretch still lasts."""
    on, off = TURNS["lognormal"]
    turns, streams = OnOff(on=on, off=off), Streams(4)
    firsts = [next(turns.stretches(streams, worker, 0)) for worker in range(6000)]
    rests_s = np.array([ends_s for begins_s, ends_s in firsts if begins_s == 0])
    return law(
        "rest of the stretch under way at time 0, E[on^2] / (2 E[on]) (s)",
        "lognormal, median 2 s, sigma 1",
        ROSS + "section 7.7 (inspection paradox)",
        4 * math.exp(2) / (2 * 2 * math.exp(0.5)),
        rests_s,
    )


@cache
def restarts(rate: float, down_s: float) -> Law:
    """Exponential stretches have no memory: every job meets fresh ones, so that jobs are independent."""
    length_s = 2.0
    off = Exponential(mean_s=down_s) if down_s else NO_DELAY
    turns = OnOff(on=Exponential(mean_s=1 / rate), off=off, starts="on")
    group = WorkerGroup(count=1, compute=Constant(value_s=length_s), availability=turns)
    jobs_s = step_lengths(clock((group,), wait_for=1, steps=3000))
    return law(
        "job of length x under failures at rate f that begins again, (1/f + E[off]) (e^(f x) - 1) (s)",
        f"x = {length_s:g} s, f = {rate:g}/s, E[off] = {down_s:g} s",
        ROSS + "chapter 3 (conditioning on the first failure)",
        (1 / rate + down_s) * math.expm1(rate * length_s),
        jobs_s,
    )


LAWS = [
    *(partial(measure, kind) for measure in (availability, failures) for kind in TURNS),
    partial(rest_of_a_stretch),
    *(partial(restarts, *case) for case in ((0.25, 0.0), (0.75, 0.0), (0.5, 1.5))),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__}{law.args}")
def test_the_law_holds(law):
    check(law)

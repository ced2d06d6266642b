"""For how many seconds all open calls of a job wait together: what is booked as queueing."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist

from fedsim.timing.llm_service.round_demand import Demand


def queued_s(demand: Demand, answered: float, wait_s: float, apart_s: float) -> float:
    """Return for how long all open calls of a job wait at a time (s).

    By chance, as if its lanes did not know of each other, that is the part ``(1 - busy)**lanes`` of the time,
    `busy` being the part in which a lane's call is answered. But a job's first calls stand in the line one
    behind the other and wait together; from wave to wave their answers, of different length, drive them apart
    like a random walk. So the calls of wave k, from 0, wait together for
    ``wait_s - (lanes - 1) * apart_s - range * sqrt(k)``, or for what chance gives where that is more. `range`
    is how far as many normal numbers as lanes, with the answers' standard deviation, are apart.

    Args:
        demand: the job.
        answered: how much of it has been done, from 0 to 1.
        wait_s: how long each call waited.
        apart_s: how long after each other calls of the line are let in.
    """
    lanes, waves = demand.lanes, answered * demand.waves
    bare_s = demand.alone_s / demand.waves
    pace_s = bare_s + wait_s
    if not pace_s:
        return 0.0
    by_chance_s = pace_s * (1 - demand.answered_share * bare_s / pace_s) ** lanes
    at_first_s = wait_s - (lanes - 1) * apart_s - by_chance_s
    together_s = 0.0
    if at_first_s > 0:
        apart_a_wave_s = normal_range(lanes) * demand.spread_s
        together = min(waves, (at_first_s / apart_a_wave_s) ** 2) if apart_a_wave_s else waves
        # the integral over k from 0 to `together`
        together_s = together * (at_first_s - 2 / 3 * apart_a_wave_s * math.sqrt(together))
    return waves * by_chance_s + together_s


@cache
def normal_range(count: int) -> float:
    """Return how far apart the least and the largest of so many standard normal numbers are on average.

    Source: Blom, Statistical Estimates and Transformed Beta-Variables, 1958, to about a hundredth.
    """
    return 2 * NormalDist().inv_cdf((count - 0.375) / (count + 0.25))

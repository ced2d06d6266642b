"""Runs of the clock alone, for laws of time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats

from fedsim.algorithms import Algorithm
from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.simulation import Run, run
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.settings import ServerSettings
from fedsim.timing.worker import WorkerGroup

NEVER = 10**9
"""A staleness bound that never binds."""
NO_DELAY = Constant(value_s=0.0)
UPLOAD = Lognormal(median_s=0.030, sigma=1.0)
"""What ADBO's released code sleeps before every upload."""


def clock(
    groups: tuple[WorkerGroup, ...],
    wait_for: int,
    tau: int = NEVER,
    steps: int = 4000,
    seed: int = 1,
    calls: int = 0,
    latency: Delay = NO_DELAY,
    algorithm: Algorithm | None = None,
) -> Run:
    """Run the timing half; neither the server's arithmetic nor polyhedron updates take time.

    The algorithm is asynchronous, with S = `wait_for` and `tau`, unless one is given.
    """
    scenario = Scenario(
        name="theory",
        seed=seed,
        algorithm=algorithm or Asyndbt(wait_for=wait_for, tau=tau, cuts=False),
        problem=Quadratic(dimension=1, calls=calls),
        workers=groups,
        llm=Independent(latency=latency) if calls else None,
        server=ServerSettings(step_s=0.0),
        budget=Budget(server_steps=steps),
    )
    return run(scenario, timing_only=True)


def memoryless(count: int, mean_s: float = 1.0) -> tuple[WorkerGroup, ...]:
    return (WorkerGroup(count=count, compute=Exponential(mean_s=mean_s)),)


def step_lengths(finished: Run) -> NDArray[np.float64]:
    return np.diff(finished.steps.time_s.to_numpy())


def moments_of_largest(*laws: stats.rv_continuous) -> tuple[float, float]:
    """Return mean and variance of the largest of independent positive delays, by integration."""

    def above(t: float) -> float:
        return float(1 - np.prod([law.cdf(t) for law in laws]))

    def integral(f: Callable[[float], float]) -> float:
        edges = [0.0, 0.05, 0.2, 1.0, 10.0, 200.0]
        return sum(integrate.quad(f, low, high)[0] for low, high in pairwise(edges))

    mean = integral(above)
    return mean, integral(lambda t: 2 * t * above(t)) - mean**2

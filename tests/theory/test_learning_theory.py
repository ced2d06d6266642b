"""Whole runs on quadratics end where theory says, and move with their settings in the direction it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd
import pytest

from fedsim import simulation
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse


def quadratic(updates: int, seed: int = 0, every_steps: int = 50, **changes: Any) -> Scenario:
    """Return an AsynDBT run, which measures `distance_z` and `distance_q` to the bilevel optimum."""
    problem = {"kind": "quadratic", "dimension": 10} | changes.pop("problem", {})
    table: dict[str, Any] = {
        "name": "quadratic",
        "seed": seed,
        "problem": problem,
        "algorithm": {
            **({"kind": "asyndbt", "wait_for": 2, "tau": 5} | changes.pop("algorithm", {})),
            "z_rate": 0.005,
            "optimizer": {"kind": "sgd", "learning_rate": 0.005},
            "multipliers": {"rate": 0.1, "c1": changes.pop("c1", 1.0)},
            "polyhedron": {"epsilon": changes.pop("epsilon", 0.05)},
            "inner": {"p_rate": 0.2, "z_rate": 0.1, "rho_rate": 0.2},
            "cuts": {"every": changes.pop("every", 10), "rounds": changes.pop("rounds", 20)},
        },
        "workers": [{"count": 3, "upload": {"kind": "lognormal", "median_s": 0.03, "sigma": 1.0}}],
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.1}},
        "budget": {"worker_updates": updates},
        "evaluation": {"every_steps": every_steps},
    }
    assert set(changes) <= set(table)
    return parse(table | changes)


@cache
def measured(scenario: Scenario) -> pd.DataFrame:
    """Return the measurements of a run."""
    steps = simulation.run(scenario).steps
    return steps[steps.distance_z.notna()]


def tail(column: str, **changes: Any) -> float:
    """Return a column's mean over the last ten measurements of 3,000 updates."""
    return float(measured(quadratic(3_000, **changes))[column].iloc[-10:].mean())


def test_a_run_ends_near_the_optimum_and_nearer_with_more_inner_rounds() -> None:
    """z ends where phi is, and phi approaches the lower solution as the inner rounds K grow."""
    start = float(measured(quadratic(1)).distance_z.iloc[0])
    ends = [tail("distance_z", rounds=rounds) for rounds in (3, 20, 60)]
    assert ends[0] < 0.1 * start
    assert ends[1] < 0.6 * ends[0]
    assert ends[2] < 0.1 * ends[1]


def test_the_error_grows_by_epsilon_shared_among_the_workers() -> None:
    """Where h reaches epsilon the cuts stop pulling: the workers' gaps sum to h, so each is epsilon / R more.

    The upper objective pulls every p away from phi and z hardly at all; q follows p one to one.
    """
    ends = [tail("distance_q", rounds=40, epsilon=epsilon) for epsilon in (0.05, 3.05)]
    assert (ends[1] - ends[0]) / 3 == pytest.approx(1 / 3, rel=0.1)


def test_the_error_grows_with_the_regulariser() -> None:
    """A multiplier at rest has c_1 lambda = h - epsilon, by (26): a smaller c_1 lets h come closer."""
    ends = [tail("distance_q", rounds=40, c1=c1) for c1 in (1.0, 32.0)]
    assert ends[0] < 0.8 * ends[1]


def test_noise_in_the_gradients_costs_accuracy() -> None:
    assert tail("distance_z") < 0.8 * tail("distance_z", problem={"noise_std": 0.3})


class NearError(Exception):
    """A run has come near the optimum, at this step."""


def steps_until_near(seed: int, wait_for: int, tau: int, slow_down: float) -> int:
    """Return the server steps until the workers' q are within 3 of the optimum; 2,500 for never."""
    fast = {"count": 2, "upload": {"kind": "lognormal", "median_s": 0.03, "sigma": 1.0}}
    scenario = quadratic(
        10**6,
        seed,
        every_steps=10,
        rounds=10,
        algorithm={"kind": "asyndbt", "wait_for": wait_for, "tau": tau},
        workers=[fast, fast | {"name": "slow", "count": 1, "slow_down": slow_down}],
        budget={"server_steps": 2_500},
        every=50,
    )

    def stop(row: Mapping[str, Any]) -> None:
        if row.get("distance_q", math.inf) < 3:  # it is not measured after every step
            raise NearError(row["step"])

    try:
        simulation.run(scenario, progress=stop)
    except NearError as near:
        return int(near.args[0])
    return 2_500


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_steps_to_a_mark_fall_with_s(seed: int) -> None:
    """More workers per step: fewer steps (Theorem 2: T falls with S), in the ratio of updates per step."""
    steps = [steps_until_near(seed, wait_for, 10, slow_down=1.0) for wait_for in (1, 2, 3)]
    assert steps[0] > 1.2 * steps[1] > 1.2 * 1.2 * steps[2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_steps_to_a_mark_grow_with_tau(seed: int) -> None:
    """Behind a worker that is 20 times slower, a looser staleness bound costs steps (Theorem 2)."""
    steps = [steps_until_near(seed, 1, tau, slow_down=20.0) for tau in (1, 3, 9)]
    assert 1.5 * 1.5 * steps[0] < 1.5 * steps[1] < steps[2]

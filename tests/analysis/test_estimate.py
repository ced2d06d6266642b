"""The estimate without a run: values worked out by hand, and laws of order statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedsim.algorithms import Algorithm
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.algorithms.local.bdpl import Bdpl
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.settings import ServerSettings
from fedsim_analysis.advice.estimate import SHARES, estimate

NEVER = 10**9


def scenario(
    algorithm: Algorithm, *workers: WorkerGroup, calls: int = 0, step_s: float = 0.0, **settings: Any
) -> Scenario:
    llm = Independent(latency=Constant(value_s=1.0)) if calls else None
    given = {"llm": llm, "budget": Budget(epochs=12), "server": ServerSettings(step_s=step_s)} | settings
    return Scenario(
        name="estimate",
        algorithm=algorithm,
        problem=Quadratic(dimension=1, calls=calls),
        workers=workers,
        **given,
    )


def workers(compute_s: float, count: int = 1, **settings: Any) -> WorkerGroup:
    return WorkerGroup(count=count, compute=Constant(value_s=compute_s), **settings)


def test_synchronous_steps_by_hand() -> None:
    """Three workers of 1, 2 and 4 s: steps of 4.5 s with the server's half, 12 epochs of three updates."""
    found = estimate(scenario(Sdbt(cuts=False), workers(1), workers(2), workers(4), step_s=0.5))
    assert (found.step_s, found.update_s, found.total_s) == pytest.approx((4.5, 1.5, 54))
    assert (found.steps, found.updates, found.interludes) == (12, 36, 0)
    # all working all the time: 1 + 1/2 + 1/4 updates a second, 12/7 s for three of them
    ideal_s = 12 / 7
    assert found.shares == pytest.approx(
        dict.fromkeys(SHARES, 0)
        | {"computing": ideal_s / 4.5, "stragglers": (4 - ideal_s) / 4.5, "server": 0.5 / 4.5}
    )


def test_interludes_by_hand() -> None:
    """After steps 0, 4 and 8 of 12, two rounds of 4 s; the run ends with its last step."""
    algorithm = Sdbt(cuts=Cuts(every=4, rounds=2))
    found = estimate(scenario(algorithm, workers(1), workers(2), workers(4)))
    assert found.interludes == 3
    assert found.total_s == pytest.approx(12 * 4 + 3 * 8)
    assert found.shares["barrier"] == pytest.approx(24 / 72)


@pytest.mark.parametrize(("wait_for", "n_workers"), [(1, 10), (4, 10), (9, 10), (2, 3)])
def test_steps_of_memoryless_workers(wait_for: int, n_workers: int) -> None:
    """The S-th of R exponential delays: the sum of 1/i for i from R - S + 1 to R."""
    group = WorkerGroup(count=n_workers, compute=Exponential(mean_s=1.0))
    found = estimate(scenario(Asyndbt(wait_for=wait_for, tau=NEVER, cuts=False), group))
    exact_s = (1 / np.arange(n_workers - wait_for + 1, n_workers + 1)).sum()
    assert found.update_s == pytest.approx(exact_s / wait_for, rel=0.02)


def test_a_staleness_bound_of_1_waits_for_all() -> None:
    groups = [WorkerGroup(count=2, compute=Exponential(mean_s=mean_s)) for mean_s in (1.0, 3.0)]
    bounded = estimate(scenario(Asyndbt(wait_for=1, tau=1, cuts=False), *groups))
    synchronous = estimate(scenario(Sdbt(cuts=False), *groups))
    assert bounded[:-1] == synchronous[:-1]


def test_sampled_rounds_by_hand() -> None:
    """Two of three workers: the slowest, 4 s, is drawn in two rounds of three, else it is 2 s."""
    algorithm = Fedbdpl(participants=2)
    found = estimate(scenario(algorithm, workers(1), workers(2), workers(4)))
    assert found.step_s == pytest.approx(2 / 3 * 4 + 1 / 3 * 2)
    assert found.updates == 36


@pytest.mark.parametrize(
    ("limits", "least_s", "name"),
    [
        ({"requests_per_minute": 30.0, "burst_s": 60.0}, 36 * 10 * 2 - 60, "rate limit"),
        ({"concurrency": 2}, 36 * 10 / 2, "places"),
    ],
)
def test_limits_of_the_service_by_hand(limits: dict[str, Any], least_s: float, name: str) -> None:
    """36 updates of 10 calls of 1 s on 5 lanes: alone, steps of 2 s."""
    service = Shared(ttft=Constant(value_s=1.0), over_limit="queue", **limits)
    if "concurrency" in limits:
        service = Shared(ttft=Constant(value_s=1.0), **limits)
    found = estimate(scenario(Sdbt(cuts=False), WorkerGroup(count=3), calls=10, llm=service))
    assert found.total_s == pytest.approx(least_s)
    assert found.shares[name] == pytest.approx(1 - 24 / least_s)


def test_budgets() -> None:
    groups = [workers(1), workers(2)]
    for budget, steps, total_s in (
        (Budget(server_steps=5), 5, 10),
        (Budget(worker_updates=5), 3, 6),
        (Budget(horizon_s=7), 3, 7),
        (Budget(horizon_s=8, server_steps=2), 2, 4),
    ):
        found = estimate(scenario(Sdbt(cuts=False), *groups, budget=budget))
        assert (found.steps, found.total_s) == (steps, pytest.approx(total_s))


def test_what_has_no_estimate_says_why() -> None:
    with pytest.raises(ValueError, match="no estimate for 'bdpl'"):
        estimate(
            Scenario(
                name="alone",
                algorithm=Bdpl(),
                problem=Quadratic(dimension=1, calls=0),
                workers=(workers(1),),
                budget=Budget(epochs=1),
            )
        )

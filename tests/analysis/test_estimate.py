"""The estimate without a run: values worked out by hand, laws of order statistics, and against the clock."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimate_cases import CASES, DOCUMENT, TABLE, Case

from fedsim.algorithms import Algorithm
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.dbt.asyndbt import AdaptSettings, Asyndbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.algorithms.local.bdpl import Bdpl
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.settings import ServerSettings
from fedsim_analysis.advice.estimate import SHARES, estimate
from fedsim_analysis.documents import parts

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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.told)
def test_the_estimate_is_as_good_as_said(case: Case) -> None:
    found = case.estimated
    assert found.total_s == pytest.approx(case.measured_s(), rel=case.bound)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert min(found.shares.values()) >= 0


def test_the_document_shows_each_case() -> None:
    _, table, _ = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [
        f"| {case.told}" for case in CASES
    ], "write it anew: python tests/analysis/estimate_cases.py"


def test_jobs_before_the_barrier_by_hand() -> None:
    """After steps 0, 4 and 8 of 4 s: a job of everybody, 4 s and three updates, and two rounds of 4 s."""
    algorithm = Sdbt(cuts=Cuts(every=4, rounds=2, restart="before"))
    found = estimate(scenario(algorithm, workers(1), workers(2), workers(4), budget=Budget(server_steps=12)))
    assert found.total_s == pytest.approx(12 * 4 + 3 * 12)
    assert (found.updates, found.drained) == (12 * 3 + 3 * 3, 9)


def test_cohorts_that_take_turns() -> None:
    """Ten workers with jobs of almost one length, S = 5: two halves take turns.

    Each half waits for its last alone: 1.163 standard deviations, of 1 / sqrt(1000) s, above the mean.
    """
    group = WorkerGroup(count=10, compute=Gamma(mean_s=1.0, shape=1000.0))
    found = estimate(scenario(Asyndbt(wait_for=5, tau=9, cuts=False), group, budget=Budget(server_steps=200)))
    assert found.update_s == pytest.approx((1 + 1.163 / 1000**0.5) / 10, rel=0.06)


def test_s_that_adapts_by_hand() -> None:
    """Jobs of 1, 2 and 9 s: two of 2 s are 1 s an update, as one of 1 s is; of equals the larger S."""
    adapted = Asyndbt(wait_for=3, tau=NEVER, cuts=False, adapt=AdaptSettings())
    constant = Asyndbt(wait_for=2, tau=NEVER, cuts=False)
    groups = [workers(1), workers(2), workers(9)]
    assert estimate(scenario(adapted, *groups)).total_s == estimate(scenario(constant, *groups)).total_s


def test_workers_that_go_down_by_hand() -> None:
    """Jobs of 4 s on a worker that is on for 10 s and down for 5 s: two are done each time it is on."""
    away = OnOff(on=Constant(value_s=10.0), off=Constant(value_s=5.0), starts="on")
    group = workers(4.0, availability=away)
    found = estimate(scenario(Sdbt(cuts=False), group, budget=Budget(server_steps=300)))
    assert found.update_s == pytest.approx(15 / 2, rel=0.01)
    assert found.shares["down"] == pytest.approx(1 - 4 / 7.5, rel=0.01)

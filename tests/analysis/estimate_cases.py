"""Scenarios on which the estimate is held against the clock; `python tests/analysis/estimate_cases.py` writes
their errors into docs/advise.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedsim.algorithms import Algorithm
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.dbt.asyndbt import AdaptSettings, Asyndbt
from fedsim.algorithms.dbt.cendbt import Cendbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.simulation import run
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.network.links import Link
from fedsim.timing.network.star import Star
from fedsim_analysis.advice.estimate import TimeEstimate, estimate
from fedsim_analysis.documents import parts

DOCUMENT = Path(__file__).parents[2] / "docs" / "advise.md"
TABLE = "estimate"
SEEDS = range(2)
CALL = Lognormal(median_s=0.3444, sigma=0.2925)
UPLOAD = Lognormal(median_s=0.03, sigma=1.0)
CUTS = Cuts(every=50, rounds=5)


class Case(NamedTuple):
    """A scenario, and by how much the estimate may be off."""

    told: str
    scenario: Scenario
    bound: float = 0.05

    @property
    def estimated(self) -> TimeEstimate:
        return estimate(self.scenario)

    def measured_s(self) -> float:
        """Return how long the clock takes, the mean over some seeds (s)."""
        runs = [run(self.scenario.with_seed(seed), timing_only=True) for seed in SEEDS]
        return float(np.mean([finished.summary["simulated_time_s"] for finished in runs]))

    def line(self) -> str:
        """Return the row of the table."""
        estimated_s, measured_s = self.estimated.total_s, self.measured_s()
        error, allowed = 100 * (estimated_s / measured_s - 1), 100 * self.bound
        return f"| {self.told} | {measured_s:,.0f} | {estimated_s:,.0f} | {error:+.1f} | {allowed:.0f} |"


def case(told: str, algorithm: Algorithm, bound: float = 0.05, **settings: Any) -> Case:
    """Return a case: 20 calls of a job on 5 lanes and a lognormal upload, unless settings say otherwise."""
    given: dict[str, Any] = {
        "problem": Quadratic(dimension=2, calls=20, bytes_up=30_000, bytes_down=30_000),
        "workers": (workers(10),),
        "llm": Independent(latency=CALL),
        "budget": Budget(worker_updates=1000),
    }
    return Case(told, Scenario(name="estimate", algorithm=algorithm, **given | settings), bound)


def workers(count: int, slow_down: float = 1.0, **settings: Any) -> WorkerGroup:
    return WorkerGroup(name=f"{slow_down:g}", count=count, upload=UPLOAD, slow_down=slow_down, **settings)


def shared(**limits: Any) -> Shared:
    return Shared(ttft=CALL, **limits)


UNLIKE = {"workers": (workers(8), workers(2, 4.0))}
BURSTY = {"workers": (WorkerGroup(count=18, compute=UPLOAD),), "llm": None}
BURSTY |= {"problem": Quadratic(dimension=2, calls=0)}
STAR = Star(link=Link(mbps=1.0), server_link=Link(mbps=1.0, latency=Exponential(mean_s=0.02)))


def asyndbt(wait_for: int, tau: int, cuts: Cuts | bool = CUTS, **settings: Any) -> Asyndbt:
    return Asyndbt(wait_for=wait_for, tau=tau, cuts=cuts, **settings)  # type: ignore[arg-type]  # never true


CASES = [
    case("SDBT, 10 alike workers", Sdbt(cuts=CUTS)),
    case("AsynDBT, S = 1, tau = 20, no cuts", asyndbt(1, 20, False)),
    case("AsynDBT, S = 2, tau = 10", asyndbt(2, 10)),
    case("AsynDBT, S = 5, tau = 5", asyndbt(5, 5)),
    case(
        "the same, jobs restarted before the barrier", asyndbt(5, 5, CUTS.trusted_copy({"restart": "before"}))
    ),
    case(
        "the same, cuts of the active workers", asyndbt(5, 5, CUTS.trusted_copy({"participation": "active"}))
    ),
    case("cuts every 150 updates, S = 2, tau = 10", asyndbt(2, 10, Cuts(every_updates=150, rounds=5))),
    case(
        "cuts in the background, S = 2, tau = 10",
        asyndbt(2, 10, CUTS.trusted_copy({"participation": "rolling"})),
        0.1,
    ),
    case("SDBT, two of 10 four times slower", Sdbt(cuts=CUTS), **UNLIKE),
    case("AsynDBT, S = 2, tau = 40, two slower", asyndbt(2, 40), **UNLIKE),
    case("AsynDBT, S = 2, tau = 5 (which binds), two slower", asyndbt(2, 5), **UNLIKE),
    case("AsynDBT that adapts S, two slower", asyndbt(2, 10, adapt=AdaptSettings()), 0.1, **UNLIKE),
    case(
        "ADBO's delays: 18 workers, S = 9, tau = 15; 10,000 updates",
        asyndbt(9, 15),
        **BURSTY | {"budget": Budget(worker_updates=10_000)},
    ),
    case("Fed-BDPL, 3 of 10 a round, two slower", Fedbdpl(participants=3), **UNLIKE),
    case(
        "cenDBT, 100 steps of one machine",
        Cendbt(machine="1"),
        problem=Quadratic(dimension=2, calls=20),
        budget=Budget(server_steps=100),
    ),
    case("SDBT, 800 requests a minute, refused", Sdbt(cuts=CUTS), 0.1, llm=shared(requests_per_minute=800.0)),
    case(
        "AsynDBT, S = 2, 800 requests a minute, held",
        asyndbt(2, 10),
        0.1,
        llm=shared(requests_per_minute=800.0, over_limit="queue"),
    ),
    case(
        "AsynDBT, S = 2, 4,500 requests a minute, held",
        asyndbt(2, 10),
        0.15,
        llm=shared(requests_per_minute=4500.0, over_limit="queue"),
    ),
    case("SDBT, 20 places for 50 lanes", Sdbt(cuts=CUTS), 0.1, llm=shared(concurrency=20)),
    case("SDBT, star, all share 1 Mbit/s", Sdbt(cuts=CUTS), 0.1, network=STAR),
    case("AsynDBT, S = 2, tau = 10, the same star", asyndbt(2, 10), 0.25, network=STAR),
    case(
        "AsynDBT, S = 2, tau = 10, on for 60 s, down for 10 s",
        asyndbt(2, 10),
        0.25,
        workers=(workers(10, availability=OnOff(on=Exponential(mean_s=60.0), off=Exponential(mean_s=10.0))),),
    ),
]


def table() -> str:
    """Return the table, all cases measured anew."""
    lines = [
        "| 1,000 worker updates | clock (s) | estimate (s) | error (%) | allowed |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(each.line() for each in CASES)]) + "\n"


if __name__ == "__main__":
    before, _, after = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    DOCUMENT.write_text(before + table() + after, encoding="utf-8")

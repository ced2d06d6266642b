"""What is measured: each kind of work as a scenario of R workers of which S make a step.

Jobs last an exponential time of mean 1 s, calls to the language model and server steps no time: jobs end at
random, and the mix of waiting jobs is the same at all times. So a few steps, once the first are over, stand
for a long run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedsim.scenario import Scenario
from fedsim.scenario.files import parse

NEVER = 10**6
"""Steps between two things that shall not happen."""
EXPONENTIAL = {"kind": "exponential", "mean_s": 1.0}
NO_TIME = {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.0}}

SMALL_TASK = {
    "kind": "synthetic",
    "parameters": {
        "base_alignment": 0.5,
        "demo_step": 0.3,
        "label_bias": 0.8,
        "word_gain": 0.7,
        "word_noise": 0.4,
        "demo_noise": 0.5,
    },
    "n_words": 4,
    "n_candidates": 8,
    "n_demonstrations": 4,
    "train_per_class": 2,
    "validation_per_class": 1,
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A kind of work."""

    name: str
    what: str
    """For the reader of the table."""
    problem: Mapping[str, Any]
    algorithm: Mapping[str, Any]
    updates: int
    """Worker updates measured in one turn, at least."""
    kilobytes: float
    """Memory that a worker takes, about: whether a cell fits is judged by it before it is tried."""
    skipped: int = 1
    """Steps at the start that are not measured: all first jobs are computed then, or cuts are made."""
    period: int = 1
    """Steps after which things repeat: a multiple of it is measured."""
    drains: bool = False
    """Whether all workers report once in each period, at a barrier, beside those who make the steps."""
    learns: bool = True
    records: bool = True
    """Whether the whole run is measured, with its table of steps, or the clock alone."""
    has_yardstick: bool = False
    most_workers: int = 10**9
    """Beyond that the cell is left out, for the reason `too_many`."""
    too_many: str = ""
    llm: Mapping[str, Any] | None = None

    def megabytes(self, n_workers: int) -> float:
        """Return about how much memory so many workers take."""
        return self.kilobytes * n_workers / 1000

    def updates_a_period(self, n_workers: int, wait_for: int) -> int:
        """Return how many worker updates one period has."""
        return self.period * wait_for + (n_workers if self.drains and wait_for < n_workers else 0)

    def steps(self, n_workers: int, wait_for: int, share: float = 1.0) -> int:
        """Return how many server steps one turn takes; `share`: of the updates named above."""
        periods = math.ceil(share * self.updates / self.updates_a_period(n_workers, wait_for))
        return self.skipped + self.period * max(1, periods)

    def scenario(self, n_workers: int, wait_for: int, share: float = 1.0) -> Scenario:
        """Return the run of one turn."""
        # FedBuff steps when its buffer is full, and knows no bound of staleness.
        buffered = self.algorithm["kind"] == "fedbuff"
        waiting = {"buffer": wait_for} if buffered else {"wait_for": wait_for, "tau": NEVER}
        tables = {
            "name": "bench",
            "algorithm": {**waiting, **self.algorithm},
            "problem": dict(self.problem),
            "server": {"step_s": 0.0},
            "workers": [{"count": n_workers, "compute": EXPONENTIAL}],
            "budget": {"server_steps": self.steps(n_workers, wait_for, share)},
            "evaluation": {"every_steps": NEVER, "max_workers": 1},
            **({"llm": self.llm} if self.llm else {}),
        }
        return parse(tables)


QUADRATIC = {"kind": "quadratic", "calls": 0}
SGD = {"kind": "sgd", "learning_rate": 0.005}
ASYNDBT = {"kind": "asyndbt", "cuts": False}
HELD_CUTS = {
    "kind": "asyndbt",
    "cuts": {"every": 1, "rounds": 1, "stop_after": 5},
    "polyhedron": {"drop": "never", "only_if_violated": False},
}
"""Five polyhedron updates, each with a cut of every word, and none is ever dropped."""
PAPER = {"kind": "icl", "task": {"kind": "calibrated", "name": "sst2"}}
"""75 words of 100 candidates, 20 sampled prompts, 20 queries."""
LONG = "one turn would take minutes"

WORKLOADS = (
    Workload(
        name="clock",
        has_yardstick=True,
        what="the clock alone",
        problem=QUADRATIC,
        algorithm=ASYNDBT,
        updates=60_000,
        kilobytes=2.5,
        learns=False,
        records=False,
    ),
    Workload(
        name="timing only",
        has_yardstick=True,
        what="the clock, and its table of steps",
        problem=QUADRATIC,
        algorithm=ASYNDBT,
        updates=40_000,
        kilobytes=2.5,
        learns=False,
    ),
    Workload(
        name="softmax",
        what="FedBuff with a buffer of S on softmax regression, 610 numbers, 20 samples, one step",
        problem={"kind": "softmax"},
        algorithm={"kind": "fedbuff", "optimizer": {"kind": "sgd", "learning_rate": 0.1}},
        updates=10_000,
        kilobytes=40,
    ),
    Workload(
        name="quadratic",
        has_yardstick=True,
        what="AsynDBT without cuts, on two vectors of 10 numbers",
        problem=QUADRATIC,
        algorithm={**ASYNDBT, "optimizer": SGD},
        updates=20_000,
        kilobytes=4,
    ),
    Workload(
        name="quadratic, cuts",
        what="the same with cuts every 50 steps",
        problem=QUADRATIC,
        algorithm={"kind": "asyndbt", "optimizer": SGD, "z_rate": 1e-5},
        updates=20_000,
        kilobytes=4,
        period=50,
        drains=True,
        most_workers=10_000,
        too_many=LONG,
    ),
    Workload(
        name="quadratic, R1",
        what="without cuts, psi pulls z towards the messages of all workers",
        problem=QUADRATIC,
        algorithm={**ASYNDBT, "optimizer": SGD, "robust": {"psi": 0.01}, "z_rate": 1e-5},
        updates=5_000,
        kilobytes=4,
    ),
    Workload(
        name="small task",
        has_yardstick=True,
        what="AsynDBT without cuts on the surrogate, 4 words of 8 candidates",
        problem={"kind": "icl", "task": SMALL_TASK},
        algorithm=ASYNDBT,
        updates=5_000,
        kilobytes=8,
        llm=NO_TIME,
    ),
    Workload(
        name="paper's sizes",
        has_yardstick=True,
        what="AsynDBT without cuts on the surrogate, 75 words of 100 candidates",
        problem=PAPER,
        algorithm=ASYNDBT,
        updates=500,
        kilobytes=310,
        llm=NO_TIME,
    ),
    Workload(
        name="paper's sizes, cuts",
        has_yardstick=True,
        what="the same with 5 cuts of each word",
        problem=PAPER,
        algorithm=HELD_CUTS,
        updates=500,
        kilobytes=400,
        skipped=7,
        most_workers=100,
        too_many="making the cuts takes minutes",
        llm=NO_TIME,
    ),
)


def named(name: str) -> Workload:
    """Return the workload of this name."""
    return next(work for work in WORKLOADS if work.name == name)

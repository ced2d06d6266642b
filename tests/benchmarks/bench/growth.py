"""How the cost of a worker update grows with each setting, one varied at a time from the paper's sizes.

Every value is measured in turns with the base, in one process; `make bench BENCH=--growth` prints the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from fedsim import simulation
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse
from tests.benchmarks.bench.meter import Marks
from tests.benchmarks.bench.turns import MICROSECONDS
from tests.benchmarks.bench.workloads import EXPONENTIAL, NEVER, NO_TIME, SMALL_TASK

BASE = {"R": 20, "S": 20, "M": 75, "N": 100, "I_s": 20, "b": 20, "L": 0, "evaluation": NEVER, "spans": 0}
VARIED: Mapping[str, tuple[int, ...]] = {
    "R": (20, 100, 400),
    "S": (1, 2, 5, 20),
    "M": (10, 35, 75, 150),
    "N": (25, 50, 100, 200),
    "I_s": (5, 10, 20, 40),
    "b": (10, 20, 40, 80),
    "L": (0, 1, 5, 10),
    "evaluation": (NEVER, 10, 2, 1),
    "spans": (0, 1),
}
OTHERS = {"M": 20, "N": 50, "I_s": 10, "b": 40}
"""Sizes to try the rule of thumb with."""
MEANING = {
    "R": "workers, S = 20",
    "S": "workers a step, of 20",
    "M": "words",
    "N": "candidates of a word",
    "I_s": "sampled prompts",
    "b": "queries",
    "L": "cuts of each word",
    "evaluation": "server steps from one measurement of all 20 to the next",
    "spans": "spans and tickets recorded",
}


class Point(NamedTuple):
    """What an update costs with one setting changed."""

    setting: str
    value: int
    us: float
    """Processor time of a worker update (us), best turn."""
    times: float
    """Over that of the base in the same turn, the median of the turns."""


def scenario(sizes: Mapping[str, int], updates: int) -> Scenario:
    """Return a run of at least so many worker updates."""
    task = SMALL_TASK | {
        "n_words": sizes["M"],
        "n_candidates": sizes["N"],
        "n_demonstrations": 50,
        "train_per_class": sizes["b"] // 2,
    }
    cuts: Any = {"every": 1, "rounds": 1, "stop_after": sizes["L"]}
    polyhedron = {"drop": "never", "only_if_violated": False}
    held = {"cuts": cuts, "polyhedron": polyhedron} if sizes["L"] else {"cuts": False}
    return parse(
        {
            "name": "bench",
            "algorithm": {"kind": "asyndbt", "wait_for": sizes["S"], "tau": NEVER, **held},
            "problem": {"kind": "icl", "task": task, "n_samples": sizes["I_s"]},
            "server": {"step_s": 0.0},
            "workers": [{"count": sizes["R"], "compute": EXPONENTIAL}],
            "llm": NO_TIME,
            "budget": {"server_steps": skipped(sizes) + -(-updates // sizes["S"])},
            "evaluation": {"every_steps": sizes["evaluation"]},
            **({"record": {"spans": True}} if sizes["spans"] else {}),
        }
    )


def skipped(sizes: Mapping[str, int]) -> int:
    """Return after how many steps the cuts are made and all jobs computed that were handed out before."""
    return sizes["L"] + 1 + bool(sizes["L"])


def turn_us(sizes: Mapping[str, int], updates: int) -> float:
    """Return the processor time of an update in one run (us)."""
    marks = Marks(skipped(sizes))
    with marks.watching():
        simulation.run(scenario(sizes, updates))
    spent_s = marks.ended.cpu_s - marks.started.cpu_s
    return MICROSECONDS * spent_s / (marks.ended.updates - marks.started.updates)


def points(updates: int = 200, repeats: int = 3) -> Iterator[Point]:
    """Yield the cost at each value of each setting."""
    torch.set_num_threads(1)
    turn_us(BASE, BASE["S"])  # what is imported late is imported now
    for setting, values in VARIED.items():
        for value in values:
            sizes = {**BASE, setting: value}
            turns = [(turn_us(BASE, updates), turn_us(sizes, updates)) for _ in range(repeats)]
            times = median(us / base_us for base_us, us in turns)
            yield Point(setting, value, min(us for _, us in turns), times)


class Rule(NamedTuple):
    """``fixed + tables M N + words M I_s + answers I_s b``, the processor time of an update (us)."""

    fixed: float
    tables: float
    """For each number of p."""
    words: float
    """For each word drawn."""
    answers: float
    """For each answer of the black box."""

    def us(self, sizes: Mapping[str, int]) -> float:
        """Return what an update costs by this rule."""
        return float(np.dot(self, _terms(sizes)))


def rule(found: Sequence[Point]) -> tuple[Rule, float]:
    """Fit the rule to the points in which sizes vary; return it and the largest relative error."""
    varied = [point for point in found if point.setting in ("M", "N", "I_s", "b")]
    rows = np.array([_terms({**BASE, point.setting: point.value}) for point in varied])
    # In turns with the base a busy machine slows both.
    base_us = min(point.us for point in found if point.value == BASE[point.setting])
    us = base_us * np.array([point.times for point in varied])
    # Relative errors: small sizes count as much as large ones.
    fitted = Rule(*nnls(rows / us[:, None], np.ones(len(us)))[0])
    return fitted, float(np.abs(rows @ fitted / us - 1).max())


def checked(found: Sequence[Point], updates: int = 200) -> str:
    """Return what the rule says of sizes to which it was not fitted, and what a run with them takes."""
    sizes = {**BASE, **OTHERS}
    named = ", ".join(f"{key} = {value}" for key, value in OTHERS.items())
    said_us, took_us = rule(found)[0].us(sizes), min(turn_us(sizes, updates) for _ in range(3))
    return f"checked with {named}: the rule says {said_us:.0f} us, a run took {took_us:.0f} us"


def _terms(sizes: Mapping[str, int]) -> tuple[int, ...]:
    m_words, n_candidates, n_samples, b_queries = (sizes[key] for key in ("M", "N", "I_s", "b"))
    return 1, m_words * n_candidates, m_words * n_samples, n_samples * b_queries


def told(found: Sequence[Point]) -> str:
    """Return the rule as a sentence."""
    fitted, error = rule(found)
    return (
        f"us of an update: {fitted.fixed:.0f} + {fitted.tables:.3f} M N + {fitted.words:.3f} M I_s + "
        f"{fitted.answers:.3f} I_s b, off by at most {error:.0%} for the values above"
    )


HEADER = ("setting", "value", "us/update", "x base")


def texts(found: Point) -> list[str]:
    """Return a point as a line of the table."""
    name = f"{found.setting}: {MEANING[found.setting]}"
    value = "never" if found.value == NEVER else f"{found.value:,}"
    return [name, value, f"{found.us:,.0f}", f"{found.times:.2f}"]

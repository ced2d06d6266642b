"""What a sweep will cost before it runs: LLM calls and time."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fedsim import results
from fedsim.errors import RunError
from fedsim.faults import names_parts
from fedsim.icl.models.language import LanguageModel
from fedsim.messages import JobKind
from fedsim.scenario import Scenario
from fedsim.simulation import run, timeline
from fedsim.timing.exchange import StepReport

TRIAL_S = 2.0
"""Real seconds that a trial may take."""


class Work(NamedTuple):
    """The work of a run, by arithmetic."""

    updates: int | None
    """Worker updates; none: its budget is in seconds alone."""
    llm_calls: int | None
    exact: bool
    """Whether all workers report in every step, so that nothing depends on who is faster."""
    at_most: bool
    """Whether a target, a horizon or early stopping may end the run before."""


@names_parts
def work_of(scenario: Scenario) -> Work:
    """Return the work of a run, from its problem's cost and its budget."""
    plan = timeline(scenario)
    n_workers = sum(group.count for group in plan.groups) if not scenario.algorithm.centralised else 1
    target, patience = scenario.target, scenario.evaluation.patience
    at_most = plan.horizon_s is not None or patience is not None or (target is not None and target.stop)
    if plan.max_updates is None and plan.max_steps is None:
        return Work(None, None, False, at_most)
    cuts = None if plan.cuts is None else (plan.cuts.every, plan.cuts.rounds, plan.cuts.stop_after)
    everybody = plan.cuts is not None and plan.cuts.participation == "all"
    outer, inner = plan.costs[JobKind.OUTER].calls, plan.costs[JobKind.INNER].calls
    limits = (plan.max_updates, plan.max_steps)
    updates, inner_jobs = _jobs(plan.wait_for, n_workers, limits, cuts, everybody)
    regular = not scenario.attacks and scenario.server.evict_after_s is None and plan.participants is None
    exact = regular and plan.wait_for == n_workers
    return Work(updates, updates * outer + inner_jobs * inner, exact, at_most)


@cache
def _jobs(
    wait_for: int,
    n_workers: int,
    limits: tuple[int | None, int | None],
    cuts: tuple[int, int, int | None] | None,
    everybody: bool,
) -> tuple[int, int]:
    """Return how many outer and inner jobs a run takes, if each step uses just as many as it waits for.

    Args:
        wait_for: S.
        n_workers: R.
        limits: on worker updates and on server steps.
        cuts: every how many steps, with how many rounds, until which step the polyhedron is updated.
        everybody: whether all workers take part in that; who is busy then finishes a job first.
    """
    most_updates, most_steps = limits
    updates = inner = step = 0
    while True:
        updates += wait_for
        last = (most_updates is not None and updates >= most_updates) or step + 1 == most_steps
        if last:
            return updates, inner
        if cuts is not None and step % cuts[0] == 0 and (cuts[2] is None or step < cuts[2]):
            inner += cuts[1] * (n_workers if everybody else wait_for)
            updates += n_workers - wait_for if everybody else 0
        step += 1


def seconds_by_runs(folders: list[Path]) -> float | None:
    """Return how long finished runs took on average (s); none where there are none."""
    taken = [float(results.check_folder(folder)["duration_s"]) for folder in folders]
    return sum(taken) / len(taken) if taken else None


class Trial(NamedTuple):
    """How long a run takes: at the start, and for each worker update (s)."""

    start_s: float
    update_s: float


class _Enough(Exception):  # noqa: N818  no error: the trial knows what it wanted to know
    """A trial has taken its time."""


def trial(scenario: Scenario, timing_only: bool) -> Trial | None:
    """Run a scenario for a short time; none for a real model, whose calls may cost money, and for a failure.

    Args:
        scenario: what to try.
        timing_only: whether the clock alone is run.
    """
    if isinstance(getattr(scenario.problem, "model", None), LanguageModel) and not timing_only:
        return None
    if not timing_only:
        import torch  # noqa: F401  its import is no part of a run
    began = time.perf_counter()
    marks: list[tuple[float, int]] = []

    def on_step(report: StepReport, metrics: dict[str, float]) -> None:
        marks.append((time.perf_counter() - began, report.worker_updates))
        if marks[-1][0] > TRIAL_S:
            raise _Enough

    try:
        run(scenario, timing_only=timing_only, progress=on_step)
    except _Enough:
        pass
    except (RunError, ValueError):
        return None
    (start_s, _), (end_s, updates) = marks[0], marks[-1]
    return Trial(start_s, (end_s - start_s) / max(1, updates))

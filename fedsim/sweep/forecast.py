"""What a sweep will cost before it runs: LLM calls and time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fedsim import results
from fedsim.errors import RunError
from fedsim.faults import names_parts
from fedsim.icl.models.language import LanguageModel
from fedsim.scenario import Scenario
from fedsim.schedule import Interlude, Steps
from fedsim.simulation import run

TRIAL_S = 2.0
"""Real seconds that a trial may take."""


class Effort(NamedTuple):
    """The work of a run, by arithmetic."""

    updates: int | None
    """Worker updates; none: its budget is in seconds alone."""
    llm_calls: int | None
    exact: bool
    """Whether all workers report in every step, so that nothing depends on who is faster."""
    at_most: bool
    """Whether a target, a horizon or early stopping may end the run before."""
    steps: int | None
    """Server steps; none as for updates."""
    jobs: Mapping[str, int]
    """How many jobs of each kind are used."""
    interludes: int


@names_parts
def work_of(scenario: Scenario) -> Effort:
    """Return the work of a run, from its problem's cost and its budget."""
    schedule, budget, n_machines = scenario.schedule, scenario.budget, scenario.n_machines
    target, patience = scenario.target, scenario.evaluation.patience
    at_most = budget.horizon_s is not None or patience is not None or (target is not None and target.stop)
    limits = budget.updates(n_machines), budget.server_steps
    if limits == (None, None):
        return Effort(None, None, False, at_most, None, {}, 0)
    if budget.server_steps == 0:
        return Effort(0, 0, True, at_most, 0, {}, 0)
    rule, between = schedule.rule, schedule.interlude
    wait_for = rule.wait_for if isinstance(rule, Steps) else rule.participants
    steps, updates, interludes, each = _jobs(wait_for, n_machines, limits, between)
    jobs = {schedule.regular: updates}
    if between is not None:
        jobs[between.work] = interludes * between.rounds * each
    if schedule.opening is not None:
        jobs[schedule.opening] = n_machines
    llm_calls = sum(number * schedule.work[kind].cost.calls for kind, number in jobs.items())
    regular = not scenario.attacks and scenario.server.evict_after_s is None
    exact = regular and isinstance(rule, Steps) and rule.fewest == n_machines
    return Effort(updates, llm_calls, exact, at_most, steps, jobs, interludes)


@cache
def _jobs(
    wait_for: int,
    n_workers: int,
    limits: tuple[int | None, int | None],
    interlude: Interlude | None,
) -> tuple[int, int, int, int]:
    """Return steps, regular jobs, interludes and jobs in a round of these, if steps use what they wait for.

    Args:
        wait_for: S.
        n_workers: R.
        limits: on worker updates and on server steps.
        interlude: when there is one; where all workers take part, who is busy finishes a job first.
    """
    most_updates, most_steps = limits
    everybody = interlude is not None and interlude.participation == "all"
    drained = interlude.drained(n_workers, wait_for) if interlude is not None else 0

    def among(steps: int) -> int:
        """Return how many interludes the first so many steps have; none follows the last."""
        return interlude.among(steps - 1, wait_for, drained) if interlude is not None else 0

    def updates_after(steps: int) -> int:
        """Return how many updates the first so many steps use."""
        return steps * wait_for + among(steps) * drained

    steps = most_steps
    if most_updates is not None:
        # Every step uses at least `wait_for`, and more steps use more: halve the interval.
        enough, too_few = max(1, -(-most_updates // wait_for)), 0
        while enough - too_few > 1:
            half = (enough + too_few) // 2
            enough, too_few = (half, too_few) if updates_after(half) >= most_updates else (enough, half)
        steps = enough if steps is None else min(steps, enough)
    assert steps is not None
    each = n_workers if everybody else wait_for
    return steps, updates_after(steps), among(steps), each


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

    def on_step(row: dict[str, Any]) -> None:
        marks.append((time.perf_counter() - began, row["worker_updates"]))
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

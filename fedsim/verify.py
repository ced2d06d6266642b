"""The invariants of a finished run, checked on its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim.results import read_summary, read_table
from fedsim.scenario import Scenario, load_scenario
from fedsim.simulation import computing_workers

COUNTERS = (
    *("step", "worker_updates", "drained", "cut_updates", "llm_calls"),
    *("tokens_in", "tokens_out", "cost", "bytes_up", "bytes_down"),
)
TOLERANCE = 1e-9
"""Relative; for sums of many floats."""


class Check(NamedTuple):
    """One invariant and what was found: no words when it holds."""

    invariant: str
    violation: str


class Evidence(NamedTuple):
    """Everything a run folder tells."""

    scenario: Scenario
    summary: dict[str, Any]
    steps: pd.DataFrame
    workers: pd.DataFrame


def verify(folder: Path) -> list[Check]:
    """Check a run folder.

    Raises:
        ResultsError: the folder is missing or damaged.
    """
    evidence = Evidence(
        load_scenario(folder / "scenario.toml"),
        read_summary(folder),
        read_table(folder, "steps"),
        read_table(folder, "workers"),
    )
    return [Check(invariant, check(evidence)) for invariant, check in INVARIANTS.items()]


def _times(run: Evidence) -> str:
    back = run.steps.time_s.diff() < 0
    return f"time goes back at step {run.steps.step[back].iloc[0]}" if back.any() else ""


def _staleness(run: Evidence) -> str:
    _, tau = run.scenario.algorithm.step_rule(computing_workers(run.scenario)[0])
    late = run.steps[run.steps.staleness_max >= tau]
    return f"step {late.step.iloc[0]}: staleness {late.staleness_max.iloc[0]}, tau {tau}" if len(late) else ""


def _active(run: Evidence) -> str:
    wait_for, _ = run.scenario.algorithm.step_rule(computing_workers(run.scenario)[0])
    # Workers that were given up are no longer waited for.
    least = min(wait_for, len(run.workers) - len(run.summary["evicted"]))
    taken = run.steps[run.steps.step > 0]
    thin = taken[taken.active < least]
    return f"step {thin.step.iloc[0]}: {thin.active.iloc[0]} tickets, S {least}" if len(thin) else ""


def _seconds(run: Evidence) -> str:
    columns = [column for column in run.workers if str(column).startswith("seconds_")]
    total, expected = run.workers[columns].sum(axis=1), run.summary["simulated_time_s"]
    off = (total - expected).abs() > TOLERANCE * max(1.0, expected)
    if off.any():
        worker = run.workers.worker[off].iloc[0]
        return f"worker {worker}: {total[off].iloc[0]} s booked, the clock says {expected} s"
    server = sum(run.summary["server_seconds_by_activity"].values())
    return "" if abs(server - expected) <= TOLERANCE * max(1.0, expected) else f"server: {server} s booked"


def _counters(run: Evidence) -> str:
    for counter in COUNTERS:
        fell = run.steps[counter].diff() < 0
        if fell.any():
            return f"{counter} falls at step {run.steps.step[fell].iloc[0]}"
    return ""


def _updates(run: Evidence) -> str:
    taken = run.steps.active.cumsum() + run.steps.drained
    wrong = run.steps[taken != run.steps.worker_updates]
    return f"step {wrong.step.iloc[0]}: active and drained tickets do not add up" if len(wrong) else ""


def _calls(run: Evidence) -> str:
    """Outer jobs and inner rounds cost the same calls, so calls count jobs.

    Known without a worker's own history only where every inner round had every worker.
    """
    cuts = run.scenario.cuts
    if run.summary["evicted"] or (cuts is not None and cuts.participation != "all"):
        return ""
    n_workers, pooled = computing_workers(run.scenario)
    calls = run.scenario.problem.cost(pooled).calls
    rounds = cuts.rounds if cuts is not None else 0
    jobs = run.steps.worker_updates + rounds * n_workers * run.steps.cut_updates
    wrong = run.steps[run.steps.llm_calls != calls * jobs]
    return f"step {wrong.step.iloc[0]}: {wrong.llm_calls.iloc[0]} calls" if len(wrong) else ""


def _summary(run: Evidence) -> str:
    last = run.steps.iloc[-1]
    keys = {"server_steps": "step", "worker_updates": "worker_updates", "llm_calls": "llm_calls"}
    for key, column in keys.items():
        if run.summary[key] != last[column]:
            return f"{key}: summary {run.summary[key]}, steps {last[column]}"
    if last.time_s > run.summary["simulated_time_s"]:
        return f"the last step is at {last.time_s} s, the summary ends at {run.summary['simulated_time_s']} s"
    return ""


INVARIANTS: dict[str, Callable[[Evidence], str]] = {
    "times never go back": _times,
    "staleness stays under tau": _staleness,
    "at least S tickets in every step": _active,
    "seconds per activity add up to the clock": _seconds,
    "counters grow": _counters,
    "worker updates are active plus drained tickets": _updates,
    "LLM calls follow from the jobs": _calls,
    "tables agree with the summary": _summary,
}

"""The invariants of a finished run, checked on its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim.errors import ResultsError
from fedsim.results import NOT_ALWAYS, check_contents, check_folder, read_summary, read_table
from fedsim.scenario import Scenario, load_scenario
from fedsim.schedule import Rounds, Steps
from fedsim.timing.attacks import TimingAttack

COUNTERS = (
    *("step", "worker_updates", "drained", "llm_calls"),
    *("tokens_in", "tokens_out", "cost", "bytes_up", "bytes_down", "malicious_updates"),
)
"""Cumulative columns of every run; an algorithm names further ones."""
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
    spans: pd.DataFrame | None
    tickets: pd.DataFrame | None
    queue: pd.DataFrame | None
    links: pd.DataFrame | None


def verify(folder: Path) -> list[Check]:
    """Check a run folder.

    Raises:
        ResultsError: the folder is missing, damaged or changed.
    """
    check_contents(folder, check_folder(folder))
    evidence = Evidence(
        load_scenario(folder / "scenario.toml"),
        read_summary(folder),
        read_table(folder, "steps"),
        read_table(folder, "workers"),
        *(
            read_table(folder, table) if (folder / f"{table}.parquet").exists() else None
            for table in NOT_ALWAYS
        ),
    )
    if evidence.steps.empty or evidence.workers.empty:
        raise ResultsError(f"{folder}: damaged: a table without rows")
    try:
        return [Check(invariant, check(evidence)) for invariant, check in INVARIANTS.items()]
    except (AttributeError, KeyError) as error:
        missing = getattr(error, "name", None) or error.args[0]
        raise ResultsError(f"{folder}: damaged: nothing is said about {missing!r}") from error


def counters(run: Evidence) -> list[str]:
    """Return the names of the run's cumulative columns."""
    schedule = run.scenario.schedule
    named = [schedule.interlude.counter] if schedule.interlude is not None else []
    named += ["openings"] if schedule.opening is not None else []
    return [*COUNTERS, *named, *run.scenario.algorithm.counters]


def _times(run: Evidence) -> str:
    back = run.steps.time_s.diff() < 0
    return f"time goes back at step {run.steps.step[back].iloc[0]}" if back.any() else ""


def _staleness(run: Evidence) -> str:
    rule = run.scenario.schedule.rule
    tau = rule.tau if isinstance(rule, Steps) else 1
    late = run.steps[run.steps.staleness_max >= tau]
    return f"step {late.step.iloc[0]}: staleness {late.staleness_max.iloc[0]}, tau {tau}" if len(late) else ""


def _active(run: Evidence) -> str:
    rule = run.scenario.schedule.rule
    taken = run.steps[run.steps.step > 0]
    # Workers that were given up, or have yet to join, are not waited for.
    there = taken.members
    if isinstance(rule, Rounds):
        if _gave_up(run):  # of those who are asked in a round, some may not be left
            return ""
        there = there.shift(fill_value=1)  # who joins during a round is asked from the next one on
    expected = there.clip(upper=rule.participants if isinstance(rule, Rounds) else rule.wait_for)
    thin = taken[taken.active < expected]
    if thin.empty:
        return ""
    first = thin.iloc[0]
    return f"step {first.step:g}: {first.active:g} tickets, S {expected[thin.index[0]]:g}"


def _gave_up(run: Evidence) -> bool:
    """Whether the server has ever evicted a worker."""
    return bool(run.summary["evicted"] or run.workers.readmitted.any())


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
    for counter in counters(run):
        fell = run.steps[counter].diff() < 0
        if fell.any():
            return f"{counter} falls at step {run.steps.step[fell].iloc[0]}"
    return ""


def _updates(run: Evidence) -> str:
    taken = run.steps.active.cumsum() + run.steps.drained
    if run.scenario.schedule.opening is not None:
        taken -= run.steps.openings
    wrong = run.steps[taken != run.steps.worker_updates]
    return f"step {wrong.step.iloc[0]}: active and drained tickets do not add up" if len(wrong) else ""


def _calls(run: Evidence) -> str:
    """Jobs of a kind all make the same calls, so calls count jobs.

    They are known exactly where every round of an interlude had every worker, and no ticket came too late to
    be used. Elsewhere they are at least those of the worker updates. Malicious workers may skip their calls.
    """
    schedule, steps, n_machines = run.scenario.schedule, run.steps, run.scenario.n_machines
    calls = {kind: work.cost.calls for kind, work in schedule.work.items()}
    honest = calls[schedule.regular] * steps.worker_updates
    if schedule.opening is not None:
        honest += calls[schedule.opening] * steps.openings
    between = schedule.interlude
    lazy = any(isinstance(attack, TimingAttack) for attack in run.scenario.attacks)
    everybody = bool((steps.members[steps.step > 0] == n_machines).all())
    if _gave_up(run) or not everybody or (between is not None and between.participation != "all"):
        off = (steps.llm_calls < honest) & (not lazy)
    else:
        if between is not None:
            honest += calls[between.work] * n_machines * between.rounds * steps[between.counter]
        off = steps.llm_calls > honest if lazy else steps.llm_calls != honest
    wrong = steps[off]
    return f"step {wrong.step.iloc[0]}: {wrong.llm_calls.iloc[0]} calls" if len(wrong) else ""


def _summary(run: Evidence) -> str:
    last, summary = run.steps.iloc[-1], run.summary
    for key in counters(run):
        said = summary["server_steps" if key == "step" else key]
        if abs(said - last[key]) > TOLERANCE * abs(said):
            return f"{key}: summary {said}, steps {last[key]}"
    if last.time_s > summary["simulated_time_s"] * (1 + TOLERANCE):
        return f"the last step is at {last.time_s} s, the summary ends at {summary['simulated_time_s']} s"
    if run.steps.staleness_max.max() != summary["staleness_max"]:
        return f"staleness_max: summary {summary['staleness_max']}, steps {run.steps.staleness_max.max()}"
    for activity, said in summary["seconds_by_activity"].items():
        mean = run.workers[f"seconds_{activity}"].mean()
        if abs(said - mean) > TOLERANCE * max(1.0, said):
            return f"{activity}: summary {said} s a worker, workers {mean} s"
    return ""


def _labels(run: Evidence) -> str:
    """Only for runs that ask a real model: without labels in its answers, results mean nothing."""
    if run.summary["ended"] != "no labels":
        return ""
    return next(iter(run.summary.get("cautions", ())), "too many of them name none")


def _spans(run: Evidence) -> str:
    """Only for runs that kept them. Each entity's stretches follow each other from 0 to the end."""
    if run.spans is None:
        return ""
    end_s = run.summary["simulated_time_s"]
    for entity, spans in run.spans.groupby("entity", sort=False):
        joints = [0.0, *spans.end_s]
        if list(spans.start_s) != joints[:-1] or abs(joints[-1] - end_s) > TOLERANCE * max(1.0, end_s):
            return f"{entity}: its spans leave a gap, overlap, or miss the end"
    return ""


def _tickets(run: Evidence) -> str:
    """Only for runs that kept them. What steps say of their tickets is what the tickets say."""
    if run.tickets is None:
        return ""
    steps = run.steps[run.steps.step > 0].set_index("step")
    by_kind = {kind: run.tickets[run.tickets.kind == kind].groupby("step") for kind in ("active", "drained")}
    staleness, finish_s = by_kind["active"].staleness, by_kind["active"].finish_s
    found = pd.DataFrame(
        {
            "active": staleness.size(),
            "staleness_mean": staleness.mean(),
            "staleness_max": staleness.max(),
            # What is drained after a step is in the books of the next.
            "drained": by_kind["drained"]
            .size()
            .reindex(steps.index, fill_value=0)
            .cumsum()
            .shift(fill_value=0),
        }
    )
    if len(extra := found.index.difference(steps.index)):
        return f"step {extra[0]}: it has tickets and was never taken"
    found = found.reindex(steps.index)
    for column in found:
        # In this form a step without tickets is off as well.
        off = ~((found[column] - steps[column]).abs() <= TOLERANCE * steps[column].clip(lower=1))
        if off.any():
            said, by_tickets = steps[column][off].iloc[0], found[column][off].iloc[0]
            return f"step {off.idxmax()}: {column} {said:g}, by its tickets {by_tickets:g}"
    late = finish_s.max() > steps.time_s
    return f"step {late.idxmax()}: a ticket came after it" if late.any() else ""


def _queue(run: Evidence) -> str:
    """Only for runs that kept the queue of a shared LLM service."""
    if run.queue is None:
        return ""
    levels, limit = run.queue, getattr(run.scenario.llm, "concurrency", None)
    wrong = (levels.queued < 0) | (levels.serving < 0)
    if limit is not None:
        wrong |= levels.serving > limit
    if wrong.any():
        first = levels[wrong].iloc[0]
        return f"at {first.time_s} s: {first.queued:g} calls wait, {first.serving:g} are answered"
    back = levels.groupby("service").time_s.diff() < 0
    return f"time goes back at {levels.time_s[back].iloc[0]} s" if back.any() else ""


def _links(run: Evidence) -> str:
    """Only for runs of a network with links."""
    if run.links is None:
        return ""
    end_s = run.summary["simulated_time_s"]
    # What is on its way can only go as fast as the link is. The utilisation tells, because the bytes include
    # what was sent again, which takes no bandwidth.
    over = (run.links.busy_s > end_s * (1 + TOLERANCE)) | (
        run.links.utilisation * end_s > run.links.busy_s * (1 + TOLERANCE)
    )
    if not over.any():
        return ""
    first = run.links[over].iloc[0]
    return f"{first.source} to {first.target}: {first.n_bytes:.10g} bytes in {first.busy_s:.10g} s"


INVARIANTS: dict[str, Callable[[Evidence], str]] = {
    "times never go back": _times,
    "staleness stays under tau": _staleness,
    "at least S tickets in every step": _active,
    "seconds per activity add up to the clock": _seconds,
    "counters grow": _counters,
    "worker updates are active plus drained tickets": _updates,
    "LLM calls follow from the jobs": _calls,
    "tables agree with the summary": _summary,
    "the answers of a real model name labels": _labels,
    "spans tile the clock": _spans,
    "steps agree with their tickets": _tickets,
    "the LLM service keeps its limit": _queue,
    "no link carries more than it can": _links,
}

"""The invariants of a finished run, checked on its folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from fedsim.errors import ResultsError
from fedsim.results import NOT_ALWAYS, check_contents, check_folder, read_summary, read_table
from fedsim.scenario import Scenario, load_scenario
from fedsim.schedule import Rounds, Steps
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.exchange import StepReport

COUNTERS = (
    *("step", "worker_updates", "drained", "llm_calls"),
    *("tokens_in", "tokens_out", "cost", "bytes_up", "bytes_down", "malicious_updates"),
)
"""Cumulative columns of every run; an algorithm names further ones."""
TOLERANCE = 1e-9
"""Relative; for what is computed twice in other orders."""
SWITCHES = 12
"""More often than that no machine changes what it does in a job, nor the server for it, nor for a call."""


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
    prompt: pd.DataFrame | None


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
    named += [schedule.skipped_counter] if schedule.skipped_counter else []
    named += ["openings"] if schedule.opening is not None else []
    named += [key for key in ("own_tokens", "own_gradient_tokens") if key in run.steps]
    return [*COUNTERS, *named, *run.scenario.algorithm.counters]


def _slack_s(run: Evidence, additions: float) -> float:
    """Return how far a sum of differences of instants may be off (s).

    An instant is known as finely as floating point can tell it from the next one: the later it is, the worse.
    Whoever adds durations up adds so much each time.
    """
    return additions * float(np.spacing(run.summary["simulated_time_s"]))


def _jobs(run: Evidence) -> float:
    """Return how many jobs all machines have done or begun, at most."""
    return float(run.workers.jobs.sum() + run.workers.times_down.sum() + run.workers.jobs_lost.sum()) + len(
        run.workers
    )


def _calls_made(run: Evidence) -> float:
    """Return how many calls there were, refused and lost ones included, at most."""
    counts = (value for key, value in run.summary.items() if key.startswith("llm_"))
    return float(sum(count for count in counts if isinstance(count, int | float)))


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
    size = rule.participants if isinstance(rule, Rounds) else rule.wait_for
    between = run.scenario.schedule.interlude
    if between is not None and between.participation == "rolling":
        # At most S workers are busy with a round in the background; of the others, one at least has reported.
        known = "wait_for" not in taken and not _gave_up(run)
        there = (there - size).clip(lower=1) if known else there.clip(upper=1)
    expected = there.clip(upper=taken.wait_for if "wait_for" in taken else size)
    thin = taken[taken.active < expected]
    if thin.empty:
        return ""
    first = thin.iloc[0]
    return f"step {first.step:g}: {first.active:g} tickets, S {expected[thin.index[0]]:g}"


def _gave_up(run: Evidence) -> bool:
    """Whether the server has ever evicted or expelled a worker."""
    return bool(run.summary["evicted"] or run.summary["expelled"] or run.workers.readmitted.any())


def _seconds(run: Evidence) -> str:
    columns = [column for column in run.workers if str(column).startswith("seconds_")]
    total, expected = run.workers[columns].sum(axis=1), run.summary["simulated_time_s"]
    most_off_s = TOLERANCE * expected + _slack_s(run, SWITCHES * (_jobs(run) + _calls_made(run)))
    off = ~((total - expected).abs() <= most_off_s)
    if off.any():
        worker = run.workers.worker[off].iloc[0]
        return f"worker {worker}: {total[off].iloc[0]} s booked, the clock says {expected} s"
    server = sum(run.summary["server_seconds_by_activity"].values())
    return "" if abs(server - expected) <= most_off_s else f"server: {server} s booked"


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


def _kinds(run: Evidence) -> str:
    """What came in after the last step is in the counts by kind alone, so they are at least as large.

    Jobs are counted as the server takes their reports, by kind and by worker.
    """
    last, work, counts = run.steps.iloc[-1], run.scenario.schedule.work, run.summary["by_kind"]
    if not isinstance(counts, dict) or counts.keys() != work.keys():
        return f"by_kind: {counts}, expected one of {', '.join(work)} each"
    totals = Counter[str]()
    for kind, count in counts.items():
        cost = work[kind].cost
        if count["bytes_up"] != count["jobs"] * cost.bytes_up:
            return f"{kind}: {count['bytes_up']} bytes up in {count['jobs']} jobs"
        if count["llm_calls"] > count["jobs"] * cost.calls:
            return f"{kind}: {count['llm_calls']} calls in {count['jobs']} jobs"
        totals.update(count)
    if totals["jobs"] != run.workers.jobs.sum():
        return f"{totals['jobs']} jobs by kind, {run.workers.jobs.sum()} by worker"
    for key, total in totals.items():
        if key in run.steps and total < last[key]:
            return f"{key}: {total} by kind of job, {last[key]} in the steps"
    return ""


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
    for key in (*counters(run), "tokens_cached"):
        said = summary["server_steps" if key == "step" else key]
        if not _same(said, last[key]):
            return f"{key}: summary {said}, steps {last[key]}"
    if last.time_s > summary["simulated_time_s"] * (1 + TOLERANCE):
        return f"the last step is at {last.time_s} s, the summary ends at {summary['simulated_time_s']} s"
    if run.steps.staleness_max.max() != summary["staleness_max"]:
        return f"staleness_max: summary {summary['staleness_max']}, steps {run.steps.staleness_max.max()}"
    means = {
        str(column).removeprefix("seconds_"): run.workers[column].mean()
        for column in run.workers
        if str(column).startswith("seconds_")
    }
    for activity, said in summary["seconds_by_activity"].items():
        mean = means.pop(activity, 0.0)
        if not _same(said, mean):
            return f"{activity}: summary {said} s a worker, workers {mean} s"
    if means:
        return f"{next(iter(means))}: not in the summary"
    for key, expected in _expected(run).items():
        if not _same(summary.get(key), expected):
            return f"{key}: summary {summary.get(key)}, by scenario and tables {expected}"
    return ""


def _labels(run: Evidence) -> str:
    """Only for runs that ask a real model: without labels in its answers, results mean nothing."""
    if run.summary["ended"] != "no labels":
        return ""
    return next(iter(run.summary.get("cautions", ())), "too many of them name none")


def _expected(run: Evidence) -> dict[str, Any]:
    """Return further entries of the summary, as they follow from the scenario and the tables."""
    scenario, steps, workers = run.scenario, run.steps, run.workers
    taken, measured = steps[steps.step > 0], steps.dropna(subset=["loss"])
    found: dict[str, Any] = {
        "scenario": scenario.name,
        "variant": scenario.variant,
        "algorithm": scenario.algorithm.kind,
        "seed": scenario.seed,
        "n_workers": scenario.n_workers,
        "access": scenario.problem.access,
        "reveals": scenario.algorithm.reveals(scenario),
        "staleness_mean": float(np.average(taken.staleness_mean, weights=taken.active))
        if len(taken)
        else 0.0,
    }
    for how in ("evicted", "expelled"):
        gone = workers[["worker", f"{how}_s"]].dropna().to_numpy(float)
        found[how] = {str(int(worker)): at_s for worker, at_s in gone}
    found["time_to_target_s"], found["time_to_target_resolution_s"] = _reached(scenario, measured)
    counted = {*StepReport._fields, *counters(run)}
    for metric in (str(column) for column in steps if column not in counted):
        found[metric] = float(measured[metric].iloc[-1]) if len(measured) else None
    return found


def _reached(scenario: Scenario, measured: pd.DataFrame) -> tuple[float | None, float | None]:
    """Return when the target was reached for good, and how long before the measurement was that came before.

    Nothing where it was not reached, or there is none.
    """
    target = scenario.target
    if target is None or measured.empty:  # a run of the clock alone has no measurements
        return None, None
    place = target.reached_at(measured[target.metric].to_numpy(float).tolist())
    if place is None:
        return None, None
    times_s = measured["time_s"].to_numpy(float)
    return float(times_s[place]), float(times_s[place] - (times_s[place - 1] if place else 0.0))


def _same(said: Any, expected: Any) -> bool:
    """Whether two values are equal, numbers up to rounding; what JSON cannot write is null in a summary."""
    if isinstance(expected, dict):
        keys = isinstance(said, dict) and said.keys() == expected.keys()
        return keys and all(_same(said[key], expected[key]) for key in expected)
    if expected is None or isinstance(expected, str | int | np.integer):
        return bool(said == expected)
    if not math.isfinite(expected):
        return said is None
    number = isinstance(said, int | float) and not isinstance(said, bool)
    return number and bool(abs(said - expected) <= TOLERANCE * abs(expected))


def _spans(run: Evidence) -> str:
    """Only for runs that kept them. Each entity's stretches follow each other from 0 to the end."""
    if run.spans is None:
        return ""
    end_s = run.summary["simulated_time_s"]
    for entity, spans in run.spans.groupby("entity", sort=False):
        joints = [0.0, *spans.end_s]
        if list(spans.start_s) != joints[:-1] or not abs(joints[-1] - end_s) <= TOLERANCE * end_s:
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


def _expelled(run: Evidence) -> str:
    """Only for runs in which somebody was expelled. At that instant he is no member any more."""
    out = run.workers.set_index("worker").expelled_s.dropna()
    gone = np.searchsorted(np.sort(out.to_numpy(float)), run.steps.time_s.to_numpy(float))
    over = run.steps[run.steps.members > run.scenario.n_machines - gone]
    if len(over):
        return f"step {over.step.iloc[0]}: {over.members.iloc[0]} members are more than are left"
    if run.tickets is None:
        return ""
    at_s = run.steps.set_index("step").time_s
    used_s = run.tickets.finish_s.where(run.tickets.kind != "active", run.tickets.step.map(at_s))
    late = run.tickets[used_s > run.tickets.worker.map(out)]
    return f"step {late.step.iloc[0]} uses a ticket of worker {late.worker.iloc[0]}" if len(late) else ""


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
    # Each message begins and ends at an instant, and its share of the link changes when another one does.
    messages = 2 * _jobs(run)
    slack_s = _slack_s(run, 4 * messages)
    over = (run.links.busy_s > end_s * (1 + TOLERANCE) + slack_s) | (
        run.links.utilisation * end_s > run.links.busy_s * (1 + TOLERANCE) + slack_s
    )
    if not over.any():
        return ""
    first = run.links[over].iloc[0]
    return f"{first.source} to {first.target}: {first.n_bytes:.10g} bytes in {first.busy_s:.10g} s"


def _constraint(run: Evidence) -> str:
    """Only for runs with cuts. h was above epsilon at an update and is within it at a later one."""
    between = run.scenario.schedule.interlude
    if between is None or "constraint_met" not in run.steps:
        return ""
    for share in ("words_within_epsilon", "multipliers_above_0"):
        wrong = run.steps[~run.steps[share].fillna(0).between(0, 1)]
        if len(wrong):
            return f"step {wrong.step.iloc[0]}: {share} {wrong[share].iloc[0]:g}, expected 0 to 1"
    met = run.steps[run.steps.constraint_met == 1]
    wrong = met[~(met.words_within_epsilon > 0.5) | (met[between.counter] < 2)]
    if wrong.empty:
        return ""
    first = wrong.iloc[0]
    within, updates = first.words_within_epsilon, first[between.counter]
    return f"step {first.step:g}: met with {within:.0%} of the words within epsilon after {updates:g} updates"


INVARIANTS: dict[str, Callable[[Evidence], str]] = {
    "times never go back": _times,
    "staleness stays under tau": _staleness,
    "at least S tickets in every step": _active,
    "seconds per activity add up to the clock": _seconds,
    "counters grow": _counters,
    "worker updates are active plus drained tickets": _updates,
    "LLM calls follow from the jobs": _calls,
    "counts by kind of job cover the steps": _kinds,
    "tables agree with the summary": _summary,
    "the answers of a real model name labels": _labels,
    "spans tile the clock": _spans,
    "steps agree with their tickets": _tickets,
    "who was expelled takes part no more": _expelled,
    "the LLM service keeps its limit": _queue,
    "no link carries more than it can": _links,
    "the constraint is met by most words": _constraint,
}

"""The tables and the headline numbers of a finished run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.llm_service import QueueLevel
from fedsim.timing.loop import Ending
from fedsim.timing.network import LinkUse
from fedsim.timing.pace import Halt

if TYPE_CHECKING:
    from fedsim.recorder import Recorder
    from fedsim.scenario import Scenario
    from fedsim.step_rows import StepRows
    from fedsim.timing.books import KindCount
    from fedsim.timing.llm_service import LlmProvider


def steps(rows: StepRows, llm: LlmProvider | None) -> pd.DataFrame:
    """Return one row per server step and one for the start.

    Counters are cumulative; measurements may be null.
    """
    table = rows.table()
    tokens = zip(table.tokens_in, table.tokens_out, table.tokens_cached, strict=True)
    cost = [price(llm, *counts) for counts in tokens]
    table.insert(list(table.columns).index("tokens_out") + 1, "cost", cost)
    for column in ("loss", "accuracy"):
        if column not in table:
            table[column] = math.nan
    return table


def price(llm: LlmProvider | None, tokens_in: int, tokens_out: int, tokens_cached: int) -> float:
    """Return what these tokens cost; nothing where there is no service."""
    return 0.0 if llm is None else llm.price(tokens_in, tokens_out, tokens_cached)


def of_model(usage: dict[str, Any], cautions: Sequence[str]) -> dict[str, Any]:
    """Return the headline numbers of a real model: what was sent to it, as far from the simulated calls.

    What the server does not report, or nobody gave a price for, is null.
    """
    sent, scored = usage.get("sent", {}), usage.get("scored")
    numbers = {f"real_{key}": sent.get(key) for key in ("calls", "tokens_in", "tokens_out", "cost")}
    return numbers | {
        "real_answers_kept": usage.get("from_cache"),
        "unnamed_share": usage["without_label"] / scored if scored else None,
        "cautions": list(cautions),
    }


def workers(scenario: Scenario, ending: Ending) -> pd.DataFrame:
    """Return one row per worker: its group, jobs, and seconds by activity."""
    n_workers = len(ending.jobs)
    malicious = [worker in scenario.malicious_machines for worker in range(n_workers)]
    names = [group.name for group in scenario.machines for _ in range(group.count)]
    table = pd.DataFrame(
        {
            "worker": np.arange(n_workers),
            "group": names,
            "malicious": malicious,
            "jobs": ending.jobs,
            "evicted_s": [ending.evicted.get(worker, math.nan) for worker in range(n_workers)],
        }
    )
    table["times_down"] = ending.times_down
    table["jobs_lost"] = ending.jobs_lost
    table["readmitted"] = ending.readmitted
    table["expelled_s"] = [ending.expelled.get(worker, math.nan) for worker in range(n_workers)]
    for label, booked in _of_workers(ending.clock).items():
        table[f"seconds_{label}"] = booked[:n_workers]
    return table


def _of_workers(clock: ActivityClock) -> dict[str, list[float]]:
    """Return the seconds of all activities of workers, by label; an algorithm's own follow ``waiting``."""
    numbers = [activity for activity in Activity if activity is not Activity.STEPPING]
    place = numbers.index(Activity.WAITING) + 1
    order = [*numbers[:place], *range(len(Activity), len(clock.labels)), *numbers[place:]]
    return {clock.labels[number]: clock.seconds[number] for number in order}


def spans(ending: Ending) -> pd.DataFrame:
    """Return one row per stretch of one activity, in order of time."""
    server, labels = len(ending.jobs), ending.clock.labels
    table = pd.DataFrame(
        [
            ("server" if entity == server else f"worker {entity}", labels[activity], *edges)
            for entity, activity, *edges in ending.clock.spans
        ],
        columns=["entity", "activity", "start_s", "end_s"],
    )
    return table.sort_values(["start_s", "end_s"], kind="stable", ignore_index=True)


def queue(ending: Ending) -> pd.DataFrame:
    """Return one row per change of the length of a queue at an LLM service."""
    return pd.DataFrame(ending.served.levels, columns=list(QueueLevel._fields))


def links(ending: Ending) -> pd.DataFrame:
    """Return one row per direction of each link of the network: what it carried, and how busy it was."""
    return pd.DataFrame(ending.links, columns=list(LinkUse._fields))


def prompt(rows: Sequence[NamedTuple]) -> pd.DataFrame:
    """Return one row for each thing that was tuned, by column as `fedsim.learning.tuned.Tuned` says."""
    return pd.DataFrame(rows)


def tickets(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return one row per ticket that the server has taken, in the order in which it took them.

    `kind` says what became of it: ``active`` (used by server step `step`), ``drained`` (handed in at the
    barrier of the interlude after that step) or ``inner`` (a round of that interlude).
    `staleness` counts the server steps between the job's reading and that.
    """
    whole = dict.fromkeys(("step", "staleness", "worker", "job"), "int64")
    types = {"kind": "str", **whole, "start_s": "float64", "finish_s": "float64"}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def summary(
    scenario: Scenario,
    recorder: Recorder,
    ending: Ending,
    steps: pd.DataFrame,
    workers: pd.DataFrame,
) -> dict[str, Any]:
    """Return the headline numbers; what was not measured is null."""
    report, clock, schedule = ending.report, ending.clock, scenario.schedule
    by_server = [Activity.WAITING.label, Activity.STEPPING.label]
    counted = {"openings": report.openings} if schedule.opening is not None else {}
    if schedule.interlude is not None:
        by_server.append(schedule.interlude_activity)
        counted = {schedule.interlude.counter: report.interludes} | counted
    if schedule.skipped_counter:
        counted[schedule.skipped_counter] = report.skipped_interludes
    taken = steps[steps.step > 0]
    measured = steps.dropna(subset=["loss"])
    numbers: dict[str, Any] = {
        "scenario": scenario.name,
        "variant": scenario.variant,
        "algorithm": scenario.algorithm.kind,
        "seed": scenario.seed,
        "n_workers": scenario.n_workers,
        "access": scenario.problem.access,
        "reveals": scenario.algorithm.reveals(scenario),
        "ended": _ended(recorder, ending),
        "timing_only": recorder.timing_only,
        "simulated_time_s": ending.time_s,
        "server_steps": report.step,
        "worker_updates": report.worker_updates,
        "drained": report.drained,
        **counted,
        **{key: getattr(report, key) for key in ("llm_calls", "tokens_in", "tokens_out", "tokens_cached")},
        "cost": price(scenario.llm, report.tokens_in, report.tokens_out, report.tokens_cached),
        "bytes_up": report.bytes_up,
        "bytes_down": report.bytes_down,
        **{key: getattr(report, key) for key in ("own_tokens", "own_gradient_tokens") if key in steps},
        "by_kind": {kind: _of_kind(count) for kind, count in ending.by_kind.items()},
        **{f"llm_{key}": value for key, value in ending.served._asdict().items() if key != "levels"},
        "staleness_mean": _mean_staleness(taken),
        "staleness_max": int(taken.staleness_max.max()) if len(taken) else 0,
        **dict(zip(("time_to_target_s", "time_to_target_resolution_s"), recorder.reached(), strict=True)),
        "seconds_by_activity": {
            label: float(workers[f"seconds_{label}"].mean()) for label in _of_workers(clock)
        },
        "server_seconds_by_activity": {
            label: clock.seconds[clock.labels.index(label)][-1] for label in by_server
        },
        "evicted": {str(worker): time_s for worker, time_s in ending.evicted.items()},
        "expelled": {str(worker): time_s for worker, time_s in ending.expelled.items()},
        "waiting_for": ending.waiting_for,
    }
    numbers |= {counter: int(steps[counter].iloc[-1]) for counter in recorder.counters}
    known = {*report._fields, *counted, "cost", *recorder.counters}
    for metric in (column for column in steps.columns if column not in known):
        numbers[metric] = float(measured[metric].iloc[-1]) if len(measured) else math.nan
    if told := [*filter(None, [recorder.caution()]), *scenario.algorithm.cautions(numbers)]:
        numbers["cautions"] = told
    return {key: None if _is_unknown(value) else value for key, value in numbers.items()}


def _of_kind(count: KindCount) -> dict[str, int]:
    """Return what all jobs of a kind have cost, those included whose results the server has not used."""
    costs = count.cost._asdict()
    return {"jobs": count.jobs, "llm_calls": costs.pop("calls"), **costs}


def _is_unknown(value: Any) -> bool:
    """Whether a number has no place in JSON: not measured, or beyond every bound in a run that diverged."""
    return isinstance(value, float) and not math.isfinite(value)


def _mean_staleness(taken: pd.DataFrame) -> float:
    """Return the mean over tickets, not over steps."""
    return float(np.average(taken.staleness_mean, weights=taken.active)) if len(taken) else 0.0


def _ended(recorder: Recorder, ending: Ending) -> str:
    if recorder.stop_reason:
        return recorder.stop_reason
    if ending.deserted:
        return "deserted"
    if ending.stalled:
        return "stalled"
    if ending.halt in (Halt.OVERDUE, Halt.STANDSTILL):
        return ending.halt.value
    missed = ending.halt is Halt.HORIZON and not ending.report.worker_updates
    return "no update" if missed else "budget"

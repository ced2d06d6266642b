"""One run: the only place where *when* and *what* are joined."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from fedsim.algorithms.base import Bench, tuned_by
from fedsim.errors import DivergedError, ModelError, StalledError
from fedsim.faults import names_parts
from fedsim.recorder import BOUNDS, Progress, Recorder
from fedsim.scenario import Scenario
from fedsim.streams import Streams
from fedsim.timing.loop import Ending, Timeline, run_timeline
from fedsim.timing.pace import LONGEST_S
from fedsim.timing.settings import ServerSettings

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.problems.base import Questions


UNNAMED = "no labels"
"""How a run ended in which too many answers of a real model name none of the labels."""


@dataclass(frozen=True)
class Run:
    """A finished run: the scenario, the headline numbers and the tables."""

    scenario: Scenario
    summary: dict[str, Any]
    steps: pd.DataFrame
    workers: pd.DataFrame
    spans: pd.DataFrame | None = None
    usage: dict[str, Any] | None = None
    """What a real model was asked: part of where results come from, not of the results."""
    tickets: pd.DataFrame | None = None
    """One row per ticket that the server has taken, kept with the spans."""
    queue: pd.DataFrame | None = None
    """One row per change of a queue at a shared LLM service, kept with the spans."""
    links: pd.DataFrame | None = None
    """One row per direction of each link, where the network has links."""
    prompt: pd.DataFrame | None = None
    """The result of tuning: a row for each demonstration, word, answer or vector of each worker and of the
    consensus (`fedsim.learning.tuned.Tuned`); none where nothing was tuned."""
    learned: str | None = None
    """What was learned, in the form in which another run takes it up, when the scenario asks to record it."""
    answers: str | None = None
    """The answers of a real model, as `Replay` reads them, when the scenario asks to record them."""
    duration_s: float = 0.0
    """How long the run took, in real seconds."""

    def __repr__(self) -> str:
        numbers = ", ".join(
            f"{key}={self.summary[key]:.6g}"
            for key in ("simulated_time_s", "server_steps", "worker_updates", "accuracy", "loss")
            if self.summary.get(key) is not None
        )
        return f"<Run {self.scenario.label}, seed {self.scenario.seed}: {numbers}>"

    def _repr_html_(self) -> str:
        import pandas as pd

        flat = {key: value for key, value in self.summary.items() if not isinstance(value, dict)}
        return pd.Series(flat, name=repr(self)).to_frame().to_html()


@names_parts
def run(scenario: Scenario, *, timing_only: bool = False, progress: Progress | None = None) -> Run:
    """Simulate a scenario.

    Args:
        scenario: what to run.
        timing_only: run the clock alone; nothing is learned and nothing measured.
        progress: called after every server step with its row of `steps`, a mapping with at least `step`,
            `time_s`, `worker_updates`, `active` and `staleness_mean`, and with `loss`, `accuracy` and so on
            where the step was measured; also with step 0, before the first.

    A run that stalls, does nothing or diverges comes back with what it had; its `summary` says so under
    ``ended``.

    Raises:
        PartError: a part of the scenario raised what it did not mean to.
    """
    started = time.perf_counter()
    found = _run(scenario, timing_only, progress)
    return replace(found, duration_s=time.perf_counter() - started)


def _run(scenario: Scenario, timing_only: bool, progress: Progress | None) -> Run:
    scenario.problem.check_cost()
    streams = Streams(scenario.seed)
    if timing_only or not scenario.algorithm.learns:
        recorder = Recorder(scenario, None, progress)
        ending = run_timeline(timeline(scenario), recorder, streams)
        return _finished(scenario, recorder, ending)
    import torch

    from fedsim import tables
    from fedsim.learning.device import on_device
    from fedsim.learning.one_thread import one_thread

    with one_thread(), torch.no_grad(), on_device(scenario.device):
        bench = Bench(scenario.problem, scenario.n_workers, streams, scenario.assigned)
        with _closed_at_the_end(bench):
            learner = scenario.algorithm.open(bench)
            recorder = Recorder(scenario, learner, progress)
            ending = run_timeline(timeline(scenario), recorder, streams)
            recorder.measure_end()
            finished = _finished(scenario, recorder, ending)
            if not recorder.diverged and (rows := tuned_by(learner)):
                finished = replace(finished, prompt=tables.prompt(rows))
            if scenario.record.learned:
                finished = replace(finished, learned=cast("Any", learner).learned())
            return _with_model(finished, bench.questions)


@contextmanager
def _closed_at_the_end(bench: Bench) -> Iterator[None]:
    """Free the real model that a run may hold, however the run ends."""
    try:
        yield
    finally:
        if bench.questions is not None:
            bench.questions.close()


def _with_model(run: Run, questions: Questions | None) -> Run:
    """Return a run with what it tells of its real model, if it has one."""
    if questions is None:
        return run
    from fedsim import tables

    usage, judgement = questions.usage(), questions.judge()
    nothing = [judgement.nothing] if judgement.nothing else []
    told = [*nothing, *judgement.cautions, *run.summary.get("cautions", ())]
    summary = run.summary | tables.of_model(usage, told)
    if nothing:
        summary["ended"] = UNNAMED
    answers = questions.recording() if run.scenario.record.answers else None
    return replace(run, summary=summary, usage=usage, answers=answers)


def timeline(scenario: Scenario) -> Timeline:
    """Return what the timing half needs to know of a scenario."""
    schedule, llm = scenario.schedule, scenario.llm
    if llm is not None:
        caching = {
            kind: work._replace(cost=work.cost._replace(tokens_cached=llm.cached_tokens(work.cost)))
            for kind, work in schedule.work.items()
        }
        schedule = schedule._replace(work=caching)
    return Timeline(
        groups=tuple(group.starting_at(scenario.clock.starts_at) for group in scenario.machines),
        service=llm,
        network=scenario.network,
        server=scenario.server if not schedule.alone else ServerSettings(step_s=0.0),
        schedule=schedule,
        horizon_s=scenario.budget.horizon_s,
        max_steps=scenario.budget.server_steps,
        max_updates=scenario.budget.updates(scenario.n_machines),
        keep_spans=scenario.record.spans,
        attacks=scenario.assigned,
    )


def _finished(scenario: Scenario, recorder: Recorder, ending: Ending) -> Run:
    """Put tables and headline numbers together."""
    from fedsim import tables

    steps = tables.steps(recorder.rows, scenario.llm)
    workers = tables.workers(scenario, ending)
    found = Run(scenario, tables.summary(scenario, recorder, ending, steps, workers), steps, workers)
    if ending.links:
        found = replace(found, links=tables.links(ending))
    if ending.served.levels:
        found = replace(found, queue=tables.queue(ending))
    if not scenario.record.spans:
        return found
    return replace(found, spans=tables.spans(ending), tickets=tables.tickets(recorder.tickets))


def raise_if_failed(summary: dict[str, Any]) -> None:
    """Raise what a person must be told of a run that did not end well.

    Args:
        summary: the run's headline numbers.

    Raises:
        DivergedError: the loss or another measurement left every bound.
        ModelError: the model's answers name no labels, so that the results mean nothing.
        StalledError: the server waited for workers that would never answer, or gave all of them up; no worker
            update was made; the clock stood still, or came to its end.
    """
    name = " ".join(part for part in (summary["scenario"], summary["variant"]) if part)
    if summary["ended"] == "diverged":
        what, limit, remedy = next(
            bound for key, bound in BOUNDS.items() if key in summary and bound.passed(summary[key])
        )
        raise DivergedError(
            f"{name}: {what} passed {limit:g} at step {summary['server_steps']}; try {remedy}"
        )
    if summary["ended"] == UNNAMED:
        raise ModelError(f"{name}: {summary['cautions'][0]}")
    ended, at_s, steps = summary["ended"], summary["simulated_time_s"], summary["server_steps"]
    if ended == "deserted" and (expelled := summary["expelled"]):
        raise StalledError(
            f"{name}: no honest worker left at {at_s:g} s after {steps} steps: {len(expelled)} expelled by "
            f"{summary['algorithm']!r}, {len(summary['evicted'])} evicted"
        )
    if ended == "deserted":
        raise StalledError(
            f"{name}: no worker left at {at_s:g} s after {steps} "
            "steps: the server has evicted all of them; server.evict_after_s may be shorter than a job"
        )
    if ended == "stalled":
        missing = ", ".join(map(str, summary["waiting_for"][:10]))
        raise StalledError(
            f"{name}: stalled at {at_s:g} s after {steps} steps: "
            f"worker {missing} will never answer; server.evict_after_s lets the server go on without it"
        )
    if ended == "no update":
        raise StalledError(
            f"{name}: no worker update in {at_s:g} s of simulated time, {_mostly(summary)}; expected a "
            "longer budget.horizon_s, or budget.server_steps = 0 where only the start is to be measured"
        )
    if ended == "standstill":
        raise StalledError(
            f"{name}: the clock stands still at {at_s:g} s after {steps} steps: very many events have "
            "happened and almost no simulated time has passed; expected longer times, or, in place of a "
            "budget of seconds alone, one of epochs, server_steps or worker_updates"
        )
    if ended == "overdue":
        raise StalledError(
            f"{name}: not at its end after {LONGEST_S:g} s (272 years) of simulated time and {steps} steps, "
            f"{_mostly(summary)}; later times than that the clock cannot tell apart by microseconds"
        )


def _mostly(summary: dict[str, Any]) -> str:
    """Say what took the workers' time."""
    seconds = summary["seconds_by_activity"]
    activity = max(seconds, key=seconds.get)
    share = seconds[activity] / (sum(seconds.values()) or 1.0)
    return f"of which workers spent {share:.0%} {activity}"

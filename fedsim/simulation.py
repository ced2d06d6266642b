"""One run: the only place where *when* and *what* are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fedsim.errors import DivergedError, StalledError
from fedsim.faults import names_parts
from fedsim.messages import JobKind
from fedsim.recorder import DIVERGED, Progress, Recorder
from fedsim.scenario import Scenario
from fedsim.streams import Streams
from fedsim.timing.loop import Ending, Timeline, run_timeline

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from fedsim.learning.averager import Averager
    from fedsim.learning.oracle import Oracle, Questions
    from fedsim.learning.tuner import Tuner


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
    """A row a ticket that the server has taken, kept with the spans."""
    queue: pd.DataFrame | None = None
    """A row each change of a queue at a shared LLM service, kept with the spans."""
    links: pd.DataFrame | None = None
    """A row each direction of each link, where the network has links."""
    answers: str | None = None
    """The answers of a real model, as `Replay` reads them, when the scenario asks to record them."""

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
        progress: called after every server step.

    A run that stalls or diverges comes back with what it had; `summary` says so under ``ended``.

    Raises:
        PartError: a part of the scenario raised what it did not mean to.
    """
    streams = Streams(scenario.seed)
    if timing_only:
        recorder = Recorder(scenario, None, progress)
        ending = run_timeline(timeline(scenario), recorder, streams)
        return _finished(scenario, recorder, ending)
    import torch

    threads = torch.get_num_threads()
    # One thread: these tensors are small, runs side by side use the cores better, and the order of a sum, and
    # so its last digit, does not depend on the machine.
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            tuner = _tuner(scenario, streams)
            with _closed_at_the_end(tuner.questions):
                recorder = Recorder(scenario, tuner, progress)
                ending = run_timeline(timeline(scenario), recorder, streams)
                recorder.measure_end()
                finished = _finished(scenario, recorder, ending)
                return replace(finished, **_asked(tuner.questions, scenario.record.answers))
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _closed_at_the_end(questions: Questions | None) -> Iterator[None]:
    """Free the real model that a run may hold, however the run ends."""
    try:
        yield
    finally:
        if questions is not None:
            questions.close()


def _asked(questions: Questions | None, keep_answers: bool) -> dict[str, Any]:
    """Return what a run tells of its real model."""
    if questions is None:
        return {}
    return {"usage": questions.usage(), "answers": questions.recording() if keep_answers else None}


def computing_workers(scenario: Scenario) -> tuple[int, int]:
    """Return how many workers compute, and how many workers' data each of them holds."""
    return (1, scenario.n_workers) if scenario.algorithm.centralised else (scenario.n_workers, 1)


def timeline(scenario: Scenario) -> Timeline:
    """Return what the timing half needs to know of a scenario."""
    n_workers, pooled = computing_workers(scenario)
    groups = list(scenario.workers)
    cost = scenario.problem.cost(pooled)
    if scenario.algorithm.centralised:
        # The centralised client is a worker of the first group, beside its server: nothing is sent.
        groups = [groups[0].without_network()]
        cost = cost._replace(bytes_up=0, bytes_down=0)
    cost = cost._replace(tokens_cached=scenario.llm.cached_tokens(cost))
    wait_for, tau = scenario.algorithm.step_rule(n_workers)
    robust, rules = scenario.learning.robust, scenario.learning.aggregation
    signs = rules is not None and rules.outer is not None and rules.outer.sends_signs
    compares = signs or (robust is not None and robust.outer == "R1")
    reads_z = compares and not scenario.algorithm.centralised and not scenario.algorithm.averages
    each = scenario.algorithm.steps_a_job
    # A worker gets its pull of the cuts, and z as well where it compares p with it; an inner round sends z
    # down and p up. A sign is one bit of the 32 of a number.
    outer = cost._replace(
        calls=cost.calls * each,
        tokens_in=cost.tokens_in * each,
        tokens_out=cost.tokens_out * each,
        tokens_cached=cost.tokens_cached * each,
        bytes_up=-(-cost.bytes_up // 32) if signs else cost.bytes_up,
        bytes_down=cost.bytes_down * (2 if reads_z else 1),
    )
    return Timeline(
        groups=groups,
        service=scenario.llm,
        network=scenario.network,
        server=scenario.server,
        wait_for=wait_for,
        tau=tau,
        cuts=scenario.cuts if scenario.problem.tunes_p and not scenario.algorithm.averages else None,
        costs={JobKind.OUTER: outer, JobKind.INNER: cost},
        cut_bytes=cost.bytes_up,
        horizon_s=scenario.budget.horizon_s,
        max_steps=scenario.budget.server_steps,
        max_updates=scenario.budget.updates(n_workers),
        keep_spans=scenario.record.spans,
        attacks=scenario.assigned,
        participants=scenario.algorithm.sampled(n_workers),
    )


def _tuner(scenario: Scenario, streams: Streams) -> Tuner | Averager:
    from fedsim.learning.averager import Averager
    from fedsim.learning.door import Door
    from fedsim.learning.tuner import Tuner

    n_workers, pooled = computing_workers(scenario)
    algorithm, learning, rules = scenario.algorithm, scenario.learning, scenario.learning.aggregation
    judge = rules.filter if rules is not None else None
    # The server's own data, where it needs any, are those of one worker more that takes no part.
    spare = int(judge is not None and judge.needs_trusted)
    oracle = scenario.problem.prepare(streams, n_workers + spare, pooled, scenario.assigned)
    door = Door(scenario.assigned, streams, rules.outer if rules is not None else None)
    filtering = None
    if judge is not None:
        trusted = _trusted(oracle, n_workers) if spare else None
        filtering = judge.open(n_workers, trusted, scenario.problem.cost().calls)
    if algorithm.averages:
        return Averager(oracle, learning, n_workers, algorithm.steps_a_job, door, filtering)
    return Tuner(oracle, learning, n_workers, not algorithm.centralised, door, filtering)


def _trusted(oracle: Oracle, worker: int) -> Callable[[Tensor, int], Tensor]:
    """Return the gradient by p on the data of a worker that takes no part: (d,), at a consensus (d,)."""

    def gradient(z: Tensor, step: int) -> Tensor:
        by_p, _ = oracle.upper([worker], [step], z.view_as(oracle.start_p)[None], oracle.start_q[None])
        if oracle.on_simplex:  # a constant added to a word's gradient moves nothing
            by_p = by_p - by_p.mean(-1, keepdim=True)
        return by_p.flatten()

    return gradient


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
        DivergedError: the loss left every bound.
        StalledError: the server waited for workers that would never answer, or gave all of them up.
    """
    name = " ".join(part for part in (summary["scenario"], summary["variant"]) if part)
    if summary["ended"] == "diverged":
        raise DivergedError(
            f"{name}: the loss passed {DIVERGED:g} at step {summary['server_steps']}; "
            "try a smaller learning rate"
        )
    if summary["ended"] == "deserted":
        raise StalledError(
            f"{name}: no worker left at {summary['simulated_time_s']:g} s after {summary['server_steps']} "
            "steps: the server has evicted all of them; server.evict_after_s may be shorter than a job"
        )
    if summary["ended"] == "stalled":
        missing = ", ".join(map(str, summary["waiting_for"][:10]))
        raise StalledError(
            f"{name}: stalled at {summary['simulated_time_s']:g} s after {summary['server_steps']} steps: "
            f"worker {missing} will never answer; server.evict_after_s lets the server go on without it"
        )

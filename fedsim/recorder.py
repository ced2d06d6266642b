"""What a run keeps of itself: the learning half behind the seam, measured, with one row per step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from typing import Any, NamedTuple, cast

from fedsim.algorithms.base import InterludeLearner, Learner, check_expelled
from fedsim.learning.batching import Job
from fedsim.messages import Snapshot, Ticket
from fedsim.scenario import Scenario
from fedsim.step_rows import StepRows
from fedsim.timing.exchange import NO_STEP, StepReport

Progress = Callable[[dict[str, Any]], None]
"""Called after every server step with its row: counters, and measurements where the step was measured."""


class Bound(NamedTuple):
    """A measurement beyond which a run is given up, as one that diverged."""

    what: str
    limit: float
    remedy: str

    def passed(self, value: float | None) -> bool:
        """Whether a value is beyond it, or is no number any more (in a summary: none)."""
        return value is None or not abs(value) < self.limit


BOUNDS = {
    "loss": Bound("the loss", 1e15, "a smaller learning rate"),
    # Cuts have coefficients of about 1, and so multipliers are of the size of a gradient.
    "multiplier_max": Bound(
        "a multiplier of the cuts",
        1e6,
        'a larger algorithm.multipliers.c1, or its schedule "decreasing", or a smaller algorithm.z_rate',
    ),
}
"""By measurement; a run that does not have one is not judged by it."""


class Recorder:
    """The learning half behind the seam: passes calls on, measures, and keeps one row per step.

    Args:
        scenario: what is run.
        learner: the algorithm at work; none: the clock runs alone.
        progress: called after every step.
    """

    def __init__(self, scenario: Scenario, learner: Learner | None, progress: Progress | None) -> None:
        self.counters = ("malicious_updates", *scenario.algorithm.counters)
        """Cumulative columns beside the clock's: tickets of malicious workers in active sets, and what the
        algorithm counts."""
        self.finished = False
        self.rows = StepRows(scenario.schedule, self.counters)
        self.tickets: list[tuple[Any, ...]] = []
        """Where the run keeps spans: what `tables.tickets` says of each ticket taken."""
        self.stop_reason = ""
        self._scenario = scenario
        self._learner = learner
        self._schedule = scenario.schedule
        self._progress = progress
        self._distance = scenario.evaluation.distance(scenario.n_machines)
        self._place = 0
        self._step = 0
        self._time_s = 0.0
        self._nothing_counted = dict.fromkeys(self.counters, 0)
        self._times_s: list[float] = []
        self._values: list[float] = []
        self._best = math.inf
        self._since_best = 0
        self._malicious = scenario.malicious_machines
        self._honest = set(range(scenario.n_machines)) - set(self._malicious)
        self._malicious_updates = 0

    @property
    def timing_only(self) -> bool:
        """Whether the clock alone runs, and nothing is learned."""
        return self._learner is None

    @property
    def diverged(self) -> bool:
        """Whether a measurement left its bounds: what was learned means nothing."""
        return self.stop_reason == "diverged"

    @property
    def expelled(self) -> Collection[int]:
        found: Collection[int] = getattr(self._learner, "expelled", ())  # a stranger's may not know of it
        if found:
            check_expelled(self._scenario.algorithm, found, self._scenario.n_machines)
        return found

    def first(self) -> Any:
        self._record(NO_STEP, measure=True)
        return self._learner and self._learner.first()

    def hand_out(
        self, worker: int, job: int, kind: str, snapshot: Snapshot, start_s: float, skipped: bool
    ) -> None:
        if self._learner is not None:
            self._learner.hand_out(Job(worker, job, kind, snapshot.content, start_s, skipped))

    def take_step(self, tickets: list[Ticket], report: StepReport) -> Any:
        content = self._learner and self._learner.take_step(tickets)
        if reason := getattr(self._learner, "finished", ""):
            self._stop(reason)
        if self._malicious:
            self._malicious_updates += sum(ticket.worker in self._malicious for ticket in tickets)
        self._keep(tickets, "active", report.step, report.step - 1)
        counter, size = self._distance
        place = int(getattr(report, counter) // size)
        due, self._place = place > self._place, place
        if self._honest and (expelled := self.expelled) and self._honest <= set(expelled):
            self._stop("deserted")  # there is nobody left to measure, and none of them will be back
        self._record(report, measure=due)
        return content

    def interlude(self, drained: list[Ticket], participants: list[int]) -> Generator[Any, list[Ticket], Any]:
        plan, step = self._schedule.interlude, self._step
        assert plan is not None
        self._keep(drained, "drained", step, step)
        if self._learner is None:
            inside = _nothing_learned(plan.rounds)
        else:
            inside = cast("InterludeLearner", self._learner).interlude(drained, participants)
        with closing(inside):
            try:
                content = next(inside)
                while True:
                    tickets = yield content
                    step = self._step  # in the background, steps go on
                    self._keep(tickets, plan.work, step, step)
                    content = inside.send(tickets)
            except StopIteration as end:
                return end.value

    def evict(self, worker: int) -> None:
        if self._learner is not None:
            self._learner.evict(worker)

    def admit(self, worker: int) -> None:
        if self._learner is not None:
            self._learner.admit(worker)

    def forget(self, worker: int) -> None:
        if self._learner is not None:
            self._learner.forget(worker)

    def measure_end(self) -> None:
        """Measure the last step if its turn did not come."""
        if self._learner is not None and not self.rows.is_measured and self.stop_reason != "diverged":
            self._measure(self._time_s)

    def _keep(self, tickets: list[Ticket], use: str, step: int, taken_before: int) -> None:
        """Remember tickets and what became of them; `taken_before`: the steps that came before that."""
        if self._scenario.record.spans:
            self.tickets += [
                (use, step, taken_before - snapshot.version, worker, job, start_s, finish_s)
                for worker, job, _, snapshot, start_s, finish_s, _ in tickets
            ]

    def _record(self, report: StepReport, measure: bool) -> None:
        counts = self._learner.counts() if self._learner is not None else self._nothing_counted
        self.rows.add(report, {**counts, "malicious_updates": self._malicious_updates})
        self._step, self._time_s = report.step, report.time_s
        if measure and self._learner is not None:
            self._measure(report.time_s)
        if self._progress is not None:
            self._progress(self.rows.last())

    def _measure(self, time_s: float) -> None:
        learner, scenario = self._learner, self._scenario
        assert learner is not None
        workers = self._watched(list(learner.alive))[: scenario.evaluation.max_workers]
        if not workers:
            return
        metrics = learner.evaluate(workers, time_s)
        self.rows.measure(metrics)
        if any(bound.passed(metrics[key]) for key, bound in BOUNDS.items() if key in metrics):
            self._stop("diverged")
        target = scenario.target
        if target is not None:
            self._times_s.append(time_s)
            self._values.append(metrics[target.metric])
            if target.stop and target.reached_at(self._values) is not None:
                self._stop("target")
        if scenario.evaluation.patience is not None:
            self._watch(metrics.get("validation_loss", metrics["loss"]), scenario.evaluation.patience)

    def reached(self) -> tuple[float, float]:
        """Return when the target was reached for good, and how long before that it was last measured (s).

        It was reached somewhere in between. NaN where it was not, or there is none.
        """
        target = self._scenario.target
        place = None if target is None else target.reached_at(self._values)
        if place is None:
            return math.nan, math.nan
        before_s = self._times_s[place - 1] if place else 0.0
        return self._times_s[place], self._times_s[place] - before_s

    def caution(self) -> str:
        """Return a sentence if the target says nothing."""
        target = self._scenario.target
        return "" if target is None else target.caution(self._values)

    def _watched(self, alive: list[int]) -> list[int]:
        """Return the honest among the workers."""
        return [worker for worker in alive if worker not in self._malicious]

    def _watch(self, loss: float, patience: int) -> None:
        """Early stopping."""
        self._since_best = 0 if loss < self._best else self._since_best + 1
        self._best = min(self._best, loss)
        if self._since_best >= patience:
            self._stop("early stopping")

    def _stop(self, reason: str) -> None:
        self.finished = True
        self.stop_reason = reason


def _nothing_learned(rounds: int) -> Generator[None, list[Ticket], None]:
    """An interlude of a run in which the clock runs alone."""
    for _ in range(rounds):
        yield

"""What a run keeps of itself: the learning half behind the seam, measured, with one row per step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fedsim.messages import JobKind, Ticket
from fedsim.scenario import Scenario
from fedsim.timing.exchange import NO_STEP, StepReport

if TYPE_CHECKING:
    from fedsim.learning.averager import Averager
    from fedsim.learning.tuner import Tuner

Progress = Callable[[dict[str, Any]], None]
"""Called after every server step with its row: counters, and measurements where the step was measured."""

DIVERGED = 1e15
"""A loss beyond this is given up."""


class Recorder:
    """The learning half behind the seam: passes calls on, measures, and keeps one row per step."""

    counters = ("malicious_updates", "rejected", "fallbacks", "filtered", "filter_calls")
    """Cumulative columns beside the clock's: tickets of malicious workers in active sets, messages turned
    away, rounds in which a rule had too few rows, messages that a filter refused, and its own LLM calls."""

    def __init__(self, scenario: Scenario, tuner: Tuner | Averager | None, progress: Progress | None) -> None:
        self.finished = False
        self.rows: list[dict[str, Any]] = []
        self.tickets: list[tuple[Any, ...]] = []
        """Where the run keeps spans: what `tables.tickets` says of each ticket taken."""
        self.reached_s = math.nan
        self.stop_reason = ""
        self._scenario = scenario
        self._tuner = tuner
        self._progress = progress
        self._best = math.inf
        self._since_best = 0
        self._malicious = frozenset() if scenario.algorithm.centralised else scenario.malicious
        self._malicious_updates = 0

    def first(self) -> Any:
        self._record(NO_STEP, measure=True)
        return self._tuner and self._tuner.state

    def hand_out(
        self, worker: int, job: int, kind: JobKind, snapshot: Any, start_s: float, skipped: bool
    ) -> None:
        if self._tuner is not None:
            self._tuner.hand_out(worker, job, kind, snapshot, start_s, skipped)

    def take_step(self, tickets: list[Ticket], report: StepReport) -> Any:
        content = self._tuner and self._tuner.take_step(tickets)
        self._malicious_updates += sum(ticket.worker in self._malicious for ticket in tickets)
        self._keep(tickets, "active", report.step, report.step - 1)
        self._record(report, measure=report.step % self._scenario.evaluation.every_steps == 0)
        return content

    def begin_cut(self, drained: list[Ticket], participants: list[int]) -> Any:
        self._keep(drained, "drained", self.rows[-1]["step"], self.rows[-1]["step"])
        return self._bilevel and self._bilevel.begin_cut(drained, participants)

    def cut_round(self, tickets: list[Ticket]) -> Any:
        self._keep(tickets, "inner", self.rows[-1]["step"], self.rows[-1]["step"])
        return self._bilevel and self._bilevel.cut_round(tickets)

    def end_cut(self) -> Any:
        return self._bilevel and self._bilevel.end_cut()

    @property
    def _bilevel(self) -> Tuner | None:
        """The learning half of an algorithm with polyhedron updates; the clock asks no other for one."""
        return cast("Tuner | None", self._tuner)

    def evict(self, worker: int) -> None:
        if self._tuner is not None:
            self._tuner.evict(worker)

    def admit(self, worker: int) -> None:
        if self._tuner is not None:
            self._tuner.admit(worker)

    def forget(self, worker: int) -> None:
        if self._tuner is not None:
            self._tuner.forget(worker)

    def measure_end(self) -> None:
        """Measure the last step if its turn did not come."""
        if self._tuner is not None and "loss" not in self.rows[-1] and self.stop_reason != "diverged":
            self._measure(self.rows[-1])

    def _keep(self, tickets: list[Ticket], use: str, step: int, taken_before: int) -> None:
        """Remember tickets and what became of them; `taken_before`: the steps that came before that."""
        if self._scenario.record.spans:
            self.tickets += [
                (use, step, taken_before - snapshot.version, worker, job, start_s, finish_s)
                for worker, job, _, snapshot, start_s, finish_s, _ in tickets
            ]

    def _record(self, report: StepReport, measure: bool) -> None:
        counts = self._tuner.counts() if self._tuner is not None else {}
        row: dict[str, Any] = {
            **report._asdict(),
            **dict.fromkeys(self.counters, 0),
            **counts,
            "malicious_updates": self._malicious_updates,
        }
        self.rows.append(row)
        if measure and self._tuner is not None:
            self._measure(row)
        if self._progress is not None:
            self._progress(dict(row))

    def _measure(self, row: dict[str, Any]) -> None:
        tuner, scenario = self._tuner, self._scenario
        assert tuner is not None
        workers = self._watched(list(tuner.alive))[: scenario.evaluation.max_workers]
        if not workers:
            return
        metrics = tuner.evaluate(workers, row["time_s"])
        row.update(metrics)
        if not abs(metrics["loss"]) < DIVERGED:
            self._stop("diverged")
        target = scenario.target
        if target is not None and math.isnan(self.reached_s) and target.reached(metrics):
            self.reached_s = row["time_s"]
            if target.stop:
                self._stop("target")
        if scenario.evaluation.patience is not None:
            self._watch(metrics.get("validation_loss", metrics["loss"]), scenario.evaluation.patience)

    def _watched(self, alive: list[int]) -> list[int]:
        """Return the honest among the workers; in the centralised form one machine holds everybody's data."""
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

"""Runs of the timing half alone, and a learning half that learns nothing but keeps books and watches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fedsim.attack import Assigned, Attack
from fedsim.messages import JobCost, JobKind, Snapshot, Ticket
from fedsim.streams import Streams
from fedsim.timing.activities import Activity
from fedsim.timing.availability import Availability, Stretch
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.exchange import StepReport
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.loop import Ending, Timeline, run_timeline
from fedsim.timing.settings import CutPlan, ServerSettings
from fedsim.timing.worker import WorkerGroup

NOTHING = Constant(value_s=0.0)
FREE = JobCost(0, 0, 0, 0, 0)


class Books:
    """Stands for the learning half.

    Fails when a worker has two jobs in flight or skips a job's number, and when a ticket says otherwise than
    the hand-out whether its job was skipped.
    """

    def __init__(self, finish_at: int | None = None) -> None:
        self.finished = False
        self.finish_at = finish_at
        self.reports: list[StepReport] = []
        self.active: list[list[int]] = []
        """The workers of each step, in the order in which the server took their tickets."""
        self.staleness: list[list[int]] = []
        self.tickets: list[list[Ticket]] = []
        self.drained: list[list[int]] = []
        self.participants: list[list[int]] = []
        self.inner: list[list[int]] = []
        self.ended_cuts = 0
        self.evicted: list[int] = []
        self.admitted: list[int] = []
        self.forgotten: list[tuple[int, int]] = []
        """Who has lost its state, and how many steps had been taken when this was told."""
        self.gone_by: list[int] = []
        """How many workers had been evicted when each step was taken."""
        self.handed: dict[int, list[tuple[JobKind, int]]] = {}
        """The kind of each job of a worker and the version it read."""
        self.skipped: list[tuple[int, int]] = []
        """The jobs, as (worker, job), that were handed out to be reported without work."""
        self._in_flight: dict[int, int] = {}

    def first(self) -> str:
        return "first"

    def hand_out(
        self, worker: int, job: int, kind: JobKind, snapshot: Snapshot, start_s: float, skipped: bool
    ) -> None:
        assert worker not in self._in_flight
        history = self.handed.setdefault(worker, [])
        assert job == len(history)
        history.append((kind, snapshot.version))
        self._in_flight[worker] = job
        if skipped:
            self.skipped.append((worker, job))

    def take_step(self, tickets: list[Ticket], report: StepReport) -> str:
        self._take(tickets, JobKind.OUTER)
        self.reports.append(report)
        self.tickets.append(list(tickets))
        self.active.append([ticket.worker for ticket in tickets])
        self.staleness.append([report.step - 1 - ticket.snapshot.version for ticket in tickets])
        self.gone_by.append(len(self.evicted))
        self.finished = report.step == self.finish_at
        return f"step {report.step}"

    def begin_cut(self, drained: list[Ticket], participants: list[int]) -> str:
        self._take(drained, JobKind.OUTER)
        self.drained.append([ticket.worker for ticket in drained])
        self.participants.append(list(participants))
        return "round 0"

    def cut_round(self, tickets: list[Ticket]) -> str:
        assert tickets
        self._take(tickets, JobKind.INNER)
        self.inner.append([ticket.worker for ticket in tickets])
        return f"round {len(self.inner)}"

    def end_cut(self) -> str:
        self.ended_cuts += 1
        return "cuts"

    def evict(self, worker: int) -> None:
        self.evicted.append(worker)
        self._in_flight.pop(worker, None)  # who joins late is out before it has any job

    def admit(self, worker: int) -> None:
        assert worker not in self._in_flight
        self.admitted.append(worker)

    def forget(self, worker: int) -> None:
        self._in_flight.pop(worker, None)
        self.forgotten.append((worker, len(self.reports)))

    def _take(self, tickets: list[Ticket], kind: JobKind) -> None:
        for ticket in tickets:
            assert ticket.kind is kind
            assert self._in_flight.pop(ticket.worker) == ticket.job
            assert ticket.skipped is ((ticket.worker, ticket.job) in self.skipped)

    @property
    def times_s(self) -> list[float]:
        return [report.time_s for report in self.reports]


class Given(Availability):
    """On in these stretches; the end of the last one may be left out: never."""

    kind: Literal["given"] = "given"
    on: tuple[tuple[float, ...], ...]
    joins: bool = False

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        return iter([(on_s, off_s[0] if off_s else math.inf) for on_s, *off_s in self.on])

    def joins_s(self, streams: Streams, worker: int) -> float:
        return self.on[0][0] if self.joins else 0.0


def on(*stretches: tuple[float, ...]) -> Given:
    """Return availability in given stretches: a beginning and an end (s), or a beginning alone."""
    return Given(on=stretches)


def joins(*stretches: tuple[float, ...]) -> Given:
    """The same for a worker that is no member before the first."""
    return Given(on=stretches, joins=True)


def workers(compute: float | Delay, count: int = 1, **settings: Any) -> WorkerGroup:
    """Return a group whose jobs take `compute` (s) and nothing else unless told."""
    delay = compute if isinstance(compute, Delay) else Constant(value_s=compute)
    return WorkerGroup(compute=delay, count=count, **settings)


def simulate(
    groups: Sequence[WorkerGroup],
    *,
    wait_for: int,
    tau: int = 1000,
    seed: int = 0,
    step_s: float = 0.0,
    evict_after_s: float | None = None,
    readmit: bool = False,
    cuts: CutPlan | None = None,
    cost: JobCost = FREE,
    latency: Delay = NOTHING,
    finish_at: int | None = None,
    **settings: Any,
) -> tuple[Ending, Books]:
    """Run the timing half; `settings` are the other fields of `Timeline`."""
    books = Books(finish_at)
    timeline = Timeline(
        groups=groups,
        service=Independent(latency=latency),
        server=ServerSettings(step_s=step_s, evict_after_s=evict_after_s, readmit=readmit),
        wait_for=wait_for,
        tau=tau,
        cuts=cuts,
        costs={JobKind.OUTER: cost, JobKind.INNER: cost},
        **settings,
    )
    return run_timeline(timeline, books, Streams(seed)), books


def by(attack: Attack, *numbers: int) -> Assigned:
    """Return an attack in the hands of these workers."""
    return Assigned(attack, frozenset(numbers))


def seconds(ending: Ending, entity: int) -> dict[str, float]:
    """Return what an entity spent on each activity (s), zeros left out."""
    booked = {activity.label: ending.clock.seconds[activity][entity] for activity in Activity}
    return {label: value for label, value in booked.items() if value}


def stretches(ending: Ending, entity: int) -> list[tuple[str, float, float]]:
    """Return the spans of an entity as (activity, start, end), in the order in which they were booked."""
    return [(span.activity.label, *span[2:]) for span in ending.clock.spans if span.entity == entity]


def chain(*links: tuple[str, float]) -> list[tuple[str, float, float]]:
    """Return spans from (activity, end): each starts where the one before ended, the first at 0."""
    starts = [0.0, *(end for _, end in links)]
    return [(label, start, end) for start, (label, end) in zip(starts, links, strict=False)]

"""Runs of the timing half alone, and a learning half that learns nothing but keeps books and watches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Literal

from hypothesis import strategies as st

from fedsim.attack import Assigned, Attack
from fedsim.messages import JobCost, Snapshot, Ticket
from fedsim.schedule import Adapt, Interlude, Rounds, Schedule, Standing, Steps, Work
from fedsim.streams import Streams
from fedsim.timing.availability import Availability, Stretch
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.exchange import StepReport
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.loop import Ending, Timeline, run_timeline
from fedsim.timing.settings import ServerSettings
from fedsim.timing.worker import WorkerGroup

NOTHING = Constant(value_s=0.0)
FREE = JobCost(0, 0, 0, 0, 0)
REGULAR, OPENING, ROUND = "regular", "opening", "round"
"""The kinds of jobs: the third is that of interludes."""


class Books:
    """Stands for the learning half.

    Fails when a worker has two jobs in flight or skips a job's number, when a ticket says otherwise than the
    hand-out whether its job was skipped, and when a job is no opening one but should be, or the other way
    round: a worker's first job outside of interludes, and the first after it was taken in or lost its state.

    Args:
        finish_at: end the run with this step.
        rounds_asked: how many rounds each interlude asks for.
        opens: whether there are opening jobs.
        expels: whom it wants out for good, by the number of the step after which it says so; after the
            interlude that follows step s it is s + 0.5.
        in_background: whether interludes go on in the background. Then a worker may have its next job before
            the round is over in which it has reported.
    """

    def __init__(
        self,
        finish_at: int | None = None,
        rounds_asked: int = 0,
        opens: bool = False,
        expels: Mapping[float, Sequence[int]] | None = None,
        in_background: bool = False,
    ) -> None:
        self.finished = False
        self.expelled: list[int] = []
        self.expels = expels or {}
        self.finish_at = finish_at
        self.rounds_asked = rounds_asked
        self.reports: list[StepReport] = []
        self.active: list[list[int]] = []
        """The workers of each step, in the order in which the server took their tickets."""
        self.staleness: list[list[int]] = []
        self.tickets: list[list[Ticket]] = []
        self.drained: list[list[int]] = []
        self.participants: list[list[int]] = []
        self.rounds: list[list[int]] = []
        """The workers of each round of an interlude, in the order in which the server took their tickets."""
        self.ended_interludes = 0
        self.abandoned_interludes = 0
        self.evicted: list[int] = []
        self.admitted: list[int] = []
        self.forgotten: list[tuple[int, int]] = []
        """Who has lost its state, and how many steps had been taken when this was told."""
        self.gone_by: list[int] = []
        """How many workers had been evicted when each step was taken."""
        self.handed: dict[int, list[tuple[str, int]]] = {}
        """The kind of each job of a worker and the version it read."""
        self.read: dict[int, list[str]] = {}
        """The content that each job of a worker read."""
        self.counted: list[tuple[int, int, int]] = []
        """Regular jobs, those of them that were drained, and opening jobs taken by each step."""
        self.skipped: list[tuple[int, int]] = []
        """The jobs, as (worker, job), that were handed out to be reported without work."""
        self._opens = opens
        self._has_opened: set[int] = set()
        self._in_flight: dict[int, int] = {}
        self._in_round: dict[int, int] = {}
        self._in_background = in_background
        self._taken: Counter[str] = Counter()
        self._drained = 0

    def first(self) -> str:
        return "first"

    def hand_out(
        self, worker: int, job: int, kind: str, snapshot: Snapshot, start_s: float, skipped: bool
    ) -> None:
        assert worker not in self._in_flight
        assert worker not in self.expelled
        if kind != ROUND:
            opens = self._opens and worker not in self._has_opened
            assert kind == (OPENING if opens else REGULAR)
            self._has_opened.add(worker)
        history = self.handed.setdefault(worker, [])
        assert job == len(history)
        history.append((kind, snapshot.version))
        self.read.setdefault(worker, []).append(snapshot.content)
        own_round = kind == ROUND and self._in_background
        (self._in_round if own_round else self._in_flight)[worker] = job
        if skipped:
            self.skipped.append((worker, job))

    def take_step(self, tickets: list[Ticket], report: StepReport) -> str:
        self._take(tickets, REGULAR, OPENING)
        self.counted.append((self._taken[REGULAR], self._drained, self._taken[OPENING]))
        self.reports.append(report)
        self.tickets.append(list(tickets))
        self.active.append([ticket.worker for ticket in tickets])
        self.staleness.append([report.step - 1 - ticket.snapshot.version for ticket in tickets])
        self.gone_by.append(len(self.evicted))
        self.finished = report.step == self.finish_at
        self.expelled += self.expels.get(report.step, ())
        return f"step {report.step}"

    def interlude(self, drained: list[Ticket], participants: list[int]) -> Generator[str, list[Ticket], str]:
        self._take(drained, REGULAR, OPENING)
        self._drained += sum(ticket.kind == REGULAR for ticket in drained)
        self.drained.append([ticket.worker for ticket in drained])
        self.participants.append(list(participants))
        for number in range(self.rounds_asked):
            try:
                tickets = yield f"round {number}"
            except GeneratorExit:
                self.abandoned_interludes += 1
                raise
            assert tickets
            self._take(tickets, ROUND)
            self.rounds.append([ticket.worker for ticket in tickets])
        self.ended_interludes += 1
        self.expelled += self.expels.get(len(self.reports) + 0.5, ())
        return f"interlude {self.ended_interludes}"

    def evict(self, worker: int) -> None:
        self.evicted.append(worker)
        self._in_flight.pop(worker, None)  # who joins late is out before it has any job

    def admit(self, worker: int) -> None:
        assert worker not in self._in_flight
        assert worker not in self.expelled
        self._has_opened.discard(worker)
        self.admitted.append(worker)

    def forget(self, worker: int) -> None:
        self._in_flight.pop(worker, None)
        self._has_opened.discard(worker)
        self.forgotten.append((worker, len(self.reports)))

    def _take(self, tickets: list[Ticket], *kinds: str) -> None:
        for ticket in tickets:
            assert ticket.worker not in self.expelled or ticket.kind == ROUND
            assert ticket.kind in kinds
            self._taken[ticket.kind] += 1
            assert self.handed[ticket.worker][ticket.job][0] == ticket.kind
            own_round = ticket.kind == ROUND and self._in_background
            assert (self._in_round if own_round else self._in_flight).pop(ticket.worker) == ticket.job
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


def expulsions(n_workers: int) -> st.SearchStrategy[dict[float, list[int]]]:
    """Whom the learning half wants out, after steps and (at halves) after interludes: often nobody."""
    times: st.SearchStrategy[float] = st.sampled_from([1, 1.5, 2, 3, 4.5])
    who = st.lists(st.integers(0, n_workers - 1), min_size=1, max_size=3)
    return st.just({}) | st.dictionaries(times, who, max_size=2)


def workers(compute: float | Delay, count: int = 1, **settings: Any) -> WorkerGroup:
    """Return a group whose jobs take `compute` (s) and nothing else unless told."""
    delay = compute if isinstance(compute, Delay) else Constant(value_s=compute)
    return WorkerGroup(compute=delay, count=count, **settings)


def interlude(
    every: int = 50,
    rounds: int = 5,
    stop_after: int | None = None,
    participation: Literal["all", "active", "rolling"] = "all",
    restart: Literal["after", "before"] = "after",
) -> Interlude:
    """Return when interludes are due, and of how many rounds."""
    return Interlude(ROUND, every, rounds, stop_after, participation, restart=restart)


def schedule_of(
    *,
    wait_for: int,
    tau: int = 1000,
    participants: int | None = None,
    interlude: Interlude | None = None,
    leaves_bytes: int = 0,
    cost: JobCost = FREE,
    opening: JobCost | None = None,
    activity: str | None = None,
    standing: Standing | None = None,
    adapt: Adapt | None = None,
) -> Schedule:
    """Return a schedule whose jobs in interludes cost what regular jobs do, and are booked as "interlude".

    Args:
        wait_for: S.
        tau: the staleness bound.
        participants: how many workers are asked in a sampled round, in place of S and tau.
        interlude: the rounds behind a barrier, if there are any.
        leaves_bytes: what they leave behind.
        cost: of a regular job.
        opening: the cost of opening jobs, if there are any.
        activity: what regular jobs are booked as.
        standing: what workers keep from job to job, if there is anything.
        adapt: how S changes, if it does.
    """
    work = {REGULAR: Work(cost, activity), ROUND: Work(cost, "interlude")}
    if opening is not None:
        work[OPENING] = Work(opening)
    return Schedule(
        rule=Steps(wait_for, tau, adapt) if participants is None else Rounds(participants),
        work=work,
        regular=REGULAR,
        opening=OPENING if opening is not None else None,
        interlude=interlude._replace(leaves_bytes=leaves_bytes) if interlude is not None else None,
        standing=standing,
    )


def simulate(
    groups: Sequence[WorkerGroup],
    *,
    wait_for: int,
    tau: int = 1000,
    seed: int = 0,
    step_s: float = 0.0,
    evict_after_s: float | None = None,
    readmit: bool = False,
    participants: int | None = None,
    interlude: Interlude | None = None,
    leaves_bytes: int = 0,
    cost: JobCost = FREE,
    opening: JobCost | None = None,
    activity: str | None = None,
    standing: Standing | None = None,
    adapt: Adapt | None = None,
    rounds_asked: int | None = None,
    latency: Delay = NOTHING,
    finish_at: int | None = None,
    expels: Mapping[float, Sequence[int]] | None = None,
    **settings: Any,
) -> tuple[Ending, Books]:
    """Run the timing half; the learning half asks for all rounds of an interlude if not told otherwise.

    For the settings of the schedule see `schedule_of`; `settings` are the other fields of `Timeline`.
    """
    if rounds_asked is None:
        rounds_asked = interlude.rounds if interlude is not None else 0
    in_background = interlude is not None and interlude.participation == "rolling"
    books = Books(finish_at, rounds_asked, opening is not None, expels, in_background)
    timeline = Timeline(
        groups=groups,
        service=Independent(latency=latency),
        server=ServerSettings(step_s=step_s, evict_after_s=evict_after_s, readmit=readmit),
        schedule=schedule_of(
            wait_for=wait_for,
            tau=tau,
            participants=participants,
            interlude=interlude,
            leaves_bytes=leaves_bytes,
            cost=cost,
            opening=opening,
            activity=activity,
            standing=standing,
            adapt=adapt,
        ),
        **settings,
    )
    return run_timeline(timeline, books, Streams(seed)), books


def by(attack: Attack, *numbers: int) -> Assigned:
    """Return an attack in the hands of these workers."""
    return Assigned(attack, frozenset(numbers))


def seconds(ending: Ending, entity: int) -> dict[str, float]:
    """Return what an entity spent on each activity (s), zeros left out."""
    booked = {
        label: of_all[entity] for label, of_all in zip(ending.clock.labels, ending.clock.seconds, strict=True)
    }
    return {label: value for label, value in booked.items() if value}


def stretches(ending: Ending, entity: int) -> list[tuple[str, float, float]]:
    """Return the spans of an entity as (activity, start, end), in the order in which they were booked."""
    labels = ending.clock.labels
    return [(labels[span.activity], *span[2:]) for span in ending.clock.spans if span.entity == entity]


def chain(*links: tuple[str, float]) -> list[tuple[str, float, float]]:
    """Return spans from (activity, end): each starts where the one before ended, the first at 0."""
    starts = [0.0, *(end for _, end in links)]
    return [(label, start, end) for start, (label, end) in zip(starts, links, strict=False)]

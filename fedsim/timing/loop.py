"""The event loop of one run: put server and workers together, run to the end, say how it ended."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import simpy
from simpy.core import StopSimulation

from fedsim.attack import Assigned
from fedsim.schedule import Rounds, Schedule
from fedsim.streams import Streams
from fedsim.timing.activities import ActivityClock
from fedsim.timing.attacks.base import by_worker
from fedsim.timing.books import KindCount
from fedsim.timing.exchange import Exchange, StepReport
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.jobs import check_jobs, jobs_of_each
from fedsim.timing.llm_service import LlmProvider, LlmService, Served
from fedsim.timing.network import Carrier, LinkUse, Network
from fedsim.timing.network.simple import Simple
from fedsim.timing.pace import EVENTS_A_LOOK, LONGEST_S, Halt, run_events
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.server import Server
from fedsim.timing.settings import ServerSettings
from fedsim.timing.steady import SteadyWorker, all_steady
from fedsim.timing.watch import Watch
from fedsim.timing.worker import Worker

UNDISTURBED = Simple()
NOTHING_SERVED = Served()

COLLECT_EVERY = 200_000
"""New objects before the garbage collector looks at them, while a run lasts (Python's default: 700)."""


@dataclass(frozen=True)
class Timeline:
    """Everything the clock decides about a run, as settings."""

    groups: Sequence[WorkerGroup]
    service: LlmProvider | None
    """None: no job makes a call."""
    server: ServerSettings
    schedule: Schedule
    horizon_s: float | None = None
    """The run covers [0, horizon_s): what would happen at the horizon does not happen."""
    max_steps: int | None = None
    """0: the run ends where it begins."""
    max_updates: int | None = None
    keep_spans: bool = False
    network: Network = UNDISTURBED
    attacks: Sequence[Assigned] = ()
    """All attacks of the run; those on timing act here."""

    @property
    def events_a_look(self) -> int:
        """How many events may well happen at one instant: all workers do all that one interlude asks."""
        n_workers = sum(group.count for group in self.groups)
        calls = max((work.cost.calls for work in self.schedule.work.values()), default=0)
        rounds = self.schedule.interlude.rounds if self.schedule.interlude is not None else 0
        return EVENTS_A_LOOK + 10 * n_workers * (1 + calls) * (1 + rounds)

    def rule(self, n_workers: int, streams: Streams, now: Callable[[], float]) -> StepRule | RoundRule:
        """Return the rule that tells when the server steps and whom it asks; `now` tells it the time (s)."""
        rule = self.schedule.rule
        if isinstance(rule, Rounds):
            return RoundRule(range(n_workers), rule.participants, streams)
        watch = rule.adapt and Watch(rule.adapt, rule.tau, self.server.step_s, self.schedule.interlude, now)
        return StepRule(range(n_workers), rule.wait_for, rule.tau, watch)


@dataclass(frozen=True)
class Ending:
    """How a run ended, and its books."""

    time_s: float
    """When the last server step ended; the horizon, if that came first; a stalled run's last event."""
    report: StepReport
    stalled: bool
    """The server waited for workers that would never report, or nothing at all would ever happen."""
    waiting_for: list[int]
    evicted: dict[int, float]
    """When each worker was evicted that was out at the end (s)."""
    jobs: list[int]
    """Jobs of each worker whose report the server had taken by the end."""
    clock: ActivityClock
    served: Served = NOTHING_SERVED
    """What the LLM service counted."""
    links: Sequence[LinkUse] = ()
    """The use of each link of the network, where it has any."""
    deserted: bool = False
    """The run ended because everybody had been evicted or expelled, and nobody was to come."""
    times_down: list[int] = field(default_factory=list)
    """How often each worker has gone down."""
    jobs_lost: list[int] = field(default_factory=list)
    """How many jobs each worker had begun when it went down, those begun again included."""
    readmitted: list[int] = field(default_factory=list)
    """How often each worker was taken in again after an eviction."""
    expelled: dict[int, float] = field(default_factory=dict)
    """When each worker was put out for good that the learning half wanted out (s)."""
    halt: Halt = Halt.TOLD
    """Why no more events were run."""
    by_kind: Mapping[str, KindCount] = field(default_factory=dict)
    """What the jobs of each kind have cost: of those that had reported by the end."""


def run_timeline(timeline: Timeline, exchange: Exchange, streams: Streams) -> Ending:
    """Run the event loop to its end.

    Args:
        timeline: the settings.
        exchange: the learning half, or a stand-in that learns nothing.
        streams: the randomness of the run.

    Raises:
        ValueError: workers or service cannot do what the schedule asks of them.
    """
    check_jobs(timeline.schedule, timeline.groups, timeline.service is not None)
    env, schedule = simpy.Environment(), timeline.schedule
    numbers = [number for number, group in enumerate(timeline.groups) for _ in range(group.count)]
    of_each = _each(timeline.groups, streams)
    clock = ActivityClock(len(of_each) + 1, timeline.keep_spans, schedule.activities)
    misconduct = by_worker(timeline.attacks)
    absent = [worker for worker, group in enumerate(of_each) if group.joins_s(streams, worker) > 0]
    server = Server(
        env,
        exchange,
        timeline.rule(len(of_each), streams, lambda: env.now),
        timeline.server,
        schedule,
        clock,
        timeline.max_steps,
        timeline.max_updates,
        misconduct,
        absent,
    )
    service = None
    if timeline.service is not None:
        service = timeline.service.open(env, streams, clock, numbers, timeline.keep_spans)
    carrier = timeline.network.open(env, streams, numbers)
    _end_with(server, timeline)
    server.life.go_on()
    with _collecting_rarely():
        workers = _workers(timeline, of_each, env, service, carrier, server, clock, streams)
        for worker in workers:
            worker.start()
        gc.freeze()
        halt = _run(env, timeline, server)
    return _ending(timeline, server, workers, clock, service, carrier, halt)


def _workers(
    timeline: Timeline,
    of_each: Sequence[WorkerGroup],
    env: simpy.Environment,
    service: LlmService | None,
    carrier: Carrier | None,
    server: Server,
    clock: ActivityClock,
    streams: Streams,
) -> Sequence[Worker | SteadyWorker]:
    """Return the workers; of one sort, so that ties between them are broken alike everywhere."""
    jobs = jobs_of_each(timeline.schedule, of_each, clock.labels)
    misconduct = by_worker(timeline.attacks)
    if carrier is None and not misconduct and all_steady(timeline.groups, timeline.schedule):
        return [
            SteadyWorker(env, number, group, jobs[number], server, clock, streams)
            for number, group in enumerate(of_each)
        ]
    places = [place for group in timeline.groups for place in range(group.count)]
    return [
        Worker(
            *(env, number, group, jobs[number], service, server, clock, streams),
            attacks=misconduct.get(number, ()),
            carrier=carrier,
            stretches=group.stretches(streams, number, place),
        )
        for number, (group, place) in enumerate(zip(of_each, places, strict=True))
    ]


def _run(env: simpy.Environment, timeline: Timeline, server: Server) -> Halt:
    """Run the events; say why there are no more of them."""
    if timeline.max_steps == 0:
        return Halt.TOLD
    # Where there is no end to come to by time alone, steps bring it nearer.
    by_time = timeline.max_steps is None and timeline.max_updates is None
    return run_events(
        env, timeline.horizon_s, timeline.events_a_look, lambda: by_time or server.report_now.step
    )


def _end_with(server: Server, timeline: Timeline) -> None:
    """Let the event loop end with the server's life, or when the server waits for ever."""
    ended = server.life.ended
    assert ended.callbacks is not None
    ended.callbacks.append(StopSimulation.callback)
    if timeline.horizon_s is None and any(group.availability is not None for group in timeline.groups):
        # Workers may come and go for ever: the queue of events does not run empty.
        assert server.stalled.callbacks is not None
        server.stalled.callbacks.append(StopSimulation.callback)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Collect garbage less often.

    Making many processes and running them leaves little of it in cycles, and the collector would walk all of
    them again and again.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY, *thresholds[1:])
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def _ending(
    timeline: Timeline,
    server: Server,
    workers: Sequence[Worker | SteadyWorker],
    clock: ActivityClock,
    service: LlmService | None,
    carrier: Carrier | None,
    halt: Halt,
) -> Ending:
    """Close the books."""
    # The queue of events does not always tell: what a stopped worker was busy with may still be in it.
    stalled = server.waits_for_ever or (halt is Halt.NOTHING_LEFT and not server.finished)
    if server.finished:
        time_s = server.finished_s
    else:
        time_s = clock.last_switch_s
        if halt is Halt.OVERDUE:
            time_s = LONGEST_S
        elif halt in (Halt.HORIZON, Halt.NOTHING_LEFT) and timeline.horizon_s is not None:
            time_s = timeline.horizon_s
    clock.close(time_s)
    return Ending(
        time_s,
        server.report_now,
        stalled,
        server.waiting_for if stalled else [],
        server.members.evicted,
        server.jobs,
        clock,
        service.served() if service is not None else NOTHING_SERVED,
        carrier.links(time_s) if carrier is not None else (),
        server.deserted,
        [worker.times_down for worker in workers],
        [worker.jobs_lost for worker in workers],
        server.members.readmitted,
        server.members.expelled,
        halt,
        server.by_kind,
    )


def _each(groups: Sequence[WorkerGroup], streams: Streams) -> list[WorkerGroup]:
    """Return what holds for each worker."""
    found: list[WorkerGroup] = []
    for group in groups:
        found += group.each(streams, len(found))
    return found

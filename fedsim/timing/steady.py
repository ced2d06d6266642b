"""Workers that nothing disturbs and whose jobs are arithmetic alone: a job is one event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import simpy

from fedsim.messages import Ticket
from fedsim.schedule import Schedule
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.durations import drawn, factors
from fedsim.timing.groups import NO_TIME, WorkerGroup
from fedsim.timing.jobs import JobOfKind

if TYPE_CHECKING:
    from fedsim.timing.orders import Order
    from fedsim.timing.server import Server

COMPUTING, WAITING = Activity.COMPUTING, Activity.WAITING


def all_steady(groups: Sequence[WorkerGroup], schedule: Schedule) -> bool:
    """Whether these workers always work, and do nothing that takes time but compute."""
    return not any(work.cost.calls for work in schedule.work.values()) and all(
        group.availability is None
        and group.stops_at_s is None
        and group.upload == group.download == NO_TIME
        and group.upload_mbps is group.download_mbps is None
        and group.devices is None
        for group in groups
    )


class SteadyWorker:
    """What `Worker` is where `all_steady` holds and there are neither attacks on timing nor a shared network.

    It has no process: the end of its job is an event that reports, and being brought the next job is a call.
    So a run has one event for each job, and a million workers fit into memory.
    """

    __slots__ = (
        *("jobs", "number"),
        *("_clock", "_compute_s", "_end", "_env", "_factor", "_finished", "_jobs", "_order", "_server"),
        "_speed",
    )

    times_down = 0
    jobs_lost = 0

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        group: WorkerGroup,
        jobs: Mapping[str, JobOfKind],
        server: Server,
        clock: ActivityClock,
        streams: Streams,
    ) -> None:
        self.number = number
        self.jobs = 0
        """Finished jobs: the number of the one that it is busy with."""
        self._env = env
        self._jobs = jobs
        self._server = server
        self._clock = clock
        self._speed = group.compute_speed
        self._factor = factors(group, streams, number)
        self._compute_s = drawn(group.compute, streams, Stream.COMPUTE, number)
        # The end of its job: one event for all jobs, scheduled anew for each.
        self._end = simpy.Event(env)
        self._end._ok, self._end._value = True, None
        self._finished: list[Callable[[simpy.Event], None]] = [self._finish]

    def start(self) -> None:
        """Begin the first job, or wait for it."""
        self._server.begin(self.number, self)

    def succeed(self, order: Order) -> None:
        """Begin a job that is handed out now; a reply of SimPy's is told of it in the same words."""
        self._order = order
        start = self.jobs
        _, activity, own_s, _ = self._jobs[order.kind]
        seconds = self._factor(start) * (self._compute_s(start) + own_s) / self._speed
        if activity is not None:
            self._clock.switch(self.number, activity, order.since_s)
        elif seconds > 0:
            self._clock.switch(self.number, COMPUTING, order.since_s)
        self._end.callbacks = self._finished
        self._env.schedule(self._end, delay=seconds)

    def _finish(self, end: simpy.Event) -> None:
        kind, snapshot, _, since_s = self._order
        now_s = self._env.now
        self._clock.switch(self.number, WAITING, now_s)
        job = self.jobs
        self.jobs = job + 1
        self._server.report(Ticket(self.number, job, kind, snapshot, since_s, now_s), self)

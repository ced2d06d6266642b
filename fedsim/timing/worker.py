"""Workers: the process that each of them runs, and how it comes and goes."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from simpy.exceptions import Interrupt

from fedsim.messages import Ticket
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks.base import HONEST, Conduct, TimingAttack, conduct_of
from fedsim.timing.availability import Stretch
from fedsim.timing.durations import DRAWS_A_BLOCK, NO_DELAY, drawn, factors
from fedsim.timing.groups import Transient, WorkerGroup
from fedsim.timing.jobs import JobOfKind
from fedsim.timing.llm_service import Calls, LlmService
from fedsim.timing.members import HOPELESS
from fedsim.timing.network import Message
from fedsim.timing.orders import Order

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.network import Carrier
    from fedsim.timing.server import Server

__all__ = ["DRAWS_A_BLOCK", "Transient", "Worker", "WorkerGroup", "drawn"]

# Looked up once: reading a member off its enum costs as much as booking the seconds.
COMPUTING, WAITING = Activity.COMPUTING, Activity.WAITING
UPLOADING, DOWNLOADING = Activity.UPLOADING, Activity.DOWNLOADING
DOWN, HOLDING = Activity.DOWN, Activity.HOLDING


class Worker:
    """One worker: download, compute, call, upload, report, wait for the next job, again.

    Where it goes down, the job it is busy with ends there: nothing of it has arrived. Back again, it either
    begins the same job anew, with draws of their own, or asks the server for another one (`on_return`).
    """

    __slots__ = (  # there may be very many of them
        *("env", "group", "jobs", "jobs_lost", "number", "times_down"),
        *("_at_hand", "_attacks", "_carrier", "_clock", "_factor", "_job", "_jobs", "_process", "_server"),
        *("_service", "_starts", "_stretches"),
        *("_compute_s", "_download_s", "_download_s_a_byte", "_upload_s", "_upload_s_a_byte"),
    )

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        group: WorkerGroup,
        jobs: Mapping[str, JobOfKind],
        service: LlmService | None,
        server: Server,
        clock: ActivityClock,
        streams: Streams,
        attacks: Sequence[TimingAttack] = (),
        carrier: Carrier | None = None,
        stretches: Iterator[Stretch] | None = None,
    ) -> None:
        self.env = env
        self.number = number
        self.group = group
        self.jobs = 0
        """Finished jobs."""
        self.times_down = 0
        self.jobs_lost = 0
        """How often a job that had been started ended with the worker's going down."""
        self._attacks = attacks
        self._carrier = carrier
        self._jobs = jobs
        self._service = service
        self._server = server
        self._clock = clock
        self._stretches = stretches
        # The job it is busy with, or the event that will bring the next one.
        self._at_hand: Order | simpy.Event | None = None
        self._job = 0  # the number of that job
        self._starts = 0  # how many jobs were begun: what draws of times are addressed by
        self._factor = factors(group, streams, number)
        self._compute_s = drawn(group.compute, streams, Stream.COMPUTE, number)
        self._upload_s = drawn(group.upload, streams, Stream.UPLOAD, number)
        self._download_s = drawn(group.download, streams, Stream.DOWNLOAD, number)
        self._upload_s_a_byte = 8e-6 / group.upload_mbps if group.upload_mbps else 0.0
        self._download_s_a_byte = 8e-6 / group.download_mbps if group.download_mbps else 0.0

    def start(self) -> None:
        """Set the worker's process going."""
        self._at_hand = self._server.first(self.number)
        if self._stretches is None:
            self.env.process(self._work())
        else:
            self._process = self.env.process(self._come_and_go(self._stretches))

    def _come_and_go(self, stretches: Iterator[Stretch]) -> Generator[simpy.Event, Order, None]:
        """Work while it is on, be down between, and be lost after the last stretch."""
        env = self.env
        finished = lost_before = 0
        for on_s, off_s in stretches:
            if off_s <= env.now:
                continue
            if on_s > env.now:
                self._clock.switch(self.number, DOWN, env.now)
                yield env.timeout(on_s - env.now)
            if env.now > 0 and not self._is_back():
                return
            # Scheduled before any work: a job that would end at that instant does not.
            if off_s < math.inf:
                self._go_down_at(off_s)
            try:
                yield from self._work()
                return  # it has fallen silent by itself
            except Interrupt:
                self._goes_down()
            if self.jobs > finished:
                finished, lost_before = self.jobs, self.jobs_lost
            elif self.jobs_lost - lost_before >= HOPELESS:
                break  # it is never on for as long as a job takes
        self._fall_silent()

    def _go_down_at(self, off_s: float) -> None:
        def interrupt(_: simpy.Event) -> None:
            if self._process.is_alive:  # a malicious worker may have fallen silent before
                self._process.interrupt()

        going = self.env.timeout(off_s - self.env.now)
        assert going.callbacks is not None
        going.callbacks.append(interrupt)

    def _goes_down(self) -> None:
        self.times_down += 1
        self.jobs_lost += isinstance(self._at_hand, Order)
        self._clock.switch(self.number, DOWN, self.env.now)

    def _is_back(self) -> bool:
        """Take part again, or for the first time; return whether the server wants it."""
        server, at_hand = self._server, self._at_hand
        if at_hand is None:
            if server.members.refused(self.number):
                return False
            self._at_hand = server.join(self.number)
        else:
            busy = isinstance(at_hand, Order) or at_hand.triggered
            rejoins = self.group.on_return == "rejoin"
            if (rejoins or not busy) and server.members.refused(self.number):
                return False
            if rejoins and busy:
                self._at_hand = server.rejoin(self.number, self._job)
                self._job += 1
            elif rejoins:
                server.forget(self.number)
        self._clock.switch(self.number, WAITING, self.env.now)
        return True

    def _fall_silent(self) -> None:
        """Never report again."""
        self._clock.switch(self.number, DOWN, self.env.now)
        self._server.lose(self.number)

    def _withhold(
        self, conduct: Conduct, version: int, job: JobOfKind
    ) -> Generator[simpy.Event, object, None]:
        """Return when a malicious worker sends a report that is ready."""
        env, number, switch = self.env, self.number, self._clock.switch
        let_go = None
        if conduct.margin_steps is not None and not job.in_interlude:
            let_go = self._server.withhold(number, version, conduct.margin_steps)
            if let_go is not None:
                switch(number, HOLDING, env.now)
                yield let_go
        silent_s = conduct.sends_s(env.now) - env.now if conduct.sends_s else 0.0
        if silent_s > 0:
            switch(number, DOWN, env.now)
            yield env.timeout(silent_s)
        if job.activity is not None and (let_go is not None or silent_s > 0):
            switch(number, job.activity, env.now)

    def _transfer(
        self, start: int, up: bool, n_bytes: int, factor: float, booked: bool
    ) -> Generator[simpy.Event, object, None]:
        """Return when a message has arrived at the server, or here.

        Args:
            start: the number of the job's start, where the delay is drawn.
            up: to the server.
            n_bytes: how long the message is.
            factor: how much slower than normal everything is in this job.
            booked: whether the seconds are booked as a transfer; some jobs are one activity as a whole.
        """
        env, carrier = self.env, self._carrier
        delay_s = self._upload_s if up else self._download_s
        latency_s = factor * delay_s(start)
        s_a_byte = factor * (self._upload_s_a_byte if up else self._download_s_a_byte)
        seconds = latency_s + n_bytes * s_a_byte
        if carrier is None and seconds <= 0:
            return
        if booked:
            self._clock.switch(self.number, UPLOADING if up else DOWNLOADING, env.now)
        if carrier is None:
            yield env.timeout(seconds)
        else:
            yield from carrier.carry(Message(self.number, start, up, n_bytes, latency_s, s_a_byte))

    def _work(self) -> Generator[simpy.Event, Order, None]:
        env, number, switch = self.env, self.number, self._clock.switch
        timeout, service, jobs, report = env.timeout, self._service, self._jobs, self._server.report
        compute_s, compute_speed = self._compute_s, self.group.compute_speed
        carried = self._carrier is not None
        downloads = carried or self._download_s is not NO_DELAY or self._download_s_a_byte > 0
        uploads = carried or self._upload_s is not NO_DELAY or self._upload_s_a_byte > 0
        attacks, conduct = self._attacks, HONEST
        job, start, finished = self._job, self._starts, self.jobs
        order = reply = None
        if isinstance(self._at_hand, Order):
            order = self._at_hand
        else:
            reply = self._at_hand
        try:
            if reply is not None:
                order = yield reply
            assert order is not None
            while True:
                reply = None
                kind, snapshot, bytes_down, since_s = order
                now_s = env.now
                cost, activity, own_s, _ = doing = jobs[kind]
                by_phase = activity is None
                factor = self._factor(start)
                if attacks:
                    conduct = conduct_of(attacks, now_s)
                    if not conduct.reports:
                        self._fall_silent()
                        return
                if activity is not None:
                    switch(number, activity, now_s)
                # Version 0 needs no download: everybody starts from the same known point. What they are to
                # keep from the start on is sent all the same.
                if downloads and (snapshot.version > 0 or bytes_down):
                    yield from self._transfer(start, False, bytes_down, factor, by_phase)
                    now_s = env.now
                seconds = factor * (compute_s(start) + own_s) / compute_speed
                if seconds > 0 and conduct.computes:
                    if by_phase:
                        switch(number, COMPUTING, now_s)
                    yield timeout(seconds)
                if cost.calls and conduct.calls:
                    assert service is not None  # the timeline was checked
                    yield from service.serve(Calls(number, start, cost, self.group.lanes, factor, by_phase))
                if attacks:
                    yield from self._withhold(conduct, snapshot.version, doing)
                if uploads:
                    yield from self._transfer(start, True, cost.bytes_up, factor, by_phase)
                now_s = env.now
                switch(number, WAITING, now_s)
                finished += 1
                self.jobs = finished
                reply = env.event()
                report(Ticket(number, job, kind, snapshot, since_s, now_s, not conduct.calls), reply)
                job += 1
                start += 1
                order = yield reply
        finally:
            # It goes down: what it needs to know when it is back.
            self._job = job
            self._starts = start + (reply is None)
            self._at_hand = order if reply is None else reply

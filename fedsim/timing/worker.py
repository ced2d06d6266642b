"""Workers: what they are made of, and the process each of them runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field
from simpy.exceptions import Interrupt

from fedsim.catalog import Strict
from fedsim.messages import JobCost, JobKind, Snapshot, Ticket
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.attacks.base import HONEST, Conduct, TimingAttack, conduct_of
from fedsim.timing.delays import AnyDelay, Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.llm_service import Calls, LlmService
from fedsim.timing.network import Message

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.network import Carrier
    from fedsim.timing.server import Server

# Looked up once: reading a member off its enum costs as much as booking the seconds.
INNER = JobKind.INNER
COMPUTING, WAITING, CUTTING = (
    Activity.COMPUTING,
    Activity.WAITING,
    Activity.CUTTING,
)
UPLOADING, DOWNLOADING = Activity.UPLOADING, Activity.DOWNLOADING
DOWN, HOLDING = Activity.DOWN, Activity.HOLDING

DRAWS_A_BLOCK = 16
"""Delays drawn at one address: block b of a worker holds those of its jobs 16 b to 16 b + 15."""


class Transient(Strict):
    """Transient straggling: with this probability a whole job is `factor` times slower."""

    probability: float = Field(ge=0, le=1)
    factor: float = Field(ge=1)


class WorkerGroup(Strict):
    """Workers that are alike."""

    name: str = "workers"
    count: int = Field(ge=1)
    lanes: int = Field(5, ge=1)
    """LLM calls a worker keeps open at a time."""
    compute: AnyDelay = Constant(value_s=0.0)
    """The worker's own arithmetic in one job."""
    compute_speed: float = Field(1.0, gt=0)
    """Divides the compute time; touches nothing else."""
    upload: AnyDelay = Constant(value_s=0.0)
    download: AnyDelay = Constant(value_s=0.0)
    upload_mbps: float | None = Field(None, gt=0)
    """Adds the message's size over this bandwidth (megabits per second); none: not limited."""
    download_mbps: float | None = Field(None, gt=0)
    slow_down: float = Field(1.0, gt=0)
    """Permanent straggling: multiplies every duration of the worker (arithmetic, calls, transfers)."""
    transient: Transient | None = None
    stops_at_s: float | None = Field(None, ge=0)
    """From this instant the worker never answers again (fail-stop)."""

    def without_network(self) -> WorkerGroup:
        """Return one worker like these that sits beside its server and shares nobody's slowness."""
        nothing = Constant(value_s=0.0)
        return self.model_copy(
            update={
                "count": 1,
                "upload": nothing,
                "download": nothing,
                "upload_mbps": None,
                "download_mbps": None,
            }
        )


class Order(NamedTuple):
    """What the server answers: the next job."""

    kind: JobKind
    snapshot: Snapshot
    bytes_down: int


@cache
def always(value: float) -> Callable[[int], float]:
    """Return the same number for every job: one function for all workers alike."""
    return lambda job: value


NO_DELAY = always(0.0)


def drawn(delay: Delay, streams: Streams, purpose: Stream, worker: int) -> Callable[[int], float]:
    """Return the delay of a worker's job as a function of the job's number, drawn block by block."""
    if isinstance(delay, Constant):
        return always(delay.value_s)
    block_number, block = -1, [0.0]

    def delay_s(job: int) -> float:
        nonlocal block_number, block
        number, place = divmod(job, DRAWS_A_BLOCK)
        if number != block_number:
            block_number = number
            block = delay.sample(streams.seat(purpose, worker, number), DRAWS_A_BLOCK).tolist()
        return block[place]

    return delay_s


def factors(group: WorkerGroup, streams: Streams, worker: int) -> Callable[[int], float]:
    """Return how much slower than normal each job of a worker is."""
    transient, slow_down = group.transient, group.slow_down
    if transient is None or transient.probability == 0:
        return always(slow_down)
    probability, slower = transient.probability, slow_down * transient.factor

    def factor(job: int) -> float:
        straggles = streams.seat(Stream.STRAGGLE, worker, job).random() < probability
        return slower if straggles else slow_down

    return factor


class Worker:
    """One worker: download, compute, call, upload, report, wait for the reply, again."""

    __slots__ = (  # there may be very many of them
        *("env", "group", "jobs", "number"),
        *("_attacks", "_carrier", "_clock", "_costs", "_factor", "_process", "_server", "_service"),
        *("_compute_s", "_download_s", "_download_s_a_byte", "_upload_s", "_upload_s_a_byte"),
    )

    def __init__(
        self,
        env: simpy.Environment,
        number: int,
        group: WorkerGroup,
        costs: Mapping[JobKind, JobCost],
        service: LlmService,
        server: Server,
        clock: ActivityClock,
        streams: Streams,
        attacks: Sequence[TimingAttack] = (),
        carrier: Carrier | None = None,
    ) -> None:
        self.env = env
        self.number = number
        self.group = group
        self.jobs = 0
        self._attacks = attacks
        self._carrier = carrier
        self._costs = costs
        self._service = service
        self._server = server
        self._clock = clock
        self._factor = factors(group, streams, number)
        self._compute_s = drawn(group.compute, streams, Stream.COMPUTE, number)
        self._upload_s = drawn(group.upload, streams, Stream.UPLOAD, number)
        self._download_s = drawn(group.download, streams, Stream.DOWNLOAD, number)
        self._upload_s_a_byte = 8e-6 / group.upload_mbps if group.upload_mbps else 0.0
        self._download_s_a_byte = 8e-6 / group.download_mbps if group.download_mbps else 0.0

    def start(self) -> None:
        """Set the worker's processes going."""
        # The stop is scheduled before any work: a job that would end at that instant does not.
        if self.group.stops_at_s is not None:
            self.env.process(self._stop(self.group.stops_at_s))
            self._process = self.env.process(self._work_until_stopped())
        else:
            self.env.process(self._work())

    def _work_until_stopped(self) -> Generator[simpy.Event, Order, None]:
        try:
            yield from self._work()
        except Interrupt:
            self._fall_silent()

    def _stop(self, at_s: float) -> Generator[simpy.Event, object, None]:
        yield self.env.timeout(at_s)
        if self._process.is_alive:  # a malicious worker may have fallen silent before
            self._process.interrupt()

    def _fall_silent(self) -> None:
        """Never answer again."""
        self._clock.switch(self.number, DOWN, self.env.now)
        self._server.lose(self.number)

    def _hold_back(self, conduct: Conduct, version: int, inner: bool) -> Generator[simpy.Event, object, None]:
        """Return when a malicious worker sends an answer that is ready."""
        env, number, switch = self.env, self.number, self._clock.switch
        if conduct.margin_steps is not None and not inner:
            let_go = self._server.hold(number, version, conduct.margin_steps)
            if let_go is not None:
                switch(number, HOLDING, env.now)
                yield let_go
        silent_s = conduct.sends_s(env.now) - env.now if conduct.sends_s else 0.0
        if silent_s > 0:
            switch(number, DOWN, env.now)
            yield env.timeout(silent_s)
            if inner:
                switch(number, CUTTING, env.now)

    def _work(self) -> Generator[simpy.Event, Order, None]:
        env, number, switch = self.env, self.number, self._clock.switch
        timeout, service, report = env.timeout, self._service, self._server.report
        compute_s, upload_s, download_s = self._compute_s, self._upload_s, self._download_s
        compute_speed = self.group.compute_speed
        carrier = self._carrier
        downloads = carrier is not None or download_s is not NO_DELAY or self._download_s_a_byte > 0
        uploads = carrier is not None or upload_s is not NO_DELAY or self._upload_s_a_byte > 0
        attacks, conduct = self._attacks, HONEST
        order = self._server.first_order(number) or (yield self._server.first_reply(number))
        job = 0
        while True:
            start_s = env.now
            kind, snapshot, bytes_down = order
            cost = self._costs[kind]
            factor = self._factor(job)
            if attacks:
                conduct = conduct_of(attacks, start_s)
                if not conduct.answers:
                    self._fall_silent()
                    return
            # An inner round is one activity, whatever the worker does in it: a table of seconds then shows
            # what the polyhedron updates cost.
            inner = kind is INNER
            if inner:
                switch(number, CUTTING, start_s)
            # Version 0 needs no download: everybody starts from the same known point.
            if downloads and snapshot.version > 0:
                latency_s, s_a_byte = factor * download_s(job), factor * self._download_s_a_byte
                if carrier is not None:
                    if not inner:
                        switch(number, DOWNLOADING, start_s)
                    yield from carrier.carry(Message(number, job, False, bytes_down, latency_s, s_a_byte))
                elif (seconds := latency_s + bytes_down * s_a_byte) > 0:
                    if not inner:
                        switch(number, DOWNLOADING, start_s)
                    yield timeout(seconds)
            seconds = factor * compute_s(job) / compute_speed
            if seconds > 0 and conduct.computes:
                if not inner:
                    switch(number, COMPUTING, env.now)
                yield timeout(seconds)
            if cost.calls and conduct.calls:
                yield from service.serve(Calls(number, job, cost, self.group.lanes, factor, not inner))
            if attacks:
                yield from self._hold_back(conduct, snapshot.version, inner)
            if uploads:
                latency_s, s_a_byte = factor * upload_s(job), factor * self._upload_s_a_byte
                if carrier is not None:
                    if not inner:
                        switch(number, UPLOADING, env.now)
                    yield from carrier.carry(Message(number, job, True, cost.bytes_up, latency_s, s_a_byte))
                elif (seconds := latency_s + cost.bytes_up * s_a_byte) > 0:
                    if not inner:
                        switch(number, UPLOADING, env.now)
                    yield timeout(seconds)
            finish_s = env.now
            switch(number, WAITING, finish_s)
            self.jobs = job + 1
            order = yield report(Ticket(number, job, kind, snapshot, start_s, finish_s, not conduct.calls))
            job += 1

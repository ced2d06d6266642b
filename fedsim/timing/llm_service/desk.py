"""One shared LLM service and its clients, request by request."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

from simpy.exceptions import Interrupt

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.llm_service.agenda import Agenda
from fedsim.timing.llm_service.background import requests_of_others
from fedsim.timing.llm_service.base import Calls, Served
from fedsim.timing.llm_service.levels import LevelLog
from fedsim.timing.llm_service.line import Line
from fedsim.timing.llm_service.work import CallsOfJob, Request, job_of
from fedsim.timing.traces.requests import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.llm_service.draws import CallDraws
    from fedsim.timing.llm_service.shared import Shared

CALLING, QUEUEING = Activity.CALLING, Activity.QUEUEING
UNAVAILABLE = 503
NOBODY = Calls(-1, 0, JobCost(0, 0, 0, 0, 0), 1, 1.0, False)


class CallDesk:
    """One service and everything that happens in it.

    At one instant it first goes on with what is due, and then takes what workers ask of it. A place that
    becomes free goes to the head of the queue before the call that follows in the same lane arrives.

    Args:
        number: the number of the service.
        settings: its limits.
        draws: what is drawn for calls.
        env: the simulation.
        streams: the randomness of the run.
        clock: the books of seconds.
        keep_levels: whether to remember queue lengths over time.
    """

    def __init__(
        self,
        number: int,
        settings: Shared,
        draws: CallDraws,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        keep_levels: bool,
    ) -> None:
        self._backoff = settings.backoff
        self._draws = draws
        self._env = env
        self._streams = streams
        self._switch = clock.switch
        self._sent = self._too_many = self._errors = self._abandoned = 0
        self._levels = LevelLog(number) if keep_levels else None
        self._agenda = Agenda(env, self._note if keep_levels else None)
        self._line = Line(settings, self._agenda, self._begin)
        self._down_until_s = -math.inf
        for outage in settings.outages:
            self._agenda.at(outage.start_s, self._fail, outage.stop_s)
        if settings.background is not None:
            self._nobody = CallsOfJob(NOBODY, None, [], {})
            self._nobody.gone = True
            self._others = requests_of_others(settings.background, draws, streams, number)
            self._expect_others()

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls of a job are answered: see `LlmService.serve`."""
        agenda, env = self._agenda, self._env
        agenda.catch_up(env.now)
        agenda.now_s = env.now
        done = env.event()
        job = job_of(calls, done, self._draws, self._streams)
        agenda.waiting += 1
        for _ in range(min(calls.lanes, calls.cost.calls)):
            self._arrive(job.next_request())
        if calls.booked and not job.calling:
            self._switch(calls.worker, QUEUEING, env.now)
        self._note()
        agenda.arm()
        try:
            yield done
        except Interrupt:
            # what rounding has left undone: `arm` cannot wake the service in the past
            agenda.catch_up(math.nextafter(env.now, -math.inf))
            if job.left:
                self._give_up(job)
            raise

    def served(self) -> Served:
        """Return what has been counted before this instant."""
        self._agenda.catch_up(math.nextafter(self._env.now, -math.inf))
        levels = self._levels.rows if self._levels is not None else ()
        return Served(self._sent, self._too_many, self._errors, self._abandoned, levels)

    def _note(self) -> None:
        if self._levels is not None:
            self._levels.note(self._agenda.now_s, self._line.queued, self._line.serving)

    def _arrive(self, request: Request) -> None:
        """A request comes in."""
        if not request.job.gone:
            self._sent += 1
        if self._agenda.now_s < self._down_until_s:
            self._refuse(request, UNAVAILABLE)
        elif not self._line.take(request):
            self._refuse(request, TOO_MANY_REQUESTS)

    def _begin(self, request: Request) -> None:
        """Answer a request from now on."""
        job, agenda = request.job, self._agenda
        if not job.gone:
            job.answering += 1
            if not job.calling and job.calls.booked:
                job.calling = True
                self._switch(job.calls.worker, CALLING, agenda.now_s)
        busy_s = request.failures[0][0] if request.failures else request.busy_s
        agenda.at(agenda.now_s + busy_s, self._end, request)

    def _end(self, request: Request) -> None:
        """A request is answered, or has failed."""
        self._line.leave(request)
        job = request.job
        if job.gone:
            return
        job.answering -= 1
        if request.failures:
            self._refuse(request, request.failures.pop(0)[1])
        else:
            job.left -= 1
            if not job.left:
                self._agenda.waiting -= 1
                assert job.done is not None
                job.done.succeed()
                return
            if job.sent < job.calls.cost.calls:
                self._arrive(job.next_request())
        self._book_a_pause(job)

    def _book_a_pause(self, job: CallsOfJob) -> None:
        """Book that none of a job's open calls is being answered, where this is so."""
        if job.calling and not job.answering:
            job.calling = False
            self._switch(job.calls.worker, QUEUEING, self._agenda.now_s)

    def _refuse(self, request: Request, code: int) -> None:
        """Count a request that was not answered; its client sends it again after a while."""
        if request.job.gone:  # a client that is not ours does not come back
            return
        if code == TOO_MANY_REQUESTS:
            self._too_many += 1
        else:
            self._errors += 1
        request.refusals += 1
        pause_s = self._backoff.longest_pause_s(request.refusals)
        if self._backoff.jitter:
            calls = request.job.calls
            # an address of its own for every refusal of every call, as long as both are below 2^32
            address = calls.worker + (request.number << 32), calls.job + (request.refusals << 32)
            pause_s *= 1 - self._backoff.jitter * self._streams.seat(Stream.BACKOFF, *address).random()
        self._agenda.at(self._agenda.now_s + pause_s, self._come_back, request)

    def _come_back(self, request: Request) -> None:
        """A client has waited, and sends its request again if it is still there."""
        if not request.job.gone:
            self._arrive(request)

    def _give_up(self, job: CallsOfJob) -> None:
        """The worker of an open job has gone down: what is being answered keeps its place, the rest goes."""
        self._agenda.now_s = self._env.now
        self._agenda.waiting -= 1
        self._abandoned += job.answering
        job.gone, job.calling = True, False
        self._line.drop(job)
        self._note()
        self._agenda.arm()

    def _fail(self, until_s: float) -> None:
        """An outage begins: cut off everything that is being answered or waits."""
        self._down_until_s = until_s
        cut = self._line.clear()
        self._agenda.strike(self._end)
        for request in cut:
            self._refuse(request, UNAVAILABLE)
        for job in dict.fromkeys(request.job for request in cut):
            job.answering = 0
            self._book_a_pause(job)

    def _expect_others(self) -> None:
        time_s, busy_s = next(self._others)
        self._agenda.at(time_s, self._others_arrive, busy_s)

    def _others_arrive(self, busy_s: float) -> None:
        self._arrive(Request(self._nobody, 0, busy_s, []))
        self._expect_others()

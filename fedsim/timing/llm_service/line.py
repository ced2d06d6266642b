"""The places, the queue and the limits of a service: which requests are answered, wait or are refused."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.buckets import ROUNDING_S, Buckets

if TYPE_CHECKING:
    from fedsim.timing.llm_service.agenda import Agenda
    from fedsim.timing.llm_service.shared import Shared
    from fedsim.timing.llm_service.work import CallsOfJob, Request


class Line:
    """The requests at a service, in the order in which they came.

    Requests of jobs that are `gone` need nothing from the buckets.

    Args:
        settings: the limits.
        agenda: what is due at the service.
        begin: called with each request that is answered from now on.
    """

    def __init__(self, settings: Shared, agenda: Agenda, begin: Callable[[Request], None]) -> None:
        self._agenda = agenda
        self._begin = begin
        self._buckets = Buckets(settings.requests_per_minute, settings.tokens_per_minute, settings.burst_s)
        self._rejects = bool(self._buckets) and settings.over_limit == "reject"
        self._holds = bool(self._buckets) and settings.over_limit == "queue"
        self._places = math.inf if settings.concurrency is None else settings.concurrency
        self._most_queued = math.inf if settings.queue_limit is None else settings.queue_limit
        self._queue: deque[Request] = deque()
        self._serving: dict[Request, None] = {}  # in the order in which they were let in
        self._looks_again_s = -math.inf  # when the buckets next have enough for the head of the queue

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def serving(self) -> int:
        """How many are being answered."""
        return len(self._serving)

    def take(self, request: Request) -> bool:
        """Let a request in or have it wait, and return whether it has been taken at all."""
        job, now_s = request.job, self._agenda.now_s
        limited = self._buckets and not job.gone
        enough = not limited or self._buckets.enough_s(job.tokens) <= now_s + ROUNDING_S
        waits = bool(self._queue) or len(self._serving) >= self._places or (self._holds and not enough)
        if (waits and len(self._queue) >= self._most_queued) or (self._rejects and not enough):
            return False
        if limited and self._rejects:
            self._buckets.take(job.tokens, now_s)
        if waits:
            self._queue.append(request)
            if len(self._queue) == 1:
                self.let_in()
        else:
            self._let_in(request)
        return True

    def let_in(self) -> None:
        """Go on with the queue as far as there are places, and enough in the buckets."""
        queue, agenda = self._queue, self._agenda
        while queue and len(self._serving) < self._places:
            if self._holds and not queue[0].job.gone:
                enough_s = self._buckets.enough_s(queue[0].job.tokens)
                if enough_s > agenda.now_s + ROUNDING_S:
                    if enough_s != self._looks_again_s:
                        self._looks_again_s = enough_s
                        agenda.at(enough_s, self.let_in)
                    return
            self._let_in(queue.popleft())

    def _let_in(self, request: Request) -> None:
        if self._holds and not request.job.gone:
            self._buckets.take(request.job.tokens, self._agenda.now_s)
        self._serving[request] = None
        self._begin(request)

    def leave(self, request: Request) -> None:
        """Give the place of a request that is over to the head of the queue."""
        del self._serving[request]
        if self._queue:
            self.let_in()

    def drop(self, job: CallsOfJob) -> None:
        """Take the requests of a job out of the queue; those that are being answered stay."""
        self._queue = deque(request for request in self._queue if request.job is not job)
        self.let_in()

    def clear(self) -> list[Request]:
        """Cut everything off, and return it: first what was being answered, then what waited."""
        cut = [*self._serving, *self._queue]
        self._serving.clear()
        self._queue.clear()
        return cut

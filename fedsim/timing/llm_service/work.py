"""What a shared service works on: the jobs of workers and their calls."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.base import Calls

if TYPE_CHECKING:
    import simpy

    from fedsim.streams import Streams
    from fedsim.timing.llm_service.draws import CallDraws


class Request:
    """A call of a job on its way, until it is answered: it may be sent several times."""

    __slots__ = ("busy_s", "failures", "job", "number", "refusals")

    def __init__(
        self, job: CallsOfJob, number: int, busy_s: float, failures: list[tuple[float, int]]
    ) -> None:
        self.job = job
        self.number = number
        """Which call of the job it is."""
        self.busy_s = busy_s
        """How long the service is busy with it when it does not fail."""
        self.failures = failures
        """How it fails before that: how long the service is busy with it, and the code of the answer."""
        self.refusals = 0
        """How often it was refused, failed or cut off so far."""


class CallsOfJob:
    """The calls of one job of a worker; or, once it is `gone`, what is left of them at the service."""

    __slots__ = (
        *("answering", "calling", "calls", "done", "gone", "left", "sent", "tokens"),
        *("_busy_s", "_failures"),
    )

    def __init__(
        self,
        calls: Calls,
        done: simpy.Event | None,
        busy_s: list[float],
        failures: dict[int, list[tuple[float, int]]],
    ) -> None:
        self.calls = calls
        self.done = done
        """Fires when all calls are answered; none: nobody waits for that."""
        self.left = calls.cost.calls
        """Calls that have not been answered."""
        self.sent = 0
        """Calls that have been sent at least once."""
        self.answering = 0
        """Calls that are being answered."""
        self.calling = False
        """What the books say: `CALLING` and not `QUEUEING`."""
        self.gone = False
        """Its worker went down: nobody waits for it."""
        self.tokens = (calls.cost.tokens_in + calls.cost.tokens_out) / (calls.cost.calls or 1)
        """Of each call, prompt and answer together."""
        self._busy_s = busy_s
        self._failures = failures

    def next_request(self) -> Request:
        """Return the first request of the next call that has not been sent."""
        number = self.sent
        self.sent += 1
        return Request(self, number, self._busy_s[number], self._failures.get(number, []))


def job_of(calls: Calls, done: simpy.Event, draws: CallDraws, streams: Streams) -> CallsOfJob:
    """Return a job with everything drawn that its calls need."""
    scale = calls.scale
    busy_s = scale * draws.answers_s(streams, calls)
    failures: dict[int, list[tuple[float, int]]] = defaultdict(list)
    drawn = draws.failures(streams, calls)
    for call, seconds, code in zip(*(column.tolist() for column in drawn), strict=True):
        failures[call].append((scale * seconds, code))
    return CallsOfJob(calls, done, busy_s.tolist(), failures)

"""Where messages to the server come in, and how it waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from fedsim.messages import Ticket
from fedsim.timing.orders import JobBringer, Orders

if TYPE_CHECKING:
    import simpy

Take = Callable[[Any, JobBringer], object]
"""How the server takes a message, given the message and the event that brings its worker the next job.

Where it takes a report, it returns whether this has changed who takes part."""


class Inbox:
    """Messages in order of arrival, and the sleep of a server that has read all of them.

    A server that sleeps takes each message in its sleep; only the message that makes enough wakes it up, and
    then it goes on at once, before anything else of that instant.

    Args:
        env: the simulation.
        orders: what workers are busy with.
        take: how the server takes a report.
        go_on: lets the server go on that sleeps without patience.
        patience_s: how long the server waits for a worker's report (s); none: for ever.
        evict: gives a worker up.
        anybody: tells whether anybody may still send a message.
        look_around: called whenever the server goes to sleep, or sleeps on after a message, as long as it
            `looks_around`.
    """

    def __init__(
        self,
        env: simpy.Environment,
        orders: Orders,
        take: Take,
        go_on: Callable[[], None],
        patience_s: float | None,
        evict: Callable[[int], None],
        anybody: Callable[[], bool],
        look_around: Callable[[], None],
    ) -> None:
        self._env = env
        self.looks_around = False
        """Whether what the server does not see may matter: reports withheld, workers that are lost."""
        self._orders = orders
        self._take = take
        self._go_on = go_on
        self._patience_s = patience_s
        self._evict = evict
        self._anybody = anybody
        self._look_around = look_around
        # A deque: SimPy's Store pops from the front of a list, slow under a backlog.
        self._messages: deque[tuple[Take, Any, JobBringer]] = deque()
        self._wake: Callable[[], object] = go_on
        self._asleep_until: Callable[[], bool] | None = None
        self._stirred = False

    @property
    def asleep(self) -> bool:
        """Whether the server sleeps until there are enough messages."""
        return self._asleep_until is not None

    def report(self, ticket: Ticket, reply: JobBringer) -> None:
        """Put a ticket in; the reply brings its worker the next order.

        Handing in comes first and the reply reflects the ticket, so a worker never reads a server state that
        does not know of its own last job.
        """
        if self._asleep_until is None:
            self._messages.append((self._take, ticket, reply))
        # A sleeping server has read all its messages: this one's turn is now.
        elif self._take(ticket, reply):
            self.stir()
        elif self._asleep_until():
            self._asleep_until = None
            self._wake()
        elif self.looks_around:
            self._look_around()

    def request(self, take: Take, message: Any) -> simpy.Event:
        """Put a request for work in; the event returned brings the job."""
        reply = self._env.event()
        if self._asleep_until is None:
            self._messages.append((take, message, reply))
        else:
            take(message, reply)
            self.stir()
        return reply

    def stir(self) -> None:
        """Let a sleeping server look again: who takes part, or is asked, has changed."""
        self._stirred = True
        if self._asleep_until is not None:
            self._wake_up()

    def collect(self, enough: Callable[[], bool]) -> Generator[simpy.Event | None, object, None]:
        """Take messages one by one until there are enough, or nobody is left to send one."""
        while not enough():
            if self._messages:
                take, message, reply = self._messages.popleft()
                take(message, reply)
            elif self._anybody():
                self._asleep_until = enough
                if self.looks_around:
                    self._look_around()
                self._stirred = False
                if self._patience_s is not None and self._orders.outstanding:
                    yield from self._lose_patience(self._patience_s)
                    self._asleep_until, self._wake = None, self._go_on
                else:
                    yield None
                    if not self._stirred:
                        return  # the message that made enough has woken the server
            else:
                return

    def _wake_up(self) -> None:
        self._asleep_until = None
        self._wake()

    def _lose_patience(self, patience_s: float) -> Generator[simpy.Event, object, None]:
        """Sleep until woken or until a worker has been silent for so long (s); then evict it."""
        worker, order = next(iter(self._orders.outstanding.items()))
        left_s = order.since_s + patience_s - self._env.now
        if left_s > 0:
            # By events: what arrives at the instant at which the patience ends comes before its end.
            woken = self._env.event()
            self._wake = woken.succeed
            yield woken | self._env.timeout(left_s)
        else:
            self._evict(worker)

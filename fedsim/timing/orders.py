"""What the server asks of workers: who is busy with what, and who waits for the next job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from fedsim.messages import JobCost, JobKind, Snapshot
from fedsim.timing.attacks.base import Misconduct, conduct_of
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange

if TYPE_CHECKING:
    import simpy

# Looked up once: reading a member off its enum is slow.
OUTER, INNER = JobKind.OUTER, JobKind.INNER


class Order(NamedTuple):
    """What the server answers: the next job."""

    kind: JobKind
    snapshot: Snapshot
    bytes_down: int
    since_s: float
    """When it was handed out (s)."""


class Orders:
    """The jobs under way, and the answers that workers wait for.

    Args:
        env: the simulation.
        exchange: the learning half, which hears of every job.
        books: where downloads are counted.
        costs: what jobs of each kind cost.
        cut_bytes: what new coefficients of the cuts add to a download.
        misconduct: the attacks on timing of each malicious worker.
    """

    def __init__(
        self,
        env: simpy.Environment,
        exchange: Exchange,
        books: Books,
        costs: Mapping[JobKind, JobCost],
        cut_bytes: int,
        misconduct: Misconduct,
    ) -> None:
        self.outstanding: OrderedDict[int, Order] = OrderedDict()
        """The job of each worker that the server has yet to hear from, those handed out longest ago first."""
        self.inner = 0
        """How many of them are inner rounds."""
        self.waiting: dict[int, tuple[int, simpy.Event]] = {}
        """Of each worker without a job: the number of its next one, and the event that brings it."""
        self.newest = Order(OUTER, Snapshot(0, exchange.first()), 0, 0.0)
        """What a worker that knows all cuts is asked now."""
        self.has_cuts = False
        self._env = env
        self._exchange = exchange
        self._books = books
        self._costs = costs
        self._cut_bytes = cut_bytes
        self._misconduct = misconduct
        self._blank: set[int] = set()  # who has lost its state while it waited for its next job

    def make(self, kind: JobKind, snapshot: Snapshot) -> Order:
        """Return the order to work on a snapshot, from this instant on."""
        return Order(kind, snapshot, self._costs[kind].bytes_down, self._env.now)

    def with_all_cuts(self) -> Order:
        """Return what a worker is asked that does not have the cuts: with all of them, if there are any."""
        cut_bytes = self._cut_bytes if self.has_cuts else 0
        return self.newest._replace(bytes_down=self.newest.bytes_down + cut_bytes, since_s=self._env.now)

    def give(self, worker: int, job: int, order: Order) -> None:
        """Hand a job out."""
        kind, snapshot, bytes_down, now_s = order
        self._books.bytes_down += bytes_down
        self.outstanding[worker] = order
        self.inner += kind is INNER
        skipped = worker in self._misconduct and not conduct_of(self._misconduct[worker], now_s).calls
        self._exchange.hand_out(worker, job, kind, snapshot, now_s, skipped)

    def answer(self, workers: Sequence[int], order: Order) -> None:
        """Give each of these waiting workers its next job."""
        if not self._blank:
            for worker in workers:
                self._bring(worker, order)
            return
        for worker in workers:
            if worker in self._blank:
                self._blank.remove(worker)
                self._exchange.forget(worker)
                self._bring(worker, order if order.kind is INNER else self.with_all_cuts())
            else:
                self._bring(worker, order)

    def forget_later(self, worker: int) -> None:
        """A worker has lost its state while it waits for its next job: its last ticket counts as usual."""
        self._blank.add(worker)

    def forget_now(self, worker: int) -> None:
        """A worker has lost its state, and with it the job that it had: the learning half hears of it."""
        self._blank.discard(worker)  # it may have gone down again before the server has read its request
        self._exchange.forget(worker)

    def withdraw(self, worker: int) -> Order:
        """Take back and return the order of a worker, of which nobody will hear any more."""
        order = self.outstanding.pop(worker)
        self.inner -= order.kind is INNER
        return order

    def replace(self, worker: int, job: int, reply: simpy.Event) -> None:
        """Withdraw a worker's order and give it another: an inner round once more, or the newest outer job.

        Args:
            worker: whose.
            job: the number of the other one.
            reply: the event that brings it.
        """
        order = self.withdraw(worker)
        self.waiting[worker] = job, reply
        again = order._replace(since_s=self._env.now)
        self._bring(worker, again if order.kind is INNER else self.with_all_cuts())

    def _bring(self, worker: int, order: Order) -> None:
        job, reply = self.waiting.pop(worker)
        self.give(worker, job, order)
        reply.succeed(order)

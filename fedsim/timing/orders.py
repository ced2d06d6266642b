"""What the server asks of workers: who is busy with what, and who waits for the next job."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from fedsim.messages import JobKind, Snapshot
from fedsim.timing.attacks.base import Misconduct, conduct_of
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange

if TYPE_CHECKING:
    import simpy

# Looked up once: reading a member off its enum is slow.
INNER = JobKind.INNER


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
        exchange: the learning half, which hears of every job.
        books: where downloads are counted.
        misconduct: the attacks on timing of each malicious worker.
    """

    def __init__(self, exchange: Exchange, books: Books, misconduct: Misconduct) -> None:
        self.outstanding: OrderedDict[int, Order] = OrderedDict()
        """The job of each worker that the server has yet to hear from, those handed out longest ago first."""
        self.inner = 0
        """How many of them are inner rounds."""
        self.waiting: dict[int, tuple[int, simpy.Event]] = {}
        """Of each worker without a job: the number of its next one, and the event that brings it."""
        self._exchange = exchange
        self._books = books
        self._misconduct = misconduct

    def give(self, worker: int, job: int, order: Order) -> None:
        """Hand a job out."""
        kind, snapshot, bytes_down, now_s = order
        self._books.bytes_down += bytes_down
        self.outstanding[worker] = order
        self.inner += kind is INNER
        skipped = worker in self._misconduct and not conduct_of(self._misconduct[worker], now_s).calls
        self._exchange.hand_out(worker, job, kind, snapshot, now_s, skipped)

    def answer(self, worker: int, order: Order) -> None:
        """Give a waiting worker its next job."""
        job, reply = self.waiting.pop(worker)
        self.give(worker, job, order)
        reply.succeed(order)

    def withdraw(self, worker: int) -> Order:
        """Take back and return the order of a worker, of which nobody will hear any more."""
        order = self.outstanding.pop(worker)
        self.inner -= order.kind is INNER
        return order

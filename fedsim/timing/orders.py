"""What the server asks of workers: who is busy with what, and who waits for the next job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fedsim.messages import Snapshot, Ticket
from fedsim.schedule import Schedule
from fedsim.timing.attacks.base import Misconduct, conduct_of
from fedsim.timing.books import Books
from fedsim.timing.exchange import Exchange

if TYPE_CHECKING:
    import simpy


class Order(NamedTuple):
    """What the server asks of a worker: its next job."""

    kind: str
    snapshot: Snapshot
    bytes_down: int
    since_s: float
    """When it was handed out (s)."""


class JobBringer(Protocol):
    """What brings a worker its next job: an event that it waits for, or the worker itself."""

    def succeed(self, order: Order, /) -> object:
        """Bring this job, which is handed out now."""


class Orders:
    """The jobs under way, and the workers that wait for their next one.

    Args:
        env: the simulation.
        exchange: the learning half, which hears of every job.
        books: where downloads are counted.
        schedule: the kinds of jobs.
        misconduct: the attacks on timing of each malicious worker.
    """

    def __init__(
        self,
        env: simpy.Environment,
        exchange: Exchange,
        books: Books,
        schedule: Schedule,
        misconduct: Misconduct,
    ) -> None:
        self.outstanding: OrderedDict[int, Order] = OrderedDict()
        """The job of each worker that the server has yet to hear from, those handed out longest ago first."""
        self.waiting: dict[int, tuple[int, JobBringer]] = {}
        """Of each worker without a job: the number of its next one, and what brings it."""
        self._env = env
        self._exchange = exchange
        self._books = books
        self._bytes_down = {kind: work.cost.bytes_down for kind, work in schedule.work.items()}
        self._regular = schedule.regular
        self._opening = schedule.opening or schedule.regular
        self._interlude = schedule.interlude
        self._of_interlude = schedule.interlude.work if schedule.interlude is not None else None
        self._misconduct = misconduct
        standing = schedule.standing
        self._standing_bytes = standing.n_bytes if standing is not None else 0
        self._renewed_by = standing.renewed_by if standing is not None else None
        self.renewable = self._renewed_by is not None
        """Whether a step may renew what workers keep."""
        # The newest standing message, and the one that each worker has; 0: none.
        self._standing = int(standing is not None and standing.renewed_by is None)
        self._has: dict[int, int] = {}
        self._left = 0  # the bytes that interludes have left behind, for a worker that has none of them
        # Interludes in the background that have ended, and how many of them each worker has the bytes of.
        plan = schedule.interlude
        self._in_background = plan is not None and plan.participation == "rolling"
        self._ended = 0
        self._told: dict[int, int] = {}
        # Whose next job outside of interludes starts from nothing, and whether the learning half has yet to
        # hear that the worker has lost its state.
        self._anew: dict[int, bool] = {}
        # Version 0 is not sent: everybody starts from the same known point.
        self._newest = Order(schedule.regular, Snapshot(0, exchange.first()), 0, 0.0)

    def begin(self, asked: Sequence[int], members: Sequence[int]) -> None:
        """Hand the first jobs out; a member that is not asked waits until it is."""
        order = self._newest._replace(kind=self._opening)
        for worker in asked:
            self._give(worker, 0, order)
        for worker in members:
            if worker not in self.outstanding:
                self.wait_for_first(worker, 0, self._env.event())

    @property
    def newest(self) -> Order:
        """A regular job as it is handed out now, to a worker that lacks nothing but the newest snapshot."""
        if self._newest.since_s != self._env.now:
            self._newest = self._newest._replace(since_s=self._env.now)
        return self._newest

    def stepped(self, active: Sequence[Ticket]) -> None:
        """A step has taken these tickets, which may renew what workers keep."""
        if any(ticket.kind == self._renewed_by for ticket in active):
            self._standing += 1

    def make(self, kind: str, snapshot: Snapshot) -> Order:
        """Return the order to work on a snapshot, from this instant on."""
        return Order(kind, snapshot, self._bytes_down[kind], self._env.now)

    def go_on_with(self, snapshot: Snapshot, now_s: float) -> Order:
        """From now on, regular jobs read this snapshot; return the order to do one."""
        regular = self._regular
        self._newest = Order(regular, snapshot, self._bytes_down[regular], now_s)
        return self._newest

    def go_on_after_interlude(self, content: Any) -> None:
        """From now on, regular jobs read what an interlude has made; what it leaves behind is sent too."""
        assert self._interlude is not None
        self._left = self._interlude.leaves_bytes
        after = self.make(self._regular, Snapshot(self._newest.snapshot.version, content))
        if self._in_background:  # its workers are busy: who has it not yet is told with the next job
            self._ended += 1
            self._newest = after
        else:
            self._newest = after._replace(bytes_down=after.bytes_down + self._left)

    def dispatch(self, workers: Sequence[int], order: Order) -> None:
        """Hand each of these waiting workers its next job: this one, or the first of one that starts anew."""
        for worker in workers:
            asked = self._first(worker, order) if worker in self._anew else order
            job, reply = self.waiting.pop(worker)
            reply.succeed(self._give(worker, job, asked))

    def received(self, ticket: Ticket, reply: JobBringer) -> None:
        """A worker has reported and waits for its next job, which this reply brings."""
        worker = ticket.worker
        del self.outstanding[worker]
        self.waiting[worker] = ticket.job + 1, reply

    def wait_for_first(self, worker: int, job: int, reply: JobBringer) -> None:
        """A worker that starts anew waits for its next job, which has this number."""
        self.waiting[worker] = job, reply
        self._starts_anew(worker, untold=False)

    def bring_by(self, worker: int, reply: JobBringer) -> None:
        """A worker without a job is brought its next one by this reply."""
        job, _ = self.waiting[worker]
        self.waiting[worker] = job, reply

    def forget_later(self, worker: int) -> None:
        """A worker has lost its state while it waits for its next job: its last ticket counts as usual."""
        self._starts_anew(worker, untold=True)

    def forget_now(self, worker: int) -> None:
        """A worker has lost its state, and with it the job that it had: the learning half hears of it."""
        # It may have gone down again before the server has read its request.
        self._starts_anew(worker, untold=False)
        self._exchange.forget(worker)

    def withdraw(self, worker: int) -> Order:
        """Take back and return the order of a worker, of which nobody will hear any more."""
        return self.outstanding.pop(worker)

    def dismiss(self, worker: int) -> bool:
        """Hand this worker no job any more; return whether it was waiting for one."""
        self.outstanding.pop(worker, None)
        self._anew.pop(worker, None)
        return self.waiting.pop(worker, None) is not None

    def replace(self, worker: int, job: int, reply: JobBringer) -> None:
        """Withdraw the order of a worker that has lost its state, and give it another.

        In a round of an interlude that is the round's order once more.

        Args:
            worker: whose.
            job: the number of the other job.
            reply: what brings it.
        """
        order = self.withdraw(worker)
        self.waiting[worker] = job, reply
        # Its bytes anew: what it keeps from job to job is lost too, and counted when it is handed out.
        again = order._replace(bytes_down=self._bytes_down[order.kind], since_s=self._env.now)
        self.dispatch([worker], again)

    def _starts_anew(self, worker: int, untold: bool) -> None:
        self._anew[worker] = untold
        self._has.pop(worker, None)

    def _first(self, worker: int, order: Order) -> Order:
        """Return what a worker is asked that starts anew; a round of an interlude comes before that."""
        if self._anew[worker]:
            self._exchange.forget(worker)
        if order.kind == self._of_interlude:
            self._anew[worker] = False
            return order
        del self._anew[worker]
        snapshot = self._newest.snapshot
        self._told[worker] = self._ended
        bytes_down = self._bytes_down[self._opening] + self._left if snapshot.version > 0 else 0
        return Order(self._opening, snapshot, bytes_down, self._env.now)

    def _give(self, worker: int, job: int, order: Order) -> Order:
        if self._standing and self._has.get(worker, 0) < self._standing:
            self._has[worker] = self._standing
            order = order._replace(bytes_down=order.bytes_down + self._standing_bytes)
        if self._ended and order.kind != self._of_interlude:
            missing = self._ended - self._told.get(worker, 0)
            if missing:
                self._told[worker] = self._ended
                order = order._replace(bytes_down=order.bytes_down + missing * self._left)
        kind, snapshot, bytes_down, now_s = order
        if bytes_down:
            self._books.sent(kind, bytes_down)
        self.outstanding[worker] = order
        skipped = worker in self._misconduct and not conduct_of(self._misconduct[worker], now_s).calls
        self._exchange.hand_out(worker, job, kind, snapshot, now_s, skipped)
        return order

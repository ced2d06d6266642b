"""What the server holds of each worker: what it last reported, kept up to date at the cost of who reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.learning.chunks import chunks
from fedsim.learning.door import Door, senseless
from fedsim.learning.tables import WorkerTables
from fedsim.messages import Ticket

DIGITS_LOST = 1e6
"""A sum kept up to date by differences this large would be wrong in its tenth digit for good."""


class Reports:
    """The last message of each worker that the server holds, and what workers held when they last reported.

    Where all are honest, a message is the p in its worker's row of `tables`, and it changes with the worker's
    next job alone. So it is copied when somebody looks, with all others of that time; and what it adds to the
    cuts' weights is worked out when its job is evaluated, with all others of that batch. A step then costs a
    few additions. Messages that somebody may forge or that are encoded come in by the door one by one.

    Args:
        tables: what workers hold.
        door: where messages come in.
        polyhedron: gives the cuts of now.
    """

    def __init__(self, tables: WorkerTables, door: Door, polyhedron: Callable[[], Polyhedron]) -> None:
        self._tables = tables
        self._door = door
        self._polyhedron = polyhedron
        self._as_they_are = not door.forges and door.encoder is None
        # What is measured must not depend on which jobs in flight happen to have been evaluated already.
        self._received = tables.P.clone()
        self._p = tables.P.clone() if door.encoder is not None else self._received
        self._q = tables.Q.clone()
        self._unsettled: dict[int, None] = {}  # who has reported and is not copied yet
        self._evaluated: dict[int, None] = {}  # whose job is evaluated and not reported yet
        self._senseless: set[int] = set()  # whose p is not finite
        # What the messages of evaluated jobs add to the weights of these cuts, (R, M, L), and whose is known.
        self._weighed_by: Polyhedron | None = None
        self._weights = tables.P[:0]
        self._known: set[int] = set()

    @property
    def received(self) -> Tensor:
        """The last message of each worker that the server holds, (R, M, N): its p, unless it is forged."""
        self.settle()
        return self._received

    @property
    def p(self) -> Tensor:
        """The p of each worker when it last reported, (R, M, N): its message, where that is not encoded."""
        self.settle()
        return self._p

    @property
    def q(self) -> Tensor:
        """The q of each worker when it last reported."""
        self.settle()
        return self._q

    def settle(self) -> None:
        """Copy what was reported; to be called before rows of the workers' tables change."""
        if self._unsettled:
            self._copy(torch.tensor(list(self._unsettled)))
            self._unsettled = {}

    def evaluated(self, workers: Sequence[int], rows: Tensor, p: Tensor) -> None:
        """Note that jobs have been evaluated, whose workers will report.

        Args:
            workers: whose.
            rows: the same as an index.
            p: what they hold now, (J, M, N).
        """
        if not self._as_they_are:
            return
        self._evaluated |= dict.fromkeys(workers)
        self._senseless |= senseless(workers, p)
        # After a change of cuts all are weighed anew, when the first of them is asked for.
        if self._polyhedron() is self._weighed_by and self._weighed_by.columns:
            self._weigh(workers, rows, p)

    def forget(self, worker: int) -> None:
        """A worker has lost its state; what it has reported stays. To be called before its row changes."""
        self.settle()
        self._evaluated.pop(worker, None)
        self._known.discard(worker)
        self._senseless.discard(worker)

    def take(
        self, tickets: Sequence[Ticket], others: Callable[[], Tensor], weighed: Tensor
    ) -> tuple[Sequence[Ticket], Tensor]:
        """Take the messages of finished jobs; return whose came in, and what the cuts weigh then.

        Args:
            tickets: of the jobs, all evaluated.
            others: gives the honest messages that are combined with these, beside theirs, (k, M, N).
            weighed: ``sum_v a . p^(v)`` over the messages held so far, (M, L).
        """
        if not self._as_they_are:
            return self._through_the_door(tickets, others, weighed)
        if self._senseless:
            tickets = self._door.without(self._senseless, tickets)
        if tickets and self._polyhedron().columns:
            weighed = weighed + self._added(tickets)
        for ticket in tickets:
            self._unsettled[ticket.worker] = None
            self._evaluated.pop(ticket.worker, None)
        return tickets, weighed

    def _added(self, tickets: Sequence[Ticket]) -> Tensor:
        """Return what these messages add to the cuts' weights, (M, L)."""
        polyhedron = self._polyhedron()
        if self._weighed_by is not polyhedron:
            self._weighed_by, self._known = polyhedron, set()
            self._weights = polyhedron.c.new_empty(len(self._received), *polyhedron.c.shape)
        workers = [ticket.worker for ticket in tickets]
        if not self._known.issuperset(workers):
            missing = list(dict.fromkeys((*self._evaluated, *workers)).keys() - self._known)
            self.settle()
            rows = torch.tensor(missing)
            self._weigh(missing, rows, self._tables.P[rows])
        self._known.difference_update(workers)
        # A number is a third faster than a table of one number, and S = 1 is common.
        return self._weights[workers[0]] if len(workers) == 1 else self._weights[workers].sum(0)

    def _weigh(self, workers: Sequence[int], rows: Tensor, p: Tensor) -> None:
        """Work out what these messages, (J, M, N), will add to the cuts' weights."""
        assert self._weighed_by is not None
        self._weights[rows] = self._weighed_by.weights(rows, p - self._received[rows])
        self._known.update(workers)

    def _copy(self, rows: Tensor) -> None:
        self._received[rows] = self._tables.P[rows]
        self._q[rows] = self._tables.Q[rows]

    def _through_the_door(
        self, tickets: Sequence[Ticket], others: Callable[[], Tensor], weighed: Tensor
    ) -> tuple[Sequence[Ticket], Tensor]:
        admitted: list[Ticket] = []
        # Malicious workers of one step write their messages together.
        whole = [slice(0, len(tickets))] if self._door.forges and tickets else None
        for part in whole or chunks(len(tickets), self._received[0].numel()):
            group = tickets[part]
            own = self._tables.P[[ticket.worker for ticket in group]]
            messages, usable = self._door.take(group, own, others)
            if usable is not None:
                group = [group[place] for place in usable]
            if group:
                weighed = self._keep(torch.tensor([ticket.worker for ticket in group]), messages, weighed)
                admitted += group
        return admitted, weighed

    def _keep(self, rows: Tensor, messages: Tensor, weighed: Tensor) -> Tensor:
        """Put messages, (n, M, N), in the place of those held; return what the cuts weigh then."""
        polyhedron = self._polyhedron()
        change = messages - self._received[rows] if polyhedron.columns else None
        self._copy(rows)
        self._received[rows] = messages
        if self._p is not self._received:
            self._p[rows] = self._tables.P[rows]
        if change is None:
            return weighed
        if self._door.may_be_huge and bool((change.abs() > DIGITS_LOST).any()):
            return polyhedron.along(torch.arange(len(self._received)), self._received)
        return weighed + polyhedron.along(rows, change)

"""The rounds of an interlude in the background: jobs among others, for which nobody is stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedsim.messages import Ticket
from fedsim.timing.orders import Order


class BackgroundRounds:
    """Who is asked in the present round of an interlude, and who has reported, while steps go on.

    A round wants as many reports as a step, S, or one of each member where fewer are left. Its jobs go to the
    next workers that wait for a job. A worker that has done one goes on with a job of another kind at once.
    Only where a round wants everybody does it wait for the end of the round: nobody else could do the next.

    Args:
        members: who takes part as the interlude begins; who is taken in later does not.
    """

    def __init__(self, members: Collection[int]) -> None:
        self._members = set(members)
        self._order: Order | None = None
        self._size = 0
        self._busy: set[int] = set()
        self._tickets: list[Ticket] = []
        self._held: list[int] = []

    def begin_round(self, order: Order, size: int) -> None:
        """Begin a round with this job, for so many workers."""
        self._order = order
        self._size = size

    @property
    def _wanted(self) -> int:
        """How many reports end the round; of who is gone, a report that has come in counts."""
        reporters = {ticket.worker for ticket in self._tickets}
        return min(self._size, len(self._members | reporters))

    @property
    def is_in(self) -> bool:
        """Whether all reports of the round have come in."""
        return 0 < len(self._tickets) >= self._wanted

    @property
    def deserted(self) -> bool:
        """Whether nobody is left who could report, or has."""
        return not self._members and not self._tickets

    def enlisted(self, waiting: Sequence[int]) -> list[int]:
        """Return who of these, in their order, gets the job of the round now; nobody does it twice."""
        missing = self._wanted - len(self._tickets) - len(self._busy)
        if missing <= 0:
            return []
        eligible = self._members.difference(ticket.worker for ticket in self._tickets)
        found = [worker for worker in waiting if worker in eligible][:missing]
        self._busy.update(found)
        return found

    def order(self, now_s: float) -> Order:
        """Return the job of the round as it is handed out now."""
        assert self._order is not None
        return self._order._replace(since_s=now_s)

    def report(self, ticket: Ticket) -> bool:
        """Take a report of the round; one of an earlier round comes too late.

        Returns:
            Whether its worker has to wait for the end of the round.
        """
        worker = ticket.worker
        if worker not in self._busy:
            return False
        everybody = self._size >= len(self._members)
        self._busy.remove(worker)
        self._tickets.append(ticket)
        if everybody:
            self._held.append(worker)
        return everybody

    def lose(self, worker: int) -> None:
        """Go on without a worker that is no member any more; what it has reported counts."""
        self._members.discard(worker)
        self._busy.discard(worker)
        if worker in self._held:
            self._held.remove(worker)

    def end_round(self) -> tuple[list[Ticket], list[int]]:
        """Return the reports of the round, and who has waited for its end."""
        taken = self._tickets, self._held
        self._busy, self._tickets, self._held = set(), [], []
        return taken

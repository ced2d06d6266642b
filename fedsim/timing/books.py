"""What the server counts."""

from __future__ import annotations

from collections.abc import Sequence

from fedsim.messages import Ticket
from fedsim.schedule import Schedule
from fedsim.timing.exchange import StepReport


class Books:
    """Worker updates, openings, interludes, calls, tokens and bytes since the start of the run.

    Args:
        schedule: the kinds of jobs, and what each costs.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._costs = {kind: work.cost for kind, work in schedule.work.items()}
        self._opening = schedule.opening
        self._updates = self._openings = self._drained = self._interludes = 0
        self._calls = self._tokens_in = self._tokens_out = self._tokens_cached = 0
        self._bytes_up = self._bytes_down = 0

    def sent(self, bytes_down: int) -> None:
        """Count a message to a worker."""
        self._bytes_down += bytes_down

    def arrived(self, ticket: Ticket) -> None:
        """Count what a ticket's job has cost; calls that were not made cost nothing."""
        cost = self._costs[ticket.kind]
        self._bytes_up += cost.bytes_up
        if not ticket.skipped:
            self._calls += cost.calls
            self._tokens_in += cost.tokens_in
            self._tokens_out += cost.tokens_out
            self._tokens_cached += cost.tokens_cached

    def began_interlude(self, drained: Sequence[Ticket]) -> None:
        """Count an interlude, and the results that came to its barrier."""
        self._interludes += 1
        self._drained += self._took(drained)

    def stepped(self, step: int, time_s: float, active: Sequence[Ticket], members: int) -> StepReport:
        """Count the results of step number `step`, from 0, and return its row.

        Args:
            step: the number.
            time_s: when it was taken (s).
            active: its tickets.
            members: how many workers take part.
        """
        self._took(active)
        versions = [ticket.snapshot.version for ticket in active]
        return StepReport(
            step + 1,
            time_s,
            len(active),
            (step * len(versions) - sum(versions)) / len(versions),
            step - min(versions),
            self._updates,
            self._drained,
            self._interludes,
            self._calls,
            self._tokens_in,
            self._tokens_out,
            self._bytes_up,
            self._bytes_down,
            self._tokens_cached,
            members,
            self._openings,
        )

    def _took(self, tickets: Sequence[Ticket]) -> int:
        """Count the results of jobs that belong to no interlude; return how many are worker updates."""
        updates = len(tickets)
        if self._opening is not None:
            openings = sum(ticket.kind == self._opening for ticket in tickets)
            self._openings += openings
            updates -= openings
        self._updates += updates
        return updates

"""What the server counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedsim.messages import JobCost, JobKind, Ticket
from fedsim.timing.exchange import StepReport


class Books:
    """Worker updates, polyhedron updates, calls, tokens and bytes since the start of the run.

    Args:
        costs: what jobs of each kind cost.
    """

    def __init__(self, costs: Mapping[JobKind, JobCost]) -> None:
        self.updates = 0
        """Outer jobs whose result the server has taken."""
        self.drained = 0
        """The part of them that arrived at a polyhedron barrier and not in an active set."""
        self.cut_updates = 0
        self.bytes_down = 0
        self._costs = costs
        self._calls = self._tokens_in = self._tokens_out = self._tokens_cached = self._bytes_up = 0

    def arrived(self, ticket: Ticket) -> None:
        """Count what a ticket's job has cost; calls that were not made cost nothing."""
        cost = self._costs[ticket.kind]
        self._bytes_up += cost.bytes_up
        if not ticket.skipped:
            self._calls += cost.calls
            self._tokens_in += cost.tokens_in
            self._tokens_out += cost.tokens_out
            self._tokens_cached += cost.tokens_cached

    def report(self, step: int, time_s: float, active: Sequence[Ticket], members: int) -> StepReport:
        """Return the row of step number `step`, from 0, taken at this instant (s) with so many members."""
        versions = [ticket.snapshot.version for ticket in active]
        return StepReport(
            step + 1,
            time_s,
            len(active),
            (step * len(versions) - sum(versions)) / len(versions),
            step - min(versions),
            self.updates,
            self.drained,
            self.cut_updates,
            self._calls,
            self._tokens_in,
            self._tokens_out,
            self._bytes_up,
            self.bytes_down,
            self._tokens_cached,
            members,
        )

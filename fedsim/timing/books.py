"""What the server counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fedsim.messages import JobCost, Ticket
from fedsim.schedule import Schedule
from fedsim.timing.exchange import StepReport


class KindCount(NamedTuple):
    """What all jobs of a kind have cost so far."""

    jobs: int
    """Reports that came in."""
    cost: JobCost
    """Summed over these; the bytes sent to workers over all jobs that were handed out."""


class Books:
    """Worker updates, openings, interludes, calls, tokens and bytes since the start of the run.

    Args:
        schedule: the kinds of jobs, and what each costs.
        n_workers: how many there are.
    """

    def __init__(self, schedule: Schedule, n_workers: int) -> None:
        self.jobs = [0] * n_workers
        """Jobs of each worker whose report the server has taken, late ones that came to no use included."""
        self._costs = {kind: work.cost for kind, work in schedule.work.items()}
        self._opening = schedule.opening
        self._updates = self._openings = self._drained = self._interludes = self._skipped_interludes = 0
        self._calls = self._tokens_in = self._tokens_out = self._tokens_cached = 0
        self._own_tokens = self._own_gradient_tokens = 0
        self._bytes_up = self._bytes_down = 0
        self._jobs = Counter[str]()
        self._skipped = Counter[str]()
        self._down = Counter[str]()

    def sent(self, kind: str, bytes_down: int) -> None:
        """Count a message to a worker that brings it a job of this kind."""
        self._bytes_down += bytes_down
        self._down[kind] += bytes_down

    def arrived(self, ticket: Ticket) -> None:
        """Count what a ticket's job has cost; calls that were not made cost nothing."""
        kind = ticket.kind
        cost = self._costs[kind]
        self.jobs[ticket.worker] += 1
        self._jobs[kind] += 1
        self._bytes_up += cost.bytes_up
        self._own_tokens += cost.own_tokens
        self._own_gradient_tokens += cost.own_gradient_tokens
        if ticket.skipped:
            self._skipped[kind] += 1
        else:
            self._calls += cost.calls
            self._tokens_in += cost.tokens_in
            self._tokens_out += cost.tokens_out
            self._tokens_cached += cost.tokens_cached

    def began_interlude(self, drained: Sequence[Ticket]) -> None:
        """Count an interlude, and the results that came to its barrier."""
        self._interludes += 1
        self._drained += self._took(drained)

    def skipped_interlude(self) -> None:
        """Count an interlude that was due and is not held."""
        self._skipped_interludes += 1

    def stepped(
        self, step: int, time_s: float, active: Sequence[Ticket], members: int, wait_for: int
    ) -> StepReport:
        """Count the results of step number `step`, from 0, and return its row.

        Args:
            step: the number.
            time_s: when it was taken (s).
            active: its tickets.
            members: how many workers take part.
            wait_for: S.
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
            self._own_tokens,
            self._own_gradient_tokens,
            wait_for,
            self._skipped_interludes,
        )

    def by_kind(self) -> Mapping[str, KindCount]:
        """Return what the jobs of each kind have cost so far."""
        found = {}
        for kind, each in self._costs.items():
            jobs = self._jobs[kind]
            made = jobs - self._skipped[kind]
            cost = JobCost(
                calls=made * each.calls,
                tokens_in=made * each.tokens_in,
                tokens_out=made * each.tokens_out,
                bytes_up=jobs * each.bytes_up,
                bytes_down=self._down[kind],
                tokens_cached=made * each.tokens_cached,
                own_tokens=jobs * each.own_tokens,
                own_gradient_tokens=jobs * each.own_gradient_tokens,
            )
            found[kind] = KindCount(jobs, cost)
        return found

    def _took(self, tickets: Sequence[Ticket]) -> int:
        """Count the results of jobs that belong to no interlude; return how many are worker updates."""
        updates = len(tickets)
        if self._opening is not None:
            openings = sum(ticket.kind == self._opening for ticket in tickets)
            self._openings += openings
            updates -= openings
        self._updates += updates
        return updates

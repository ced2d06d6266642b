"""What the server counts."""

from __future__ import annotations

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
        self._dear = [(kind, cost) for kind, cost in self._costs.items() if any(cost)]
        self._opening = schedule.opening
        self._updates = self._openings = self._drained = self._interludes = self._skipped_interludes = 0
        self._bytes_down = 0
        # By kind: reports that came in, those of them without the work, and the bytes sent to workers.
        self._jobs = dict.fromkeys(self._costs, 0)
        self._skipped = dict.fromkeys(self._costs, 0)
        self._down = dict.fromkeys(self._costs, 0)

    def sent(self, kind: str, bytes_down: int) -> None:
        """Count a message to a worker that brings it a job of this kind."""
        self._bytes_down += bytes_down
        self._down[kind] += bytes_down

    def arrived(self, ticket: Ticket) -> None:
        """Count what a ticket's job has cost; calls that were not made cost nothing."""
        self.jobs[ticket.worker] += 1
        self._jobs[ticket.kind] += 1
        if ticket.skipped:
            self._skipped[ticket.kind] += 1

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
        if self._opening is None:
            self._updates += len(active)
        else:
            self._took(active)
        if len(active) == 1:
            stalest = summed = step - active[0].snapshot.version
        else:
            versions = [ticket.snapshot.version for ticket in active]
            stalest, summed = step - min(versions), step * len(versions) - sum(versions)
        calls = tokens_in = tokens_out = bytes_up = tokens_cached = own_tokens = own_gradient_tokens = 0
        for kind, cost in self._dear:  # whole numbers: in any order they have the same sum
            jobs = self._jobs[kind]
            made = jobs - self._skipped[kind]
            calls += made * cost.calls
            tokens_in += made * cost.tokens_in
            tokens_out += made * cost.tokens_out
            bytes_up += jobs * cost.bytes_up
            tokens_cached += made * cost.tokens_cached
            own_tokens += jobs * cost.own_tokens
            own_gradient_tokens += jobs * cost.own_gradient_tokens
        # As StepReport(...) would, in half the time: there may be millions of steps.
        return tuple.__new__(
            StepReport,
            (
                step + 1,
                time_s,
                len(active),
                summed / len(active),
                stalest,
                self._updates,
                self._drained,
                self._interludes,
                calls,
                tokens_in,
                tokens_out,
                bytes_up,
                self._bytes_down,
                tokens_cached,
                members,
                self._openings,
                own_tokens,
                own_gradient_tokens,
                wait_for,
                self._skipped_interludes,
            ),
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

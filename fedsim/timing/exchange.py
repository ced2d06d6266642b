"""What the timing half asks of the learning half: the one seam between *when* and *what*."""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import Any, NamedTuple, Protocol

from fedsim.messages import Snapshot, Ticket


class StepReport(NamedTuple):
    """One server step as the clock saw it; the counters are cumulative over the run."""

    step: int
    """Number of this step, from 1: the version of the snapshot it makes."""
    time_s: float
    active: int
    """Tickets used in this step (the size of the active set)."""
    staleness_mean: float
    staleness_max: int
    worker_updates: int
    """Regular jobs whose result the server has taken, those drained at a barrier included."""
    drained: int
    """The part of `worker_updates` that arrived at an interlude's barrier and not in an active set."""
    interludes: int
    """Those that have begun."""
    llm_calls: int
    tokens_in: int
    tokens_out: int
    bytes_up: int
    bytes_down: int
    tokens_cached: int = 0
    """The part of `tokens_in` that the LLM service had in its cache."""
    members: int = 0
    """Workers that take part: those that have joined and were not evicted."""
    openings: int = 0
    """Opening jobs whose result the server has taken; they are no worker updates."""
    own_tokens: int = 0
    """Tokens that passed forward through the workers' own models."""
    own_gradient_tokens: int = 0
    """Tokens that passed forward and backward through them."""
    wait_for: int = 0
    """S of this step, or K* of a sampled round."""
    skipped_interludes: int = 0
    """Interludes that were due and not held: one went on in the background, another waited for its end."""


NO_STEP = StepReport(0, 0.0, 0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
"""The books before the first step."""


class Exchange(Protocol):
    """The learning half as the server of the timing half sees it."""

    finished: bool
    """Set when the run should end for a reason of its own (target reached)."""

    @property
    def expelled(self) -> Collection[int]:
        """The workers that are to be out for good, all so far; asked after each step and each interlude."""
        ...

    def first(self) -> Any:
        """Return the content of the snapshot that every worker starts from."""
        ...

    def hand_out(
        self, worker: int, job: int, kind: str, snapshot: Snapshot, start_s: float, skipped: bool
    ) -> None:
        """A job has been handed out at `start_s`; its result may be asked for once its ticket is in.

        Where it is `skipped`, a malicious worker will report without having done the work.
        """
        ...

    def take_step(self, tickets: list[Ticket], report: StepReport) -> Any:
        """Take one server step with these tickets and return the new content.

        Tickets of opening jobs are among them, each of its kind.
        """
        ...

    def interlude(self, drained: list[Ticket], participants: list[int]) -> Generator[Any, list[Ticket], Any]:
        """Hold an interlude: a generator of its rounds.

        It yields a round's content and is sent the round's tickets, one for each participant that is still
        there. It may end before all rounds of the schedule have been held; to ask for more of them is an
        error. Where nobody is left in a round, the clock closes it and goes on with the content it had.
        In the background, steps are taken between its rounds, and a round has the tickets of S participants.

        Args:
            drained: the tickets that came to the barrier and are in no active set.
            participants: the workers of the first round; in the background, all who may be asked.

        Returns:
            The content with which regular jobs go on.
        """
        ...

    def evict(self, worker: int) -> None:
        """The server has given this worker up or expelled it, or, before all else, it has yet to join."""
        ...

    def admit(self, worker: int) -> None:
        """A worker that was out takes part again, or for the first time; a job may follow.

        Of an evicted worker's last job no result will be asked for, but the worker has done it.
        """
        ...

    def forget(self, worker: int) -> None:
        """A worker has lost its state, and with it the job that it may have been busy with.

        What the server holds of it stays.
        """
        ...

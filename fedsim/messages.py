"""The two values in which *when* and *what* meet."""

from __future__ import annotations

from typing import Any, NamedTuple


class Snapshot(NamedTuple):
    """What a worker read from the server: the number of server steps taken so far, and the content."""

    version: int
    content: Any


class Ticket(NamedTuple):
    """A finished job: who, which, what kind, which snapshot it read, when it started and finished (s)."""

    worker: int
    job: int
    kind: str
    """A word of the algorithm: one of the kinds of jobs in its `Schedule`."""
    snapshot: Snapshot
    start_s: float
    finish_s: float
    skipped: bool = False
    """Whether a malicious worker reported without the work: no call was made."""


class JobCost(NamedTuple):
    """What one job of one worker costs: all that the timing half knows of it."""

    calls: int
    tokens_in: int
    """Prompt tokens, summed over the calls."""
    tokens_out: int
    bytes_up: int
    bytes_down: int
    tokens_cached: int = 0
    """The part of `tokens_in` that the LLM service has in its cache."""
    own_tokens: int = 0
    """Tokens that pass forward through the worker's own model, which is not the LLM service."""
    own_gradient_tokens: int = 0
    """Tokens that pass forward and backward through it."""

    def repeated(self, times: int) -> JobCost:
        """Return the cost of a job in which so many of these are done one after the other.

        Its messages are sent once.
        """
        sent_once = {"bytes_up", "bytes_down"}
        return self._replace(
            **{name: times * value for name, value in self._asdict().items() if name not in sent_once}
        )

"""Token buckets: a rate per minute and a burst."""

from __future__ import annotations

import math

ROUNDING_S = 1e-9
"""A bucket that lacks what comes in within this time has enough: sums of floats are not exact."""


class TokenBucket:
    """A token bucket, full at the start, in the form of virtual scheduling: no state but one instant.

    It is as full as if it had been empty at some instant and nobody had taken anything since. A request that
    needs more than the bucket holds is let in when it would be full to its brim, were it large enough.

    Source: Turner, "New directions in communications", IEEE Communications Magazine, 1986; as virtual
    scheduling: ITU-T Recommendation I.371, Generic Cell Rate Algorithm.

    Args:
        per_minute: what comes in.
        burst_s: it holds what comes in in this time.

    >>> bucket = TokenBucket(per_minute=60, burst_s=2)
    >>> [bucket.take(1, now_s=0.0) for _ in range(2)]
    [None, None]
    >>> bucket.enough_s(1)
    1.0
    """

    __slots__ = ("_burst_s", "_each_s", "_empty_s")

    def __init__(self, per_minute: float, burst_s: float) -> None:
        self._each_s = 60.0 / per_minute
        self._burst_s = burst_s
        self._empty_s = -math.inf

    def enough_s(self, need: float) -> float:
        """Return from when on there is enough for such a request (s), if nobody takes anything before."""
        return self._empty_s + need * self._each_s

    def take(self, need: float, now_s: float) -> None:
        """Take what a request needs, at an instant when there is enough."""
        span_s = need * self._each_s
        self._empty_s = max(self._empty_s, now_s - max(self._burst_s, span_s)) + span_s


class Buckets:
    """The limits of a service on requests and on tokens, each of which a request has to pass.

    Args:
        requests_per_minute: none: no limit.
        tokens_per_minute: likewise.
        burst_s: each bucket holds what comes in in this time.
    """

    __slots__ = ("_requests", "_tokens")

    def __init__(
        self, requests_per_minute: float | None, tokens_per_minute: float | None, burst_s: float
    ) -> None:
        self._requests = TokenBucket(requests_per_minute, burst_s) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute, burst_s) if tokens_per_minute else None

    def __bool__(self) -> bool:
        return self._requests is not None or self._tokens is not None

    def enough_s(self, tokens: float) -> float:
        """Return from when on all limits have enough for a request of so many tokens (s)."""
        by_requests = self._requests.enough_s(1.0) if self._requests else -math.inf
        by_tokens = self._tokens.enough_s(tokens) if self._tokens else -math.inf
        return by_requests if by_requests > by_tokens else by_tokens

    def take(self, tokens: float, now_s: float) -> None:
        """Take what a request of so many tokens needs."""
        if self._requests:
            self._requests.take(1.0, now_s)
        if self._tokens:
            self._tokens.take(tokens, now_s)

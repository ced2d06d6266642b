"""The books of what is sent again because a hop has lost it."""

from __future__ import annotations

import math
from collections.abc import Sequence


class Repetition:
    """How a message is sent again: on one hop after the other, and there so many times at even intervals.

    Its losses come before its latencies.

    Args:
        n_bytes: of the message.
        sent_s: when it has been sent for the first time (s).
        hops: of each hop its channel, how often the message is lost there, and how long (s) after each time
            it is sent again.
    """

    def __init__(self, n_bytes: int, sent_s: float, hops: Sequence[tuple[int, int, float]]) -> None:
        self._n_bytes = n_bytes
        self._sent_s = sent_s
        self._hops = hops

    def book(self, books: list[int], now_s: float = math.inf) -> None:
        """Add what has been sent again before an instant (s) to the bytes of each channel."""
        begin_s = self._sent_s
        for channel, losses, after_s in self._hops:
            if now_s < math.inf:
                tries = max(math.ceil((now_s - begin_s) / after_s) - 1, 0)
                books[channel] += min(tries, losses) * self._n_bytes
            else:
                books[channel] += losses * self._n_bytes
            begin_s += losses * after_s


class Resent:
    """Bytes that each channel has carried once more.

    Args:
        n_channels: how many there are.
    """

    def __init__(self, n_channels: int) -> None:
        self._n_bytes = [0] * n_channels
        self._under_way: dict[Repetition, None] = {}

    def begin(self, n_bytes: int, sent_s: float, hops: Sequence[tuple[int, int, float]]) -> Repetition:
        """A message is on its way that will be sent again: see `Repetition`."""
        repetition = Repetition(n_bytes, sent_s, hops)
        self._under_way[repetition] = None
        return repetition

    def end(self, repetition: Repetition) -> None:
        """The message has arrived."""
        del self._under_way[repetition]
        repetition.book(self._n_bytes)

    def give_up(self, repetition: Repetition, now_s: float) -> None:
        """The message is given up: what has been sent again before stays counted."""
        del self._under_way[repetition]
        repetition.book(self._n_bytes, now_s)

    def carried(self, now_s: float) -> list[int]:
        """Return the bytes of each channel."""
        n_bytes = self._n_bytes.copy()
        for repetition in self._under_way:
            repetition.book(n_bytes, now_s)
        return n_bytes

"""The books of channels without limits."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from fedsim.timing.network.channel_books import ChannelBooks


class Transmission:
    """Bytes on their way at the pace of an access line.

    Args:
        route: the channels that they pass, all at once.
        n_bytes: how many.
        start_s: when the first is sent (s).
        stop_s: when the last is sent (s).
    """

    def __init__(self, route: tuple[int, ...], n_bytes: int, start_s: float, stop_s: float) -> None:
        self.route = route
        self.n_bytes = n_bytes
        self.start_s = start_s
        self.stop_s = stop_s
        self.sending = False
        """Whether its channels count it among their senders."""

    def sent_bytes(self, now_s: float) -> float:
        """Return how many have been sent by then; an instant while it is being sent (s)."""
        return self.n_bytes * (now_s - self.start_s) / (self.stop_s - self.start_s)


class UnlimitedUse:
    """The books of channels without limits, which pass on what access lines send.

    That a transmission ends is no event of the simulation: the books catch up when they are asked again.

    Args:
        n_channels: how many there are.
    """

    def __init__(self, n_channels: int) -> None:
        self._books = ChannelBooks(n_channels)
        self._under_way: list[tuple[float, int, Transmission]] = []
        """A heap, by their ends; what was given up stays in it to its end."""
        self._numbers = count()

    def send(self, route: tuple[int, ...], n_bytes: int, start_s: float, stop_s: float) -> Transmission:
        """Count bytes that are sent evenly between two instants (s), the first of which is now."""
        transmission = Transmission(route, n_bytes, start_s, stop_s)
        if stop_s > start_s:
            self._catch_up(start_s)
            self._books.sends(transmission, True, start_s)
            heappush(self._under_way, (stop_s, next(self._numbers), transmission))
        else:
            self._books.carried(route, n_bytes)
        return transmission

    def give_up(self, transmission: Transmission, now_s: float) -> None:
        """End a transmission unfinished, if it has not ended; what it has sent stays counted."""
        self._catch_up(now_s)
        if transmission.sending:
            self._books.sends(transmission, False, now_s)
            self._books.carried(transmission.route, transmission.sent_bytes(now_s))

    def carried(self, now_s: float) -> list[tuple[float, float]]:
        """Return of each channel the bytes it has carried, and how long (s) something was sent over it."""
        self._catch_up(now_s)
        under_way = [transmission for _, _, transmission in self._under_way if transmission.sending]
        return self._books.totals(now_s, [(one, one.sent_bytes(now_s)) for one in under_way])

    def _catch_up(self, now_s: float) -> None:
        """Book the ends of what has been sent by now."""
        while self._under_way and self._under_way[0][0] <= now_s:
            stop_s, _, transmission = heappop(self._under_way)
            if transmission.sending:
                self._books.sends(transmission, False, stop_s)
                self._books.carried(transmission.route, transmission.n_bytes)

"""What channels have carried, and how long they were busy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Sender(Protocol):
    """Bytes on their way over some channels."""

    @property
    def route(self) -> tuple[int, ...]:
        """The channels."""
        ...

    sending: bool
    """Whether its channels count it among their senders."""


class ChannelBooks:
    """Bytes and busy time of each channel.

    Args:
        n_channels: how many there are.
    """

    def __init__(self, n_channels: int) -> None:
        self._n_bytes = [0.0] * n_channels
        self._busy_s = [0.0] * n_channels
        self._busy_since_s = [0.0] * n_channels
        self._senders = [0] * n_channels

    def sends(self, sender: Sender, sending: bool, now_s: float) -> None:
        """From now on it sends, or does not, if it did otherwise before."""
        if sender.sending is sending:
            return
        sender.sending = sending
        senders = self._senders
        for channel in sender.route:
            if sending:
                if not senders[channel]:
                    self._busy_since_s[channel] = now_s
                senders[channel] += 1
            else:
                senders[channel] -= 1
                if not senders[channel]:
                    self._busy_s[channel] += now_s - self._busy_since_s[channel]

    def carried(self, route: Iterable[int], n_bytes: float) -> None:
        """So many bytes have gone the whole route."""
        for channel in route:
            self._n_bytes[channel] += n_bytes

    def totals(self, now_s: float, under_way: Iterable[tuple[Sender, float]]) -> list[tuple[float, float]]:
        """Return bytes and busy seconds of each channel until now.

        Args:
            now_s: the present instant.
            under_way: those who have not ended, and what each has sent so far (bytes).
        """
        n_bytes, busy_s = self._n_bytes.copy(), self._busy_s.copy()
        for sender, sent_bytes in under_way:
            for channel in sender.route:
                n_bytes[channel] += sent_bytes
        for channel, senders in enumerate(self._senders):
            if senders:
                busy_s[channel] += now_s - self._busy_since_s[channel]
        return list(zip(n_bytes, busy_s, strict=True))

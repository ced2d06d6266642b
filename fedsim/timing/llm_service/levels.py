"""How many requests wait at a service and how many are being answered, over time."""

from __future__ import annotations

from fedsim.timing.llm_service.base import QueueLevel


class LevelLog:
    """The rows of one service, a row per instant at which something has changed; the first at 0 s.

    Args:
        service: its number.
    """

    def __init__(self, service: int) -> None:
        self.rows = [QueueLevel(service, 0.0, 0, 0)]
        self._service = service

    def note(self, time_s: float, queued: int, serving: int) -> None:
        """From now on so many; of several changes at one instant the last one counts."""
        rows = self.rows
        if rows[-1].queued == queued and rows[-1].serving == serving:
            return
        if rows[-1].time_s == time_s:
            rows.pop()
            # back where it was before this instant
            if rows and rows[-1].queued == queued and rows[-1].serving == serving:
                return
        rows.append(QueueLevel(self._service, time_s, queued, serving))

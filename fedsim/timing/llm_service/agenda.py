"""What is due at a service, and when SimPy has to wake it."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import simpy

Deed = Callable[..., None]


class Agenda:
    """What is due, in order of time; of what is due at one instant, what was put down first comes first.

    SimPy is asked to wake the service only while somebody waits for it. Else the service catches up when it
    is asked again: neither an endless stream of requests of others nor an outage to come keeps a run going.

    Args:
        env: the simulation.
        after_each: called after each thing that was due.
    """

    def __init__(self, env: simpy.Environment, after_each: Callable[[], None] | None) -> None:
        self.now_s = 0.0
        """The time of the last thing that was due, or of what workers asked since."""
        self.waiting = 0
        """How many jobs wait for the service."""
        self._env = env
        self._after_each = after_each
        self._due: list[tuple[float, int, Deed, tuple[Any, ...]]] = []
        self._numbers = count()
        self._wakes_at_s = math.inf

    def at(self, time_s: float, deed: Deed, *arguments: Any) -> None:
        """Do this at that time (s)."""
        heappush(self._due, (time_s, next(self._numbers), deed, arguments))

    def strike(self, deed: Deed) -> None:
        """Forget everything of this kind."""
        self._due = [entry for entry in self._due if entry[2] != deed]
        heapify(self._due)

    def catch_up(self, until_s: float) -> None:
        """Do everything that is due until then, this instant included (s)."""
        after_each = self._after_each
        while self._due and self._due[0][0] <= until_s:
            self.now_s, _, deed, arguments = heappop(self._due)
            deed(*arguments)
            if after_each is not None:
                after_each()

    def arm(self) -> None:
        """Have SimPy wake the service when the next thing is due, if anybody waits for it."""
        if not self.waiting or not self._due:
            return
        now_s = self._env.now
        delay_s = self._due[0][0] - now_s
        # To rounding the time that is due: if SimPy comes too early, it is asked once more.
        wakes_at_s = now_s + delay_s
        if wakes_at_s < self._wakes_at_s:
            self._wakes_at_s = wakes_at_s
            timeout = self._env.timeout(delay_s)
            timeout.callbacks.append(self._wake)

    def _wake(self, timeout: simpy.Event) -> None:
        now_s = self._env.now
        if now_s >= self._wakes_at_s:
            self._wakes_at_s = math.inf
        self.catch_up(now_s)
        self.arm()

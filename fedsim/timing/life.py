"""A process of the simulation that is woken up without an event."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import simpy


class Life:
    """Runs a generator until it sleeps, waits for an event, or ends.

    Where the generator yields an event, it goes on when that fires, as a SimPy process does. Where it yields
    none it sleeps, and goes on at once, inside the call, when somebody calls `go_on`: a server that steps
    after every message would else need an event more for each.

    Args:
        env: the simulation.
        steps: the generator; nothing of it runs before the first `go_on`.
    """

    def __init__(self, env: simpy.Environment, steps: Generator[simpy.Event | None, object, None]) -> None:
        self.ended = env.event()
        """Fires when the generator has come to its end."""
        self._steps = steps

    def go_on(self, _: simpy.Event | None = None) -> None:
        """Run on, now."""
        try:
            event = next(self._steps)
        except StopIteration:
            self.ended.succeed()
            return
        if event is not None:
            assert event.callbacks is not None  # it has yet to fire
            event.callbacks.append(self.go_on)

"""Flows that may disturb each other, in simulated time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import simpy
from simpy.events import NORMAL, EventPriority

from fedsim.timing.network.channel_books import ChannelBooks
from fedsim.timing.network.flow_classes import Flow, FlowClasses

LAST = EventPriority(2)
"""After everything else of an instant: what SimPy schedules by itself has priority 0 or 1."""


class DelayedCall(simpy.Event):
    """Calls a function after a delay (s)."""

    def __init__(
        self,
        env: simpy.Environment,
        function: Callable[[simpy.Event], None],
        priority: EventPriority = NORMAL,
        delay_s: float = 0.0,
    ) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        self.callbacks.append(function)
        env.schedule(self, priority, delay_s)


class FlowCluster:
    """The flows over channels that routes connect, directly or through each other.

    Whatever begins, ends or changes at an instant, rates are computed once, after all of it: the event that
    does so has a lower priority than all others, so that it runs when the instant has no other event left.
    Flows that are found to end at that same instant do so in a second turn.

    Args:
        env: the simulation.
        books: what the channels have carried.
    """

    def __init__(self, env: simpy.Environment, books: ChannelBooks) -> None:
        self._env = env
        self._books = books
        self._classes = FlowClasses()
        self._places: dict[int, int] = {}
        self._new: list[Flow] = []
        self._unsettled = False
        self._wakes_s: list[float] = []
        """When the cluster will be woken, the earliest last: events once scheduled cannot be taken back."""

    @property
    def channels(self) -> list[int]:
        """Those that belong to the cluster."""
        return list(self._places)

    def set_capacity(self, channel: int, bytes_s: float) -> None:
        """Take a channel in, or change its capacity from the end of this instant on."""
        if channel in self._places:
            self._classes.set_capacity(self._places[channel], bytes_s)
            self._settle_soon()
        else:
            self._places[channel] = self._classes.new_place(bytes_s)

    def add(self, flow: Flow, limited: tuple[int, ...], n_bytes: float) -> None:
        """A flow begins, or comes from another cluster.

        Args:
            flow: the flow.
            limited: those channels of its route that may limit it; they belong to the cluster.
            n_bytes: what it has yet to send.
        """
        places = tuple([self._places[channel] for channel in limited])
        self._classes.begin(flow, places, n_bytes, self._env.now)
        flow.cluster = self
        self._new.append(flow)
        self._settle_soon()

    def remove(self, flow: Flow) -> float:
        """Take a flow out before its end; return the bytes that it has yet to send."""
        if flow in self._new:
            self._new.remove(flow)
        flow.cluster = None
        self._settle_soon()
        return self._classes.take_out(flow, self._env.now)

    def sent(self) -> Iterator[tuple[Flow, float]]:
        """Yield all flows and what each of them has sent so far (bytes)."""
        for flow in self._classes:
            yield flow, flow.n_bytes - self._classes.left(flow, self._env.now)

    def _settle_soon(self) -> None:
        if not self._unsettled:
            self._unsettled = True
            DelayedCall(self._env, self._settle, LAST)

    def _settle(self, _: simpy.Event) -> None:
        self._unsettled = False
        classes = self._classes
        for row in classes.settle(self._env.now):
            self._new += classes.of_row(row)
        for flow in self._new:
            self._books.sends(flow, classes.moves(flow.row), self._env.now)
        self._new.clear()
        self._expect_the_first()

    def _expect_the_first(self) -> None:
        first_s = self._classes.first_finish_s
        if first_s == math.inf or (self._wakes_s and self._wakes_s[-1] <= first_s):
            return
        self._wakes_s.append(first_s)
        now_s = self._env.now
        # Not before now: a flow may have been sent a rounding more than it has.
        delay_s = max(0.0, first_s - now_s)
        # Nor late: of what happens at the very instant of a flow's end nothing must stop it. Woken a rounding
        # too early, the cluster asks to be woken again, and then the difference is exact.
        if now_s + delay_s > first_s:
            delay_s = math.nextafter(delay_s, 0.0)
        DelayedCall(self._env, self._wake, delay_s=delay_s)

    def _wake(self, _: simpy.Event) -> None:
        self._wakes_s.pop()
        self.end_the_due()
        if not self._unsettled:
            self._expect_the_first()

    def end_the_due(self) -> None:
        """End the flows that have sent all by now."""
        ended = self._classes.take_ended(self._env.now)
        for flow in ended:
            flow.cluster = None
            self._books.sends(flow, False, self._env.now)
            self._books.carried(flow.route, flow.n_bytes)
            flow.succeed()
        if ended:
            self._settle_soon()

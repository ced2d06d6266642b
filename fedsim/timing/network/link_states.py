"""Links that go down and come up again."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from fedsim.streams import Stream, Streams
from fedsim.timing.network.links import Link

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.network.flows import Flows


def changes_s(link: Link, streams: Streams, number: int) -> Iterator[float]:
    """Yield the instants (s) at which a link goes down, comes up, goes down, ...; it starts up.

    Its stretch k, from 0, is drawn at the address (LINK_STATE, `number`, k).

    Args:
        link: its settings.
        streams: the randomness of the run.
        number: the link's number in its network.
    """
    for outage in link.outages:
        yield outage.start_s
        yield outage.stop_s
    if link.up is not None and link.down is not None:
        now_s = 0.0
        for stretch in count():
            delay = link.down if stretch % 2 else link.up
            now_s += delay.sample(streams.seat(Stream.LINK_STATE, number, stretch), 1).item()
            yield now_s


class LinkState:
    """Whether a link is up; keeps the flows over it informed while there are any.

    An idle link causes no event: a simulation in which nothing else will happen comes to its end.

    Args:
        env: the simulation.
        flows: what is told.
        channels: the link's channels.
        capacity_bytes_s: of each of them while the link is up.
        changes: when the link changes its state.
    """

    def __init__(
        self,
        env: simpy.Environment,
        flows: Flows,
        channels: Sequence[int],
        capacity_bytes_s: float,
        changes: Iterator[float],
    ) -> None:
        self._env = env
        self._flows = flows
        self._channels = channels
        self._capacity_bytes_s = capacity_bytes_s
        self._changes = changes
        self._up = True
        self._next_s = next(changes, math.inf)
        self._messages = 0
        self._watched = False

    def enter(self) -> None:
        """A message is about to be sent over the link."""
        self._messages += 1
        self._catch_up()
        if not self._watched and self._next_s < math.inf:
            self._watched = True
            self._env.process(self._watch())

    def leave(self) -> None:
        """A message has been sent over the link, or given up."""
        self._messages -= 1

    def _watch(self) -> Generator[simpy.Event, object, None]:
        while self._messages and self._next_s < math.inf:
            yield self._env.timeout(self._next_s - self._env.now)
            self._catch_up()
        self._watched = False

    def _catch_up(self) -> None:
        """Bring the link to the state that it has at this instant."""
        up = self._up
        while self._next_s <= self._env.now:
            up, self._next_s = not up, next(self._changes, math.inf)
        if up is not self._up:
            self._up = up
            for channel in self._channels:
                self._flows.set_capacity(channel, self._capacity_bytes_s if up else 0.0)

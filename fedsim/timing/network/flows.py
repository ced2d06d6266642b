"""Transfers over channels of limited capacity, which they share by max-min fairness."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import count

import simpy

from fedsim.timing.network.channel_books import ChannelBooks
from fedsim.timing.network.flow_classes import Flow
from fedsim.timing.network.flow_cluster import FlowCluster


class Flows:
    """Channels, and the flows over them.

    A flow sends over all channels of its route at once, at the rate that max-min fairness leaves it. Rates
    change when a flow begins or ends or a capacity changes. Flows that share no channel, not even by way of
    others, are kept apart in clusters and cost each other nothing. Clusters only ever grow: channels that a
    route has joined once stay together.

    Args:
        env: the simulation.
        capacities_bytes_s: of each channel; infinite where it has no limit, 0 while nothing can pass.
        changing: the channels of infinite capacity that may get a limit on the way.

    Source: the flow level of Bertsekas and Gallager, Data Networks, 2nd edition, 1992, section 6.5.2.

    >>> env = simpy.Environment()
    >>> flows = Flows(env, [10.0])
    >>> first, second = flows.send((0,), 100.0), flows.send((0,), 50.0)
    >>> env.run(second), env.now, env.run(first), env.now
    (None, 10.0, None, 15.0)
    """

    def __init__(
        self, env: simpy.Environment, capacities_bytes_s: Sequence[float], changing: Collection[int] = ()
    ) -> None:
        self._env = env
        self._capacities = list(capacities_bytes_s)
        self._books = ChannelBooks(len(self._capacities))
        self._may_limit = [
            capacity < math.inf or channel in changing for channel, capacity in enumerate(self._capacities)
        ]
        self._limited_of: dict[tuple[int, ...], tuple[int, ...]] = {}
        """For each route, the channels that may limit its flows."""
        self._numbers = count()
        self._home: list[FlowCluster | None] = [None] * len(self._capacities)
        """For each channel that may limit flows, its cluster, once a flow has been on it."""
        self._alone: dict[float, FlowCluster] = {}
        """The clusters of flows that no channel limits, by the flows' own limit."""

    def send(self, route: tuple[int, ...], n_bytes: float, most_bytes_s: float = math.inf) -> Flow | None:
        """Send bytes.

        Args:
            route: the channels, none of them twice; may be empty.
            n_bytes: how many.
            most_bytes_s: what the flow may send at most, more than 0.

        Returns:
            An event that happens when all bytes are sent; none where that takes no time.
        """
        limited = self._limited(route)
        if n_bytes <= 0 or (
            most_bytes_s == math.inf and all(self._capacities[channel] == math.inf for channel in limited)
        ):
            self._books.carried(route, n_bytes)
            return None
        flow = Flow(self._env, next(self._numbers), route, n_bytes, most_bytes_s)
        self._cluster(limited, most_bytes_s).add(flow, limited, n_bytes)
        return flow

    def give_up(self, flow: Flow) -> None:
        """End a flow unfinished, if it has not ended; what it has sent stays counted."""
        if flow.cluster is not None:
            n_bytes = flow.cluster.remove(flow)
            self._books.sends(flow, False, self._env.now)
            self._books.carried(flow.route, flow.n_bytes - n_bytes)

    def set_capacity(self, channel: int, bytes_s: float) -> None:
        """Change what a channel can carry from the end of this instant on.

        Args:
            channel: its number; of one that had a limit from the start, or is said to be `changing`.
            bytes_s: at least 0, may be infinite; flows over a channel of 0 stand still.
        """
        assert self._may_limit[channel]
        self._capacities[channel] = bytes_s
        home = self._home[channel]
        if home is not None:
            home.set_capacity(channel, bytes_s)

    def carried(self) -> list[tuple[float, float]]:
        """Return of each channel the bytes it has carried, and how long (s) a flow was sending over it."""
        under_way = (pair for cluster in self._clusters() for pair in cluster.sent())
        return self._books.totals(self._env.now, under_way)

    def _clusters(self) -> list[FlowCluster]:
        homes = dict.fromkeys(home for home in self._home if home is not None)
        return [*homes, *self._alone.values()]

    def _limited(self, route: tuple[int, ...]) -> tuple[int, ...]:
        limited = self._limited_of.get(route)
        if limited is None:
            limited = tuple([channel for channel in route if self._may_limit[channel]])
            self._limited_of[route] = limited
        return limited

    def _cluster(self, limited: tuple[int, ...], most_bytes_s: float) -> FlowCluster:
        """Return where a flow over these channels belongs."""
        if not limited:
            if most_bytes_s not in self._alone:
                self._alone[most_bytes_s] = FlowCluster(self._env, self._books)
            return self._alone[most_bytes_s]
        home = self._home[limited[0]]
        if home is None or any(self._home[channel] is not home for channel in limited):
            return self._join(limited)
        return home

    def _join(self, limited: tuple[int, ...]) -> FlowCluster:
        """Put channels into one cluster, and all that is connected to them."""
        homes = dict.fromkeys(home for channel in limited if (home := self._home[channel]) is not None)
        largest = max(homes, key=lambda home: len(home.channels), default=None)
        target = largest or FlowCluster(self._env, self._books)
        channels = [channel for channel in limited if self._home[channel] is None]
        moving: list[Flow] = []
        for home in homes:
            if home is not target:
                home.end_the_due()  # what ends at this instant would go on by a rounding
                channels += home.channels
                moving += [flow for flow, _ in home.sent()]
        for channel in channels:
            self._home[channel] = target
            target.set_capacity(channel, self._capacities[channel])
        for flow in moving:
            assert flow.cluster is not None
            target.add(flow, self._limited(flow.route), flow.cluster.remove(flow))
        return target

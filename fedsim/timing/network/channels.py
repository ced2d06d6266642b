"""The directions of links, each a channel with a number."""

from __future__ import annotations

import math
from collections import Counter

from fedsim.timing.network.plan import NetworkPlan
from fedsim.timing.network.routes import Path, Paths


class Channels:
    """The channels of a network: two per link, or one where both directions share it or it has only one.

    Args:
        plan: nodes and links.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        self.ends: list[tuple[str, str]] = []
        """From where to where, by node names."""
        self.mbps: list[float] = []
        """Infinite without a limit."""
        self.capacities_bytes_s: list[float] = []
        self._of: list[tuple[int, int]] = []
        for wire in plan.wires:
            forward = len(self.ends)
            two = not plan.directed and wire.link.duplex == "full"
            self.ends += [(wire.source, wire.target), (wire.target, wire.source)][: 1 + two]
            self.mbps += [math.inf if wire.link.mbps is None else wire.link.mbps] * (1 + two)
            self.capacities_bytes_s += [wire.link.capacity_bytes_s] * (1 + two)
            self._of.append((forward, forward + two))

    def of(self, wire: int) -> tuple[int, int]:
        """Return the channel of a link from its source to its target, and of the other direction."""
        return self._of[wire]

    def passed(self, path: Path) -> tuple[int, ...]:
        """Return the channels that messages on a path pass, in this order."""
        return tuple([self._of[wire][not forward] for wire, forward in path])

    def private(self, paths: Paths) -> set[int]:
        """Return the channels that the messages of one worker alone pass."""
        workers = Counter(
            channel
            for up, down in zip(paths.up, paths.down, strict=True)
            for channel in {*self.passed(up), *self.passed(down)}
        )
        return {channel for channel, count in workers.items() if count == 1}

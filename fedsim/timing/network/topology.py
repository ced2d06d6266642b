"""Networks that are graphs of links."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedsim.streams import Streams
from fedsim.timing.network.base import Carrier, Network
from fedsim.timing.network.plan import NetworkPlan
from fedsim.timing.network.routes import shortest_paths

if TYPE_CHECKING:
    import simpy


class Topology(Network):
    """A graph of links between the server's node and the workers' nodes."""

    @abstractmethod
    def plan(self, n_workers: int) -> NetworkPlan:
        """Return nodes and links for so many workers.

        Raises:
            ValueError: there is no place for so many.
        """

    def open(self, env: simpy.Environment, streams: Streams, groups: Sequence[int]) -> Carrier:
        from fedsim.timing.network.carrier import GraphCarrier

        plan = self.plan(len(groups))
        return GraphCarrier(env, streams, plan, shortest_paths(plan))

"""Networks that are graphs of links."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedsim.answering import answers, is_number, refuse
from fedsim.streams import Streams
from fedsim.timing.network.base import Carrier, Network
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan, Wire
from fedsim.timing.network.routes import shortest_paths

if TYPE_CHECKING:
    import simpy


def _plan(part: Network, name: str, given: list[Any], answer: Any) -> NetworkPlan:
    if not isinstance(answer, NetworkPlan) or not all(isinstance(wire, Wire) for wire in answer.wires):
        refuse(name, answer, "a NetworkPlan of Wires")
    if len(answer.workers) != given[0]:
        refuse(name, list(answer.workers), f"a node for each of {given[0]} workers")
    nodes = {node for wire in answer.wires for node in (wire.source, wire.target)}
    for node in (answer.server, *answer.workers):
        if node not in nodes:
            refuse(name, node, "a node with a wire")
    for wire in answer.wires:
        if not isinstance(wire.link, Link) or not is_number(wire.extra_s) or not 0 <= wire.extra_s < math.inf:
            refuse(name, wire, "a Link, and an extra_s from 0")
    return answer


class Topology(Network):
    """A graph of links between the server's node and the workers' nodes."""

    @abstractmethod
    @answers(_plan)
    def plan(self, n_workers: int) -> NetworkPlan:
        """Return nodes and links for so many workers.

        Raises:
            ValueError: there is no place for so many.
        """

    def instant(self, n_workers: int, has_bytes: bool) -> bool:
        wires = self.plan(n_workers).wires
        slow = any(wire.mean_latency_s or wire.link.loss for wire in wires)
        halting = any(wire.link.mbps is not None or wire.link.down_at_once for wire in wires)
        return not (slow or (has_bytes and halting))

    def open(self, env: simpy.Environment, streams: Streams, groups: Sequence[int]) -> Carrier:
        from fedsim.timing.network.carrier import GraphCarrier

        plan = self.plan(len(groups))
        return GraphCarrier(env, streams, plan, shortest_paths(plan))

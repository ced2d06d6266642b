"""A balanced tree with the server at its root."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.topology import Topology


class Tree(Topology):
    """A balanced tree: the server at the root, the workers at the leaves, and a `link` at every edge.

    Workers take the leaves in order. The tree has the smallest height at which it has R leaves; branches
    without a worker are left out.

    Source: the complete k-ary tree; Knuth, The Art of Computer Programming, volume 1, section 2.3.4.5.
    """

    kind: Literal["tree"] = "tree"
    branching: int = Field(ge=2)
    link: Link = Link()

    def plan(self, n_workers: int) -> NetworkPlan:
        height = 1
        while self.branching**height < n_workers:
            height += 1
        # Node i of a level hangs from node floor(i / branching) of the level above.
        sizes = [-(-n_workers // self.branching ** (height - level)) for level in range(height + 1)]
        wires = [
            Wire(_node(level, place, height), _node(level - 1, place // self.branching, height), self.link)
            for level in range(1, height + 1)
            for place in range(sizes[level])
        ]
        return NetworkPlan(wires, SERVER, [worker_node(number) for number in range(n_workers)])


def _node(level: int, place: int, height: int) -> str:
    if level == 0:
        return SERVER
    return worker_node(place) if level == height else f"node {level}.{place}"

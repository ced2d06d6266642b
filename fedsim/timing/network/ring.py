"""A ring through the server and the workers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.topology import Topology


class Ring(Topology):
    """A ring: server, worker 0, worker 1, ..., and back to the server; a `link` between neighbours.

    Messages take the shorter way round. A single worker has one link to the server.

    Source: the cycle graph; Diestel, Graph Theory, 5th edition, section 1.3.
    """

    kind: Literal["ring"] = "ring"
    link: Link = Link()

    def plan(self, n_workers: int) -> NetworkPlan:
        workers = [worker_node(number) for number in range(n_workers)]
        around = [SERVER, *workers] + ([SERVER] if n_workers > 1 else [])
        wires = [Wire(here, there, self.link) for here, there in pairwise(around)]
        return NetworkPlan(wires, SERVER, workers)

"""A hub with the workers around it."""

from __future__ import annotations

from typing import Literal

from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.topology import Topology

HUB = "hub"


class Star(Topology):
    """A hub to which each worker has a `link` of its own, and a `server_link` from there, shared by all.

    Source: the parameter server's star of Li et al., "Scaling distributed machine learning with the parameter
    server", OSDI 2014, with the server's own link as its bottleneck.
    """

    kind: Literal["star"] = "star"
    link: Link = Link()
    server_link: Link = Link()

    def plan(self, n_workers: int) -> NetworkPlan:
        workers = [worker_node(number) for number in range(n_workers)]
        spokes = [Wire(worker, HUB, self.link) for worker in workers]
        return NetworkPlan([Wire(HUB, SERVER, self.server_link), *spokes], SERVER, workers)

"""Workers behind edge nodes behind the server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.topology import Topology


class Hierarchy(Topology):
    """Two levels: each worker has a `link` to its edge node, and each edge node an `edge_link` to the server.

    Workers are split over the edge nodes in contiguous blocks whose sizes differ by one at most: worker w of
    R belongs to edge node floor(w x `edges` / R). Edge nodes pass messages on; they aggregate nothing.

    Source: client-edge-cloud; Liu et al., "Client-edge-cloud hierarchical federated learning", ICC 2020,
    figure 1.
    """

    kind: Literal["hierarchy"] = "hierarchy"
    edges: int = Field(ge=1)
    link: Link = Link()
    edge_link: Link = Link()

    def check(self, n_workers: int) -> None:
        if self.edges > n_workers:
            raise ValueError(
                f"edges: found {self.edges}, expected at most {n_workers}, the number of workers"
            )

    def plan(self, n_workers: int) -> NetworkPlan:
        workers = [worker_node(number) for number in range(n_workers)]
        trunks = [Wire(f"edge {number}", SERVER, self.edge_link) for number in range(self.edges)]
        leaves = [
            Wire(worker, f"edge {number * self.edges // n_workers}", self.link)
            for number, worker in enumerate(workers)
        ]
        return NetworkPlan([*trunks, *leaves], SERVER, workers)

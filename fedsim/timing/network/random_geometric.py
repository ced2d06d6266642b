"""Workers at random places, linked to those nearby."""

from __future__ import annotations

from math import dist
from typing import Literal

from pydantic import Field

from fedsim.streams import Stream, Streams
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import SERVER, NetworkPlan, Wire, worker_node
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.topology import Topology

NO_JOB = 2**62
"""In place of a job's number, where a draw belongs to no message."""


class RandomGeometric(Topology):
    """Workers at uniformly random places of the unit square; nodes at most `radius` apart have a `link`.

    The server stands in the middle. A link's latency grows with its length: `latency_s_per_unit` times the
    distance of its ends is added to each draw. The graph depends on `graph_seed` alone and not on the run's
    seed, and a worker more moves nobody.

    Source: Gilbert, "Random plane networks", Journal of the Society for Industrial and Applied Mathematics,
    1961.
    """

    kind: Literal["random_geometric"] = "random_geometric"
    radius: float = Field(gt=0)
    graph_seed: int = Field(0, ge=0)
    latency_s_per_unit: float = Field(0.0, ge=0)
    link: Link = Link()

    def check(self, n_workers: int) -> None:
        try:
            shortest_paths(self.plan(n_workers))
        except ValueError as error:
            raise ValueError(
                f"radius: found {self.radius:g}, with which {error}; expected more, or another graph_seed"
            ) from error

    def plan(self, n_workers: int) -> NetworkPlan:
        streams = Streams(self.graph_seed)
        workers = [worker_node(number) for number in range(n_workers)]
        places = {
            worker: tuple(streams.seat(Stream.HOP, number, NO_JOB).random(2).tolist())
            for number, worker in enumerate(workers)
        }
        nodes = list({SERVER: (0.5, 0.5), **places}.items())
        wires = [
            Wire(here, there, self.link, self.latency_s_per_unit * length)
            for count, (here, place) in enumerate(nodes)
            for there, other in nodes[:count]
            if (length := dist(place, other)) <= self.radius
        ]
        return NetworkPlan(wires, SERVER, workers)

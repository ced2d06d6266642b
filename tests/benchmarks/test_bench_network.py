"""What a network costs the timing half: worker updates per second over each kind of it.

Target: at least 5,000 worker updates per second with 1,000 workers in a star with a shared server link.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.messages import JobCost
from fedsim.schedule import Schedule, Steps, Work
from fedsim.streams import Streams
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.loop import Timeline, run_timeline
from fedsim.timing.network import Network
from fedsim.timing.network.hierarchy import Hierarchy
from fedsim.timing.network.links import Link
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.simple import Simple
from fedsim.timing.network.star import Star
from fedsim.timing.network.tree import Tree
from fedsim.timing.settings import ServerSettings
from tests.benchmarks.bench.turns import Nothing
from tests.benchmarks.bench.workloads import NEVER

UPDATES = 20_000
SIZE = JobCost(0, 0, 0, bytes_up=12_500, bytes_down=12_500)
"""0.1 Mbit each way. 1,000 workers that compute for 1 s on average ask for 100 Mbit/s each way."""
HOP = Exponential(mean_s=0.02)
NETWORKS: dict[str, Network] = {
    "simple": Simple(),
    "star without limits": Star(),
    "star, random latencies": Star(link=Link(latency=HOP), server_link=Link(latency=HOP)),
    "star, server link of 200 Mbit/s": Star(server_link=Link(mbps=200.0)),  # half full: a few at a time
    "star, server link of 50 Mbit/s": Star(server_link=Link(mbps=50.0)),  # overfull: hundreds at a time
    "star, 50 Mbit/s, half duplex": Star(server_link=Link(mbps=50.0, duplex="half")),
    "star, 50 Mbit/s, spokes of 1 Mbit/s": Star(link=Link(mbps=1.0), server_link=Link(mbps=50.0)),
    "star, spokes of 1 Mbit/s": Star(link=Link(mbps=1.0)),
    "star, flaky spokes": Star(
        link=Link(mbps=1.0, up=Exponential(mean_s=20.0), down=Exponential(mean_s=1.0)),
        server_link=Link(mbps=50.0),
    ),
    "hierarchy, 20 edges of 5 Mbit/s": Hierarchy(edges=20, edge_link=Link(mbps=5.0)),
    "tree of tens, 20 Mbit/s": Tree(branching=10, link=Link(mbps=20.0)),
}


def seconds(network: Network, n_workers: int = 1000, wait_for: int = 1, updates: int = UPDATES) -> float:
    """Run the timing half and return the simulated time (s)."""
    timeline = Timeline(
        groups=[WorkerGroup(count=n_workers, compute=Exponential(mean_s=1.0))],
        service=None,
        server=ServerSettings(step_s=0.0),
        schedule=Schedule(Steps(wait_for, NEVER), {"job": Work(SIZE)}, "job"),
        max_steps=updates // wait_for,
        network=network,
    )
    return run_timeline(timeline, Nothing(), Streams(0)).time_s


@pytest.mark.parametrize("name", NETWORKS)
def test_a_thousand_workers(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.extra_info["worker_updates"] = UPDATES
    benchmark.pedantic(seconds, (NETWORKS[name],), rounds=2)


@pytest.mark.parametrize("n_workers", [1000, 10_000])
def test_routes_of_a_star(benchmark: BenchmarkFixture, n_workers: int) -> None:
    benchmark.pedantic(lambda: shortest_paths(Star().plan(n_workers)), rounds=2)

"""Whole runs over a network: timelines worked out by hand, the `simple` twin, bytes, and addresses."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from timing_cases import Books, chain, interlude, seconds, simulate, stretches, workers

from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.messages import JobCost
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget, Record
from fedsim.simulation import run
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.groups import Transient, WorkerGroup
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.loop import Ending
from fedsim.timing.network import Network
from fedsim.timing.network.channels import Channels
from fedsim.timing.network.graph_file import GraphFile
from fedsim.timing.network.hierarchy import Hierarchy
from fedsim.timing.network.links import Link
from fedsim.timing.network.random_geometric import RandomGeometric
from fedsim.timing.network.ring import Ring
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.simple import Simple
from fedsim.timing.network.star import Star
from fedsim.timing.network.tree import Tree
from fedsim.timing.outages import Outage

MEGABIT = 125_000
"""Bytes; one second at 1 Mbit/s."""
ONE = Link(mbps=1.0)
UP = JobCost(0, 0, 0, bytes_up=MEGABIT, bytes_down=0)
BOTH_WAYS = UP._replace(bytes_down=MEGABIT)
EDGES = "server a\na b\nserver b\nb c"


def campus(**settings: Any) -> GraphFile:
    return GraphFile(format="edge_list", text=EDGES, server="server", **settings)


RANDOM_LEGS: dict[str, Any] = {
    "compute": Exponential(mean_s=0.5),
    "upload": Lognormal(median_s=0.03, sigma=1.0),
    "download": Exponential(mean_s=0.1),
    "upload_mbps": 3.0,
    "download_mbps": 7.0,
}
GROUPS = [
    WorkerGroup(count=2, transient=Transient(probability=0.3, factor=4.0), **RANDOM_LEGS),
    WorkerGroup(name="straggler", count=1, slow_down=4.1, **RANDOM_LEGS),
]


def whole_run(network: Network) -> tuple[Ending, Books]:
    return simulate(
        GROUPS,
        wait_for=2,
        tau=4,
        step_s=0.01,
        interlude=interlude(every=10, rounds=2),
        cost=JobCost(2, 0, 0, 30_000, 20_000),
        latency=Exponential(mean_s=0.2),
        max_steps=40,
        keep_spans=True,
        network=network,
    )


@pytest.mark.parametrize(
    "network",
    [Star(), Ring(), campus(), Hierarchy(edges=2), Tree(branching=2), RandomGeometric(radius=1.0)],
    ids=lambda network: network.kind,
)
def test_a_network_without_limits_and_latencies_keeps_the_clock_of_simple(network: Network) -> None:
    (ending, books), (plain, plain_books) = whole_run(network), whole_run(Simple())
    assert ending.clock.spans == plain.clock.spans
    assert ending.clock.seconds == plain.clock.seconds
    assert books.reports == plain_books.reports
    assert books.tickets == plain_books.tickets
    assert (ending.time_s, ending.jobs) == (plain.time_s, plain.jobs)
    assert ending.links
    assert len(plain.links) == 0


def test_two_uploads_share_the_servers_link() -> None:
    """Both compute until 1 s; alone each would be done at 2 s. Downloads are as many bytes, again shared."""
    ending, books = simulate(
        [workers(1.0, 2)],
        wait_for=2,
        cost=BOTH_WAYS,
        network=Star(server_link=ONE),
        max_steps=2,
        keep_spans=True,
    )
    assert books.times_s == pytest.approx([3.0, 8.0])
    for worker in (0, 1):
        first = [("computing", 1.0), ("uploading", 3.0)]
        expected = chain(*first, ("downloading", 5.0), ("computing", 6.0), ("uploading", 8.0))
        assert [span[0] for span in stretches(ending, worker)] == [span[0] for span in expected]
        assert [span[2] for span in stretches(ending, worker)] == pytest.approx(
            [span[2] for span in expected]
        )


def test_a_thin_edge_link_slows_those_behind_it() -> None:
    """Workers 0 and 1 share edge 0: 2 s. Worker 2 has edge 1 alone: 1 s."""
    network = Hierarchy(edges=2, edge_link=ONE)
    ending, books = simulate([workers(0.5, 3)], wait_for=3, cost=UP, network=network, max_steps=1)
    assert books.active == [[2, 0, 1]]
    assert [seconds(ending, worker)["uploading"] for worker in range(3)] == pytest.approx([2.0, 2.0, 1.0])
    use = {(row.source, row.target): row for row in ending.links}
    assert use["edge 0", "server"].n_bytes == 2 * MEGABIT
    assert use["edge 1", "server"].utilisation == pytest.approx(1.0 / 2.5)


def test_half_duplex_makes_the_way_up_wait_for_the_way_down() -> None:
    """From 1 s on worker 0 downloads and worker 1 uploads: over one channel both take twice as long."""
    link = Link(mbps=1.0, duplex="half")
    groups = [workers(0.0, 1), workers(1.0, 1)]
    _, books = simulate(groups, wait_for=1, cost=BOTH_WAYS, network=Star(server_link=link), max_steps=2)
    assert books.times_s == pytest.approx([1.0, 3.0])
    link = Link(mbps=1.0)
    _, books = simulate(groups, wait_for=1, cost=BOTH_WAYS, network=Star(server_link=link), max_steps=2)
    assert books.times_s == pytest.approx([1.0, 2.0])


def test_a_worker_that_stops_in_an_upload_leaves_its_bandwidth_to_the_other() -> None:
    """Uploads begin at 1 s; at 2 s worker 0 stops with half sent, and worker 1 sends its half in 0.5 s."""
    groups = [workers(1.0, 1, stops_at_s=2.0), workers(1.0, 1)]
    ending, books = simulate(groups, wait_for=1, cost=UP, network=Star(server_link=ONE), max_steps=1)
    assert books.times_s == pytest.approx([2.5])
    assert seconds(ending, 0) == pytest.approx({"computing": 1.0, "uploading": 1.0, "down": 0.5})
    assert ending.links[0].n_bytes == pytest.approx(1.5 * MEGABIT)


def test_slowness_is_the_workers_and_not_the_networks() -> None:
    """Access of 0.1 s and 0.25 Mbit/s; twice as slow: 0.2 s and 0.125 Mbit/s. The hop's second stays."""
    hop = Link(latency=Constant(value_s=1.0), mbps=1.0)
    line = {"upload": Constant(value_s=0.1), "upload_mbps": 0.25, "slow_down": 2.0}
    _, books = simulate([workers(0.0, 1, **line)], wait_for=1, cost=UP, network=Star(link=hop), max_steps=1)
    assert books.times_s == pytest.approx([0.2 + 8.0 + 1.0])


def test_a_round_stays_one_activity() -> None:
    ending, _ = simulate(
        [workers(1.0, 1)], wait_for=1, cost=BOTH_WAYS, interlude=interlude(every=1, rounds=1, stop_after=1),
        network=Star(server_link=ONE), max_steps=2,
    )  # fmt: skip
    # Compute, upload; in the round: download, compute, upload; then download, compute, upload.
    expected = {"computing": 2.0, "uploading": 2.0, "interlude": 3.0, "downloading": 1.0}
    assert seconds(ending, 0) == pytest.approx(expected)


@pytest.mark.parametrize("mbps", [None, 2.0])
@pytest.mark.parametrize("wait_for", [2, 3])
def test_the_servers_link_carries_what_the_server_counts(mbps: float | None, wait_for: int) -> None:
    """And what is on its way at the end: uploads that have not arrived, downloads that have not ended."""
    cost = JobCost(0, 0, 0, bytes_up=3_000, bytes_down=7_000)
    ending, books = simulate(
        [workers(Exponential(mean_s=0.1), 3)],
        wait_for=wait_for,
        cost=cost,
        interlude=interlude(every=7, rounds=2),
        network=Star(server_link=Link(mbps=mbps)),
        max_steps=50,
    )
    up, down = ending.links[:2]
    report = books.reports[-1]
    if wait_for == 3:  # synchronous: all is quiet when a step is taken
        assert (up.n_bytes, down.n_bytes) == pytest.approx((report.bytes_up, report.bytes_down))
    assert report.bytes_up <= up.n_bytes * (1 + 1e-9) <= report.bytes_up + 3 * 3_000
    assert report.bytes_down - 3 * 7_000 <= down.n_bytes <= report.bytes_down * (1 + 1e-9)
    both = [sum(row.n_bytes for row in ending.links if node in row[:2]) for node in ("server", "hub")]
    assert both[1] == pytest.approx(2 * both[0])  # what enters the hub leaves it


@pytest.mark.parametrize(
    "network",
    [
        Star(link=Link(mbps=0.4), server_link=Link(mbps=0.6)),
        Star(link=Link(mbps=0.4, duplex="half"), server_link=Link(mbps=0.6, duplex="half")),
        Star(link=Link(mbps=0.4, up=Exponential(mean_s=2.0), down=Exponential(mean_s=1.0)), server_link=ONE),
        Tree(branching=2, link=Link(mbps=0.4)),
        GraphFile(format="edge_list", text="s w {'mbps': 0.4}", server="s", workers=("w", "w", "w")),
    ],
    ids=["full", "half", "flaky", "tree", "shared node"],
)
def test_a_link_of_ones_own_is_a_channel_that_nobody_else_uses(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shortcut for such links against the plain way: each link a channel to be shared out."""
    ending, books = whole_run(network)
    monkeypatch.setattr(Channels, "private", lambda self, paths: set())
    plain, plain_books = whole_run(network)
    assert books.active == plain_books.active
    assert books.times_s == pytest.approx(plain_books.times_s)
    for row, plain_row in zip(ending.links, plain.links, strict=True):
        assert row == pytest.approx(plain_row, abs=1e-6)


def test_which_links_are_somebodys_own() -> None:
    plan = campus(workers=("a", "b", "c")).plan(3)
    channels, paths = Channels(plan), shortest_paths(plan)
    found = {channels.ends[channel] for channel in channels.private(paths)}
    assert found == {("server", "a"), ("a", "server"), ("b", "c"), ("c", "b")}
    plan = Star(link=Link(duplex="half")).plan(2)
    channels, paths = Channels(plan), shortest_paths(plan)
    found = {channels.ends[channel] for channel in channels.private(paths)}
    assert found == {("worker 0", "hub"), ("worker 1", "hub")}


def uploads_s(count: int, seed: int) -> list[list[float]]:
    """Return how long each upload of each worker took; ten synchronous steps over lossy, varying links."""
    chancy = Link(latency=Exponential(mean_s=0.2), loss=0.3, retransmit_s=0.7)
    ending, _ = simulate(
        [workers(1.0, count)], wait_for=count, seed=seed, cost=BOTH_WAYS, max_steps=10, keep_spans=True,
        network=Star(link=chancy, server_link=chancy),
    )  # fmt: skip
    return [
        [end_s - start_s for label, start_s, end_s in stretches(ending, worker) if label == "uploading"]
        for worker in range(count)
    ]


def test_a_worker_more_changes_no_other_workers_draws() -> None:
    three, four = uploads_s(3, seed=0), uploads_s(4, seed=0)
    assert [len(of_worker) for of_worker in three] == [10] * 3
    for before, after in zip(three, four, strict=False):
        assert after == pytest.approx(before, rel=1e-9)  # starts differ, and with them the last digits


def test_workers_and_jobs_draw_their_own_and_the_seed_matters() -> None:
    lengths = [length for worker in uploads_s(3, seed=0) for length in worker]
    assert len(set(lengths)) == len(lengths)
    assert uploads_s(3, seed=0) == uploads_s(3, seed=0)
    assert uploads_s(3, seed=0) != uploads_s(3, seed=1)


FLAKY = Link(mbps=0.5, up=Exponential(mean_s=1.0), down=Exponential(mean_s=0.5))


def test_a_stalled_run_ends_although_links_go_up_and_down() -> None:
    """Worker 1 stops in its upload; nothing else will happen, and no horizon ends the run."""
    groups = [workers(1.0, 1), workers(1.0, 1, stops_at_s=1.5)]
    ending, _ = simulate(groups, wait_for=2, cost=UP, network=Star(server_link=FLAKY), max_steps=5)
    assert ending.stalled
    assert ending.waiting_for == [1]


def test_an_outage_of_the_servers_link_stops_everybody() -> None:
    link = Link(mbps=1.0, outages=(Outage(start_s=1.5, stop_s=4.0),))
    _, books = simulate([workers(1.0, 2)], wait_for=2, cost=UP, network=Star(server_link=link), max_steps=1)
    assert books.times_s == pytest.approx([5.5])  # 0.5 s of two before it, 1.5 s after it


SCENARIO = Scenario(
    name="small",
    algorithm=Asyndbt(wait_for=2, tau=4, cuts=Cuts(every=10, rounds=2)),
    problem=Quadratic(dimension=3, calls=4, bytes_up=30_000, bytes_down=20_000),
    workers=(WorkerGroup(count=3, compute=Exponential(mean_s=0.5)),),
    llm=Independent(latency=Exponential(mean_s=0.2)),
    network=Star(link=Link(latency=Exponential(mean_s=0.05), loss=0.1, retransmit_s=1.0), server_link=FLAKY),
    budget=Budget(server_steps=20),
    record=Record(spans=True),
)


def test_the_same_seed_gives_the_same_tables() -> None:
    first, second = run(SCENARIO), run(SCENARIO)
    assert first.links is not None
    pd.testing.assert_frame_equal(first.steps, second.steps, check_exact=True)
    pd.testing.assert_frame_equal(first.spans, second.spans, check_exact=True)
    pd.testing.assert_frame_equal(first.links, second.links, check_exact=True)
    other = run(SCENARIO.model_copy(update={"seed": 1}))
    assert other.summary["simulated_time_s"] != first.summary["simulated_time_s"]


def test_rows_of_links() -> None:
    found = run(SCENARIO, timing_only=True)
    links, time_s = found.links, found.summary["simulated_time_s"]
    assert links is not None
    assert list(links.columns) == ["source", "target", "mbps", "n_bytes", "busy_s", "utilisation"]
    assert len(links) == 8
    shared = links[links.mbps == 0.5]
    assert list(shared.target) == ["server", "hub"]
    assert list(shared.utilisation) == pytest.approx(list(shared.n_bytes / (0.5e6 / 8 * time_s)))
    assert (links.busy_s <= time_s).all()
    assert (links.utilisation <= 1.0).all()
    assert (links.n_bytes > 0).all()


@pytest.mark.parametrize("network", [Star(server_link=FLAKY), Ring(link=FLAKY)], ids=["star", "ring"])
def test_no_second_is_lost(network: Network) -> None:
    ending, _ = simulate(
        GROUPS,
        wait_for=1,
        cost=BOTH_WAYS,
        network=network,
        interlude=interlude(every=5, rounds=1),
        horizon_s=60.0,
    )
    for entity in range(4):
        assert sum(seconds(ending, entity).values()) == pytest.approx(60.0)

"""Nodes, links and routes of each kind of network, against graphs drawn by hand and against networkx."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
from pydantic import ValidationError

from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.network.graph_file import GraphFile
from fedsim.timing.network.hierarchy import Hierarchy
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan, Wire
from fedsim.timing.network.random_geometric import RandomGeometric
from fedsim.timing.network.ring import Ring
from fedsim.timing.network.routes import Path as Way
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.star import Star
from fedsim.timing.network.topology import Topology
from fedsim.timing.network.tree import Tree
from fedsim.timing.outages import Outage

FAST, SLOW = Link(mbps=100.0), Link(mbps=1.0)


def takes(seconds: float) -> Link:
    return Link(latency=Constant(value_s=seconds))


def nodes(plan: NetworkPlan, way: Way, start: str) -> list[str]:
    """Return the nodes that a message passes."""
    passed = [start]
    for number, forward in way:
        wire = plan.wires[number]
        here, there = (wire.source, wire.target) if forward else (wire.target, wire.source)
        assert passed[-1] == here
        passed.append(there)
    return passed


def ways_up(network: Topology, n_workers: int) -> list[str]:
    """Return each worker's way to the server as text; the way down must be the same, backwards."""
    plan = network.plan(n_workers)
    up, down = shortest_paths(plan)
    found = []
    for worker, node in enumerate(plan.workers):
        passed = nodes(plan, up[worker], node)
        assert nodes(plan, down[worker], plan.server) == passed[::-1]
        found.append(" > ".join(passed))
    return found


def test_a_star() -> None:
    star = Star(link=SLOW, server_link=FAST)
    assert ways_up(star, 2) == ["worker 0 > hub > server", "worker 1 > hub > server"]
    assert [wire.link for wire in star.plan(2).wires] == [FAST, SLOW, SLOW]


def test_a_hierarchy_splits_workers_into_blocks() -> None:
    network = Hierarchy(edges=3, link=SLOW, edge_link=FAST)
    ways = ways_up(network, 7)
    assert ways[0] == "worker 0 > edge 0 > server"
    assert [int(way.split()[4]) for way in ways] == [0, 0, 0, 1, 1, 2, 2]
    assert [wire.link for wire in network.plan(3).wires] == [FAST] * 3 + [SLOW] * 3


def test_a_tree_is_no_higher_than_it_must_be() -> None:
    tree = Tree(branching=3)
    assert ways_up(tree, 1) == ["worker 0 > server"]
    assert ways_up(tree, 3) == [f"worker {number} > server" for number in range(3)]
    assert ways_up(tree, 5) == [
        *(f"worker {number} > node 1.0 > server" for number in (0, 1, 2)),
        *(f"worker {number} > node 1.1 > server" for number in (3, 4)),
    ]
    assert ways_up(tree, 10)[9] == "worker 9 > node 2.3 > node 1.1 > server"


@pytest.mark.parametrize(("branching", "height"), [(2, 3), (4, 2)])
def test_a_full_tree_is_that_of_networkx(branching: int, height: int) -> None:
    wires = Tree(branching=branching).plan(branching**height).wires
    ours = networkx.Graph((wire.source, wire.target) for wire in wires)
    assert networkx.is_isomorphic(ours, networkx.balanced_tree(branching, height))


def test_a_ring_takes_the_shorter_way_round() -> None:
    assert ways_up(Ring(), 4) == [
        "worker 0 > server",
        "worker 1 > worker 0 > server",
        "worker 2 > worker 3 > server",
        "worker 3 > server",
    ]
    assert ways_up(Ring(), 3)[1] == "worker 1 > worker 0 > server"  # as far either way: by name
    assert ways_up(Ring(), 2) == ["worker 0 > server", "worker 1 > server"]
    assert ways_up(Ring(), 1) == ["worker 0 > server"]
    assert [len(Ring().plan(count).wires) for count in (1, 2, 5)] == [1, 3, 6]


Lengths = dict[frozenset[str], float]


def distances(network: RandomGeometric, n_workers: int) -> Lengths:
    """Return how far every two nodes are from each other."""
    wide = network.model_copy(update={"radius": 2.0, "latency_s_per_unit": 1.0})
    return {frozenset((wire.source, wire.target)): wire.extra_s for wire in wide.plan(n_workers).wires}


def test_a_random_geometric_graph_links_what_is_near() -> None:
    network = RandomGeometric(radius=0.4, latency_s_per_unit=0.5)
    lengths = distances(network, 12)
    near = {pair: length for pair, length in lengths.items() if length <= 0.4}
    wires = network.plan(12).wires
    assert len(lengths) == 13 * 12 / 2
    assert 0 < len(near) < len(lengths)
    assert {frozenset((wire.source, wire.target)): wire.extra_s for wire in wires} == {
        pair: 0.5 * length for pair, length in near.items()
    }


def test_the_server_stands_in_the_middle_of_uniform_places() -> None:
    """Mean squared distance of a uniform point of the unit square from its middle: 2 / 12."""
    lengths = distances(RandomGeometric(radius=1.0), 400)
    squares = [length**2 for pair, length in lengths.items() if "server" in pair]
    assert len(squares) == 400
    assert max(squares) <= 0.5
    # The variance of a square distance: twice that of (u - 1/2)^2, which is 1/80 - 1/144.
    assert abs(np.mean(squares) - 1 / 6) < 4 * np.sqrt(2 * (1 / 80 - 1 / 144) / 400)


def test_another_graph_seed_is_another_graph_and_a_worker_more_moves_nobody() -> None:
    five, six = distances(RandomGeometric(radius=1.0), 5), distances(RandomGeometric(radius=1.0), 6)
    assert five.items() <= six.items()
    assert distances(RandomGeometric(radius=1.0, graph_seed=1), 5) != five
    wires = [RandomGeometric(radius=0.5, graph_seed=3).plan(count).wires for count in (5, 6)]
    assert wires[1][: len(wires[0])] == wires[0]


def graph_file(edges: str, server: str = "s", **settings: Any) -> GraphFile:
    return GraphFile(format="edge_list", text=edges, server=server, **settings)


def test_the_shortest_path_by_latency_is_not_that_by_hops() -> None:
    edges = "s a {'latency_s': 0.5}\ns b {'latency_s': 0.1}\nb c {'latency_s': 0.1}\nc a {'latency_s': 0.1}"
    assert ways_up(graph_file(edges, workers=("a",)), 1) == ["a > c > b > s"]
    assert ways_up(graph_file(edges.replace("0.5", "0.25"), workers=("a",)), 1) == ["a > s"]


def test_a_link_counts_with_its_mean() -> None:
    mean, draws = takes(0.3), Link(latency=Exponential(mean_s=0.29))
    wires = [Wire("s", "a", mean), Wire("s", "b", draws), Wire("a", "w", Link()), Wire("b", "w", Link())]
    plan = NetworkPlan(wires, "s", ["w"])
    assert nodes(plan, shortest_paths(plan).down[0], "s") == ["s", "b", "w"]
    wires[1] = wires[1]._replace(extra_s=0.02)
    assert nodes(plan, shortest_paths(plan).down[0], "s") == ["s", "a", "w"]


def test_hops_break_ties_then_names() -> None:
    edges = "s a {'latency_s': 0.1}\na w {'latency_s': 0.2}\ns w {'latency_s': 0.3}"
    assert ways_up(graph_file(edges, workers=("w",)), 1) == ["w > s"]
    # In floating point 0.1 + 0.2 is more than 0.2 + 0.05 + 0.05, but not in nanoseconds.
    longer = "s b {'latency_s': 0.2}\nb c {'latency_s': 0.05}\nc w {'latency_s': 0.05}\n"
    longer += edges.replace("0.3", "1")
    assert ways_up(graph_file(longer, workers=("w",)), 1) == ["w > a > s"]
    square = "s b\ns a\nb w\na w"
    assert ways_up(graph_file(square, workers=("w",)), 1) == ["w > a > s"]


def test_names_are_read_from_the_server_on() -> None:
    """Two ways of three hops: s > a > y and s > b > x; the first letter decides."""
    assert ways_up(graph_file("s b\nb x\nx w\ns a\na y\ny w", workers=("w",)), 1) == ["w > y > a > s"]


@pytest.mark.parametrize("seed", range(25))
def test_paths_are_those_that_trying_all_of_them_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    directed = bool(seed % 2)
    graph = networkx.gnp_random_graph(6, 0.6, seed=seed, directed=directed)
    wires = [
        Wire(str(source), str(target), takes(generator.choice([0.0, 0.1, 0.2, 0.3]).item()))
        for source, target in graph.edges()
    ]
    workers = [str(node) for node in graph if node]
    plan = NetworkPlan(wires, "0", workers, directed)
    best: list[list[list[str]]] = [[], []]  # up, down
    arcs = {(int(wire.source), int(wire.target)): wire.link.latency.mean_value_s for wire in wires}
    arcs |= {} if directed else {(end, start): length for (start, end), length in arcs.items()}
    for worker in range(1, 6):
        for way, (start, end) in zip(best, [(worker, 0), (0, worker)], strict=True):
            tried = [
                (round(10 * sum(arcs[arc] for arc in pairwise(path))), len(path), names)
                for path in networkx.all_simple_paths(graph, start, end)
                for names in [[str(node) for node in (path if start == 0 else path[::-1])]]
            ]
            way.append(min(tried)[2] if tried else [])
    if [] in best[0] or [] in best[1]:
        with pytest.raises(ValueError, match="cannot reach"):
            shortest_paths(plan)
        return
    up, down = shortest_paths(plan)
    assert [nodes(plan, way, name)[::-1] for way, name in zip(up, workers, strict=True)] == best[0]
    assert [nodes(plan, way, "0") for way in down] == best[1]


def test_directed_edges_go_one_way() -> None:
    round_about = json.dumps(
        {
            "directed": True,
            "nodes": [{"id": name} for name in ("s", "a", "w")],
            "edges": [
                {"source": source, "target": target, "latency_s": seconds}
                for source, target, seconds in [("w", "s", 0.1), ("s", "a", 0.2), ("a", "w", 0.3)]
            ],
        }
    )
    network = GraphFile(format="node_link", text=round_about, server="s", workers=("w",))
    plan = network.plan(1)
    up, down = shortest_paths(plan)
    assert nodes(plan, up[0], "w") == ["w", "s"]
    assert nodes(plan, down[0], "s") == ["s", "a", "w"]


def test_a_worker_at_the_servers_node_has_no_way_to_go() -> None:
    network = graph_file("s w", workers=("w", "s", "w"))
    assert shortest_paths(network.plan(3)).up == [shortest_paths(network.plan(3)).up[2], (), ((0, False),)]


GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="edge" attr.name="mbps" attr.type="double"><default>5</default></key>
  <key id="d1" for="edge" attr.name="latency_s" attr.type="double"/>
  <key id="d2" for="edge" attr.name="label" attr.type="string"/>
  <graph edgedefault="undirected">
    <node id="s"/> <node id="1"/> <node id="2"/>
    <edge id="e0" source="s" target="1"><data key="d0">20</data><data key="d2">cable</data></edge>
    <edge id="e1" source="1" target="2"><data key="d1">0.5</data></edge>
  </graph>
</graphml>
"""
EDGES = "# a comment\ns 1 {'mbps': 20}\n\n1 2 {'mbps': 5.0, 'latency_s': 0.5}  # the last\n"
LINKS = [{"source": "s", "target": 1, "mbps": 20}, {"source": 1, "target": 2, "mbps": 5, "latency_s": 0.5}]
JSON = json.dumps({"nodes": [{"id": "s"}, {"id": 1}, {"id": 2}], "edges": LINKS})
OLD_JSON = json.dumps({"directed": False, "nodes": [{"id": "s"}, {"id": 1}, {"id": 2}], "links": LINKS})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.graphml", GRAPHML), ("a.xml", GRAPHML), ("a.edges", EDGES), ("a.edgelist", EDGES)),
        *(("a.txt", EDGES), ("a.json", JSON), ("A.JSON", OLD_JSON)),
    ],
)
def test_each_format_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    usual = {"loss": 0.1, "retransmit_s": 1.0}
    settings = {"kind": "graph_file", "file": str(file), "server": "s", "link": usual}
    network = GraphFile.model_validate(settings)
    first, last = Link(mbps=20.0, **usual), Link(mbps=5.0, latency=Constant(value_s=0.5), **usual)
    assert network.plan(2) == NetworkPlan([Wire("s", "1", first), Wire("1", "2", last)], "s", ["1", "2"])
    file.unlink()
    network.check(2)
    assert network.model_dump().keys() == {"kind", "format", "text", "server", "workers", "link"}
    assert GraphFile.model_validate(network.model_dump()) == network


@pytest.mark.parametrize(
    ("key_for", "mbps"),
    [('for="edge"', [20.0, 5.0]), ('for="all"', [20.0, 5.0]), ("", [20.0, 5.0]), ('for="node"', [20.0, 7.0])],
)
@pytest.mark.parametrize("namespace", [' xmlns="http://graphml.graphdrawing.org/xmlns"', ""])
def test_a_default_holds_for_what_its_key_is_for(
    tmp_path: Path, key_for: str, mbps: list[float], namespace: str
) -> None:
    file = tmp_path / "a.graphml"
    text = GRAPHML.replace('id="d0" for="edge"', f'id="d0" {key_for}')
    file.write_text(text.replace(' xmlns="http://graphml.graphdrawing.org/xmlns"', namespace))
    network = GraphFile.model_validate(
        {"kind": "graph_file", "file": str(file), "server": "s", "link": {"mbps": 7.0}}
    )
    assert [wire.link.mbps for wire in network.plan(2).wires] == mbps


def test_defaults_of_all_edges_in_json() -> None:
    text = json.dumps({**json.loads(JSON), "graph": {"edge_default": {"loss": 0.25, "retransmit_s": 1.0}}})
    network = GraphFile.model_validate(
        {"kind": "graph_file", "format": "node_link", "text": text, "server": "s"}
    )
    assert [wire.link.loss for wire in network.plan(2).wires] == [0.25, 0.25]


def test_edges_override_every_setting_they_may() -> None:
    settings = {"latency_s": 0.0, "mbps": 2, "loss": 0.5, "retransmit_s": 3, "duplex": "half"}
    usual = Link(latency=Exponential(mean_s=1.0), outages=(Outage(start_s=1.0, stop_s=2.0),))
    (wire,) = graph_file(f"s w {settings}", link=usual).plan(1).wires
    assert wire.link == Link(
        latency=Constant(value_s=0.0),
        mbps=2.0,
        loss=0.5,
        retransmit_s=3.0,
        duplex="half",
        outages=usual.outages,
    )


def test_a_changed_file_makes_another_network(tmp_path: Path) -> None:
    file = tmp_path / "a.edges"
    file.write_text("s w")
    settings = {"kind": "graph_file", "file": str(file), "server": "s"}
    before = GraphFile.model_validate(settings)
    file.write_text("s w {'mbps': 3}")
    assert GraphFile.model_validate(settings) != before


SECOND = {"kind": "constant", "value_s": 1.0}
BAD_LINKS: dict[str, dict[str, Any]] = {
    "latency\n.*found a delay whose mean is infinite, expected a finite one: routes are chosen by it": {
        "latency": {"kind": "pareto", "minimum_s": 1.0, "tail_index": 1.0}
    },
    "found loss = 0.1, expected retransmit_s as well": {"loss": 0.1},
    "loss\n.*less than 1": {"loss": 1.0, "retransmit_s": 1.0},
    "mbps\n.*greater than or equal to 0.000001": {"mbps": 5e-324},
    "expected down as well: a link that goes down comes up again": {"up": SECOND},
    "expected up as well": {"down": SECOND},
    "expected either up and down or outages, found both": {
        "up": SECOND,
        "down": SECOND,
        "outages": [{"start_s": 0.0, "stop_s": 1.0}],
    },
    "up\n.*found a mean of 1e-20 s, expected at least 0.001": {
        "up": {"kind": "constant", "value_s": 1e-20},
        "down": SECOND,
    },
    "stop_s\n.*found 1, expected more than start_s = 1": {"outages": [{"start_s": 1.0, "stop_s": 1.0}]},
    "found start_s = 2 in outage 1, expected at least 3, when the one before it ends": {
        "outages": [{"start_s": 1.0, "stop_s": 3.0}, {"start_s": 2.0, "stop_s": 4.0}]
    },
}


@pytest.mark.parametrize("sentence", BAD_LINKS)
def test_an_impossible_link(sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Link.model_validate(BAD_LINKS[sentence])

"""Every mistake in a network: one sentence with file, place, value and remedy; exit 2; nothing written."""

from __future__ import annotations

import json

import pytest

GRAPHML = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="d0" for="edge" attr.name="mbps" attr.type="TYPE"/>
  <graph edgedefault="undirected">
    <node id="hub"/> <node id="library"/> <node id="lab"/> <node id="gate"/>
    <edge source="hub" target="library"><data key="d0">10</data></edge>
    <edge source="hub" target="lab"/>
    <edge source="lab" target="gate"/>
  </graph>
</graphml>
"""
GOOD = GRAPHML.replace("TYPE", "double")


def node_link(edges: list[tuple[str, str]], **settings: object) -> str:
    links = [{"source": source, "target": target, **settings} for source, target in edges]
    return json.dumps({"directed": True, "nodes": [{"id": name} for name in "sabc"], "edges": links})


TWICE = node_link([("s", "a"), ("s", "a")])
# networkx makes one edge of two that share a key, or an id in GraphML.
ONE_KEY = node_link([("s", "a"), ("s", "a")], key=0)
ONE_ID = GOOD.replace("<edge ", '<edge id="e" ').replace('"lab" target="gate"', '"lab" target="hub"')
NESTED = GOOD.replace('<node id="gate"/>', '<node id="gate"><graph edgedefault="directed"/></node>')

SETTINGS = {
    "{ kind = 'stra' }": "network: unknown kind 'stra'; did you mean 'star'? (known: simple, star, "
    "hierarchy, tree, ring, random_geometric, graph_file)",
    "{ kind = 'star', link = { mbps = 0 } }": "network.link.mbps: found 0, expected at least 1e-06",
    "{ kind = 'star', server_link = { mbps = -2.5 } }": "network.server_link.mbps: found -2.5, expected at "
    "least 1e-06",
    "{ kind = 'star', link = { mpbs = 1 } }": "network.link.mpbs: unknown key; did you mean 'mbps'?",
    "{ kind = 'star', link = { duplex = 'both' } }": "network.link.duplex: found 'both', expected 'full' or "
    "'half'",
    "{ kind = 'star', link = { loss = 0.1 } }": "network.link: found loss = 0.1, expected retransmit_s "
    "as well",
    "{ kind = 'star', link = { loss = 1.0, retransmit_s = 1 } }": "network.link.loss: found 1.0, expected "
    "less than 1",
    "{ kind = 'star', link = { latency = { kind = 'constat' } } }": "network.link.latency: unknown kind "
    "'constat'; did you mean 'constant'? (known: constant, uniform, exponential, shifted_exponential, "
    "lognormal, gamma, weibull, pareto, mixture, empirical)",
    "{ kind = 'star', link = { latency = { kind = 'pareto', minimum_s = 1, tail_index = 1 } } }": ""
    "network.link.latency: found a delay whose mean is infinite, expected a finite one: routes are chosen by "
    "it",
    "{ kind = 'star', link = { outages = [{ start_s = 2, stop_s = 1 }] } }": "network.link.outages.0.stop_s: "
    "found 1, expected more than start_s = 2",
    "{ kind = 'star', link = { up = { kind = 'constant', value_s = 1e-20 }, down = { kind = 'constant', "
    "value_s = 0 } } }": "network.link.up: found a mean of 1e-20 s, expected at least 0.001",
    "{ kind = 'hierarchy' }": "network.edges: missing; this key is required",
    "{ kind = 'hierarchy', edges = 0 }": "network.edges: found 0, expected at least 1",
    "{ kind = 'hierarchy', edges = 4 }": "network.edges: found 4, expected at most 3, the number of workers",
    "{ kind = 'tree', branching = 1 }": "network.branching: found 1, expected at least 2",
    "{ kind = 'random_geometric', radius = 0 }": "network.radius: found 0, expected more than 0",
    "{ kind = 'random_geometric', radius = 0.01 }": "network.radius: found 0.01, with which the server at "
    "'server' cannot reach worker 0 at 'worker 0'; expected more, or another graph_seed",
    "{ kind = 'graph_file', server = 'hub' }": "network: expected either file, the path of a graph, or its "
    "format and text",
    "{ kind = 'graph_file', file = 'a.edges', text = 'a b', server = 'a' }": "network: expected either file, "
    "the path of a graph, or its format and text",
    "{ kind = 'graph_file', file = 3, server = 'hub' }": "network: file: found 3, expected the path of "
    "a graph",
    "{ kind = 'graph_file', file = 'no.edges', server = 'hub' }": "network: cannot read no.edges: No such "
    "file or directory",
    "{ kind = 'graph_file', file = 'a.csv', server = 'hub' }": "network: a.csv: expected a file named "
    "*.graphml, *.xml, *.edges, *.edgelist, *.txt, *.json",
    "{ kind = 'graph_file', format = 'edge_list', text = 'a', server = 'a' }": "network.text: line 1: found "
    "'a', expected NODE NODE {'mbps': 10, ...}",
}
"""A network, and what must be said of it after "fedsim: FILE: "."""


@pytest.mark.parametrize("network", SETTINGS)
def test_a_wrong_network_is_one_sentence(command, small, tmp_path, network):
    answer = command("run", small, "--set", f"network = {network}")
    assert answer == (2, "", f"fedsim: {small}: {SETTINGS[network]}\n")
    assert list(tmp_path.iterdir()) == [small]


FILES = {
    ("a.graphml", GOOD.replace("</graph>", "")): "a.graphml: not a GraphML graph: mismatched tag: line 9, "
    "column 2",
    ("a.graphml", ""): "a.graphml: not a GraphML graph: no element found: line 1, column 0",
    ("a.graphml", "<html/>"): "a.graphml: not a GraphML graph: file not successfully read as graphml",
    (
        "a.graphml",
        GOOD.replace(">10<", ">ten<"),
    ): "a.graphml: not a GraphML graph: could not convert string to float: 'ten'",
    ("a.graphml", GOOD.replace(' attr.type="double"', "")): "a.graphml: not a GraphML graph: No key type for "
    "id d0. Using string",
    ("a.graphml", GRAPHML.replace("TYPE", "string")): "the edge from 'hub' to 'library': mbps: found '10', "
    "expected a finite number above 0",
    ("a.graphml", GOOD.replace(">10<", ">-10<")): "the edge from 'hub' to 'library': mbps: found -10.0, "
    "expected a finite number above 0",
    (
        "a.graphml",
        GOOD.replace(">10<", ">nan<"),
    ): "the edge from 'hub' to 'library': mbps: found nan, expected a finite number above 0",
    (
        "a.graphml",
        GOOD.replace('"mbps"', '"mpbs"'),
    ): "the edge from 'hub' to 'library': mpbs: no attribute of "
    "an edge; did you mean 'mbps'? (known: latency_s, mbps, loss, retransmit_s, duplex)",
    (
        "a.graphml",
        GOOD.replace('target="gate"', 'target="gaet"'),
    ): "a.graphml: an edge leads to 'gaet', which is not among the nodes",
    ("a.graphml", GOOD.replace('target="gate"', 'target="lab"')): "a.graphml: the edge from 'lab' to itself "
    "leads nowhere",
    ("a.graphml", GOOD.replace('"lab" target="gate"', '"lab" target="hub"')): "a.graphml: more than one edge "
    "between 'hub' and 'lab', expected one",
    (
        "a.graphml",
        GOOD.replace('<node id="gate"/>', '<node id="lab"/>'),
    ): "a.graphml: the node 'lab' is there 2 times",
    ("a.graphml", ONE_ID): "a.graphml: more than one edge between 'hub' and 'lab', expected one",
    ("a.graphml", NESTED): "a.graphml: not a GraphML graph: found 2 graphs, beside or within each other; "
    "expected one",
    (
        "a.graphml",
        GOOD.replace("</graphml>", "<graph edgedefault='directed'/></graphml>"),
    ): "a.graphml: not a GraphML graph: found 2 graphs, beside or within each other; expected one",
    ("a.graphml", GOOD.replace('"undirected"', '"Directed"')): "a.graphml: not a GraphML graph: edgedefault: "
    "found 'Directed', expected 'directed' or 'undirected'",
    ("a.graphml", GOOD.replace("hub", "hup")): ".server: no node 'hub' in the graph; did you mean 'hup'?",
    ("a.edges", "hub a\n\nhub\n"): "a.edges: line 3: found 'hub', expected NODE NODE {'mbps': 10, ...}",
    ("a.edges", "hub a {'mbps': }"): "a.edges: line 1: found \"hub a {'mbps': }\", expected NODE NODE "
    "{'mbps': 10, ...}",
    ("a.edges", "# nothing\n"): "a.edges: not an edge list: no edge in it",
    (
        "a.edges",
        "hub a\na hub\nhub b\nhub c",
    ): "a.edges: more than one edge between 'hub' and 'a', expected one",
    ("a.edges", "hub a {'loss': 0.5}\nhub b\nhub c"): "the edge from 'hub' to 'a': loss: found 0.5, expected "
    "retransmit_s as well",
    (
        "a.edges",
        "hub a {'loss': 1}",
    ): "the edge from 'hub' to 'a': loss: found 1, expected a number from 0 up to, but not including, 1",
    ("a.edges", "hub a {'latency_s': True}"): "the edge from 'hub' to 'a': latency_s: found True, expected a "
    "finite number from 0 up",
    ("a.edges", "hub a {'duplex': 'both'}"): "the edge from 'hub' to 'a': duplex: found 'both', expected "
    "'full' or 'half'",
    (
        "a.edges",
        "hub a {'mbps': 1e999}",
    ): "the edge from 'hub' to 'a': mbps: found inf, expected a finite number above 0",
    ("a.edges", "hub a {'up': 3}"): "the edge from 'hub' to 'a': up: no attribute of an edge (known: "
    "latency_s, mbps, loss, retransmit_s, duplex)",
    ("a.edges", "hub a"): ".workers: left out, which leaves 1, expected 3 nodes, one for each worker",
    ("a.edges", "hub a\nb c"): ".workers: the server at 'hub' cannot reach worker 1 at 'b'",
    ("a.json", TWICE): "a.json: more than one edge between 's' and 'a', expected one",
    ("a.json", ONE_KEY): "a.json: more than one edge between 's' and 'a', expected one",
    (
        "a.json",
        '{"nodes": [], "links": [], "edges": []}',
    ): "a.json: not a graph in node-link JSON: found both 'links' and 'edges', expected one of them",
    ("a.json", '{"directed": "false", "nodes": [], "edges": []}'): "a.json: not a graph in node-link JSON: "
    "directed: found 'false', expected true or false",
    ("a.json", '{"nodes": [], "edges": [{"source": 1, "target": 2, "mbps": 3, "mbps": 4}]}'): "a.json: not a "
    "graph in node-link JSON: the key 'mbps' is there 2 times in one object",
    (
        "a.json",
        '{"graph": {"edge_default": 3}, "nodes": [], "edges": []}',
    ): "a.json: not a graph in node-link JSON: graph: expected a table, and so its edge_default",
    ("a.edges", "hub a " + "-" * 100_000): f"a.edges: line 1: found 'hub a {'-' * 70} ...', expected "
    "NODE NODE {'mbps': 10, ...}",
    ("a.json", "{"): "a.json: not a graph in node-link JSON: Expecting property name enclosed in double "
    "quotes: line 1 column 2 (char 1)",
    ("a.json", "[]"): "a.json: not a graph in node-link JSON: expected a table of nodes and edges",
    ("a.json", "{}"): "a.json: not a graph in node-link JSON: 'nodes' is missing",
    ("a.json", '{"nodes": [{"id": [1]}], "edges": []}'): "a.json: not a graph in node-link JSON: found the "
    "node [1], expected a text or a whole number",
    ("a.json", '{"nodes": [{"id": 1}, {"id": "1"}], "edges": []}'): "a.json: the node '1' is there 2 times",
}


@pytest.mark.parametrize(("name", "text"), FILES)
def test_a_wrong_graph_file_is_one_sentence(command, small, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    answer = command(
        "check", small, "--set", f"network = {{ kind = 'graph_file', file = '{name}', server = 'hub' }}"
    )
    sentence = FILES[name, text]
    place = "network" if sentence.startswith(".") else "network: "
    assert answer == (2, "", f"fedsim: {small}: {place}{sentence}\n")


def test_the_good_file_is_good(command, small, tmp_path):
    (tmp_path / "a.graphml").write_text(GOOD)
    network = "network = { kind = 'graph_file', file = 'a.graphml', server = 'hub' }"
    assert command("check", small, "--set", network).code == 0


def test_a_file_that_is_no_text(command, small, tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    answer = command(
        "check", small, "--set", "network = { kind = 'graph_file', file = 'a.json', server = 's' }"
    )
    assert answer.code == 2
    assert answer.err.startswith(f"fedsim: {small}: network: a.json: a text in UTF-16, expected UTF-8")


def test_workers_at_nodes_that_are_not_there_or_not_enough(command, small, tmp_path):
    (tmp_path / "a.graphml").write_text(GOOD)
    network = "network = {{ kind = 'graph_file', file = 'a.graphml', server = 'hub', workers = {} }}"
    for workers, sentence in [
        (
            ["lab", "libary", "lab"],
            "network.workers: no node 'libary' in the graph; did you mean 'library'?",
        ),
        (["lab", "lab"], "network.workers: found 2, expected 3 nodes, one for each worker"),
    ]:
        answer = command("check", small, "--set", network.format(workers))
        assert answer == (2, "", f"fedsim: {small}: {sentence}\n")


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        (
            [("s", "a"), ("a", "s"), ("s", "b"), ("b", "s"), ("s", "c")],
            "worker 2 at 'c' cannot reach the server at 's'",
        ),
        (
            [("a", "s"), ("s", "b"), ("b", "s"), ("c", "b"), ("b", "c")],
            "the server at 's' cannot reach worker 0 at 'a'",
        ),
    ],
)
def test_a_directed_graph_must_be_connected_both_ways(command, small, tmp_path, edges, sentence):
    (tmp_path / "a.json").write_text(node_link(edges))
    answer = command(
        "check", small, "--set", "network = { kind = 'graph_file', file = 'a.json', server = 's' }"
    )
    assert answer == (2, "", f"fedsim: {small}: network.workers: {sentence}\n")


def test_half_duplex_means_nothing_in_a_directed_graph(command, small, tmp_path):
    (tmp_path / "a.json").write_text(node_link([("s", "a")], duplex="half"))
    answer = command(
        "check", small, "--set", "network = { kind = 'graph_file', file = 'a.json', server = 's' }"
    )
    sentence = (
        "the edge from 's' to 'a': found half duplex, but an edge of a directed graph goes one way only"
    )
    assert answer == (2, "", f"fedsim: {small}: network: {sentence}\n")

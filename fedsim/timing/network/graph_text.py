"""Graphs as text: GraphML, edge lists and node-link JSON, as networkx reads them."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from fedsim import plain_text
from fedsim.errors import InputError

Format = Literal["graphml", "edge_list", "node_link"]

Found = tuple[Any, list[str], list[tuple[str, str]]]
"""A networkx graph, the nodes that its text declares if it does, and the ends of all edges that it states."""

SUFFIXES: dict[str, Format] = {
    ".graphml": "graphml",
    ".xml": "graphml",
    ".edges": "edge_list",
    ".edgelist": "edge_list",
    ".txt": "edge_list",
    ".json": "node_link",
}


def read_text(file: Path) -> tuple[Format, str]:
    """Return the format of a graph file, by its suffix, and its text.

    Raises:
        InputError: the suffix is of no known format, or the file cannot be read.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file}: expected a file named {', '.join(f'*{suffix}' for suffix in SUFFIXES)}")
    return SUFFIXES[file.suffix.lower()], plain_text.read_text(file)


@lru_cache(maxsize=4)  # a scenario is looked at several times
def parse_graph(text: str, form: Format) -> Any:
    """Return the networkx graph, undirected or directed, that a text describes; nodes are named by texts.

    Raises:
        InputError: one sentence on what is wrong with the text, with the line where that is known.
    """
    graph, declared, edges = _READERS[form](text)
    nodes = Counter(declared)
    for name, times in nodes.items():
        if times > 1:
            raise InputError(f"the node {name!r} is there {times} times")
    unknown = [str(name) for name in graph if nodes and str(name) not in nodes]
    if unknown:
        raise InputError(f"an edge leads to {unknown[0]!r}, which is not among the nodes")
    # As the file states them: networkx makes one of edges that share a key or an id.
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for source, target in edges:
        if source == target:
            raise InputError(f"the edge from {source!r} to itself leads nowhere")
        ends = (source, target) if graph.is_directed() else tuple(sorted((source, target)))
        if ends in seen:
            first, second = seen[ends]
            raise InputError(f"more than one edge between {first!r} and {second!r}, expected one")
        seen[ends] = source, target
    return _simple(graph)


def _simple(graph: Any) -> Any:
    """Return a multigraph without parallel edges as a graph, defaults of the file's attributes filled in."""
    import networkx

    simple = networkx.DiGraph() if graph.is_directed() else networkx.Graph()
    simple.add_nodes_from(str(name) for name in graph)
    usual = graph.graph.get("edge_default", {})
    for source, target, settings in graph.edges(data=True):
        simple.add_edge(str(source), str(target), **(usual | settings))
    return simple


def _graphml(text: str) -> Found:
    import networkx

    if "<!DOCTYPE" in text:  # its entities could grow without bound
        raise InputError("not a GraphML graph: it declares a document type, which GraphML has none of")
    try:
        root = ElementTree.fromstring(text)
        _check_graphs(root.findall(".//{*}graph"))
        for key in root.findall("{*}key"):
            # Without it a key is for all, says GraphML. networkx leaves the defaults of such keys out; only
            # those of edges are read here.
            if key.get("for", "all") == "all":
                key.set("for", "edge")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # what it warns of, it reads otherwise than meant
            graph = networkx.parse_graphml(ElementTree.tostring(root, encoding="unicode"))
        nodes = [node.attrib["id"] for node in root.iterfind(".//{*}node")]
        edges = [(edge.attrib["source"], edge.attrib["target"]) for edge in root.iterfind(".//{*}edge")]
    except Exception as error:  # each reader fails in its own ways
        raise InputError(f"not a GraphML graph: {_first_line(error)}") from error
    return graph, nodes, edges


def _check_graphs(graphs: list[ElementTree.Element]) -> None:
    """Raise a ValueError if there are several graphs, or one that does not say whether it is directed."""
    if len(graphs) > 1:
        raise ValueError(f"found {len(graphs)} graphs, beside or within each other; expected one")
    for graph in graphs:
        if (found := graph.get("edgedefault")) not in ("directed", "undirected"):
            raise ValueError(f"edgedefault: found {found!r}, expected 'directed' or 'undirected'")


def _edge_list(text: str) -> Found:
    import networkx

    graph = networkx.MultiGraph()
    edges: list[tuple[str, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.partition("#")[0].strip():
            continue
        try:  # line by line, to know which one is wrong
            edge = list(networkx.parse_edgelist([line]).edges(data=True))
        except (TypeError, RecursionError, MemoryError):  # the last two where brackets are nested deep
            edge = []
        if not edge:
            found = line.strip() if len(line) < 80 else f"{line.strip()[:76]} ..."
            raise InputError(f"line {number}: found {found!r}, expected NODE NODE {{'mbps': 10, ...}}")
        graph.add_edges_from(edge)
        edges += [(source, target) for source, target, _ in edge]
    if not graph:
        raise InputError("not an edge list: no edge in it")
    return graph, [], edges


def _node_link(text: str) -> Found:
    import networkx

    try:
        table = json.loads(text, object_pairs_hook=_each_key_once)
        if not isinstance(table, dict):
            raise TypeError("expected a table of nodes and edges")
        if "links" in table and "edges" in table:
            raise TypeError("found both 'links' and 'edges', expected one of them")
        if not isinstance(directed := table.get("directed", False), bool):
            raise TypeError(f"directed: found {directed!r}, expected true or false")
        about = table.get("graph", {})
        if not isinstance(about, dict) or not isinstance(about.get("edge_default", {}), dict):
            raise TypeError("graph: expected a table, and so its edge_default")
        edges = "links" if "links" in table else "edges"
        declared = [node["id"] for node in table["nodes"]]
        if strange := [name for name in declared if not isinstance(name, str | int)]:
            raise TypeError(f"found the node {strange[0]!r}, expected a text or a whole number")
        graph = networkx.node_link_graph({**table, "multigraph": True}, edges=edges)
    except Exception as error:  # each reader fails in its own ways
        missing = f"{error} is missing" if isinstance(error, KeyError) else _first_line(error)
        raise InputError(f"not a graph in node-link JSON: {missing}") from error
    pairs = [(str(edge["source"]), str(edge["target"])) for edge in table[edges]]
    return graph, [str(name) for name in declared], pairs


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, which may not state a key twice."""
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise ValueError(f"the key {key!r} is there {times} times in one object")
    return dict(pairs)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


_READERS: dict[Format, Callable[[str], Found]] = {
    "graphml": _graphml,
    "edge_list": _edge_list,
    "node_link": _node_link,
}

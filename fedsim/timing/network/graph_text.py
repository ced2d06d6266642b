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
    graph, declared = _READERS[form](text)
    nodes = Counter(declared)
    for name, times in nodes.items():
        if times > 1:
            raise InputError(f"the node {name!r} is there {times} times")
    unknown = [str(name) for name in graph if nodes and str(name) not in nodes]
    if unknown:
        raise InputError(f"an edge leads to {unknown[0]!r}, which is not among the nodes")
    for source, target in graph.edges():
        if source == target:
            raise InputError(f"the edge from {str(source)!r} to itself leads nowhere")
        if graph.number_of_edges(source, target) > 1:
            raise InputError(f"more than one edge between {str(source)!r} and {str(target)!r}, expected one")
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


def _graphml(text: str) -> tuple[Any, list[str]]:
    import networkx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # what it warns of, it reads otherwise than meant
            graph = networkx.parse_graphml(text)
        nodes = ElementTree.fromstring(text).findall(".//{*}node")
    except Exception as error:  # each reader fails in its own ways
        raise InputError(f"not a GraphML graph: {_first_line(error)}") from error
    return graph, [node.attrib["id"] for node in nodes]


def _edge_list(text: str) -> tuple[Any, list[str]]:
    import networkx

    graph = networkx.MultiGraph()
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.partition("#")[0].strip():
            continue
        try:  # line by line, to know which one is wrong
            edge = list(networkx.parse_edgelist([line]).edges(data=True))
        except TypeError:
            edge = []
        if not edge:
            raise InputError(f"line {number}: found {line.strip()!r}, expected NODE NODE {{'mbps': 10, ...}}")
        graph.add_edges_from(edge)
    if not graph:
        raise InputError("not an edge list: no edge in it")
    return graph, []


def _node_link(text: str) -> tuple[Any, list[str]]:
    import networkx

    try:
        table = json.loads(text)
        if not isinstance(table, dict):
            raise TypeError("expected a table of nodes and edges")
        edges = "links" if "links" in table else "edges"
        declared = [node["id"] for node in table["nodes"]]
        if strange := [name for name in declared if not isinstance(name, str | int)]:
            raise TypeError(f"found the node {strange[0]!r}, expected a text or a whole number")
        graph = networkx.node_link_graph({**table, "multigraph": True}, edges=edges)
    except Exception as error:  # each reader fails in its own ways
        missing = f"{error} is missing" if isinstance(error, KeyError) else _first_line(error)
        raise InputError(f"not a graph in node-link JSON: {missing}") from error
    return graph, [str(name) for name in declared]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


_READERS: dict[Format, Callable[[str], tuple[Any, list[str]]]] = {
    "graphml": _graphml,
    "edge_list": _edge_list,
    "node_link": _node_link,
}

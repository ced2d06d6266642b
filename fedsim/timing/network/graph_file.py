"""A network read from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fedsim.catalog import StatedPath
from fedsim.errors import InputError, close, nearest
from fedsim.timing.delays.constant import Constant
from fedsim.timing.network.graph_text import Format, parse_graph, read_text
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan, Wire
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.topology import Topology

EXPECTED = {
    "latency_s": "a finite number from 0 up",
    "mbps": "a finite number above 0",
    "loss": "a number from 0 up to, but not including, 1",
    "retransmit_s": "a finite number above 0",
    "duplex": "'full' or 'half'",
}
"""What an edge may say of its link."""


class GraphFile(Topology):
    """Any graph: GraphML (.graphml, .xml), an edge list (.edges, .edgelist, .txt) or node-link JSON (.json).

    The file is read once, when the scenario is loaded; its `format` and `text` are then kept, so that a
    resolved scenario needs no other file and a changed file makes another run. Nodes are named as in the
    file, in GraphML by their ids. An edge is a `link`, over whose settings go the edge's own: `latency_s`
    (constant), `mbps`, `loss`, `retransmit_s`, `duplex`; other attributes mean nothing here. In a directed
    graph an edge carries messages one way only. An edge list, ``NODE NODE {'mbps': 10}`` per line, is
    undirected.

    Source: the formats as networkx reads them; Hagberg et al., "Exploring network structure, dynamics, and
    function using NetworkX", SciPy 2008.
    """

    kind: Literal["graph_file"] = "graph_file"
    file: StatedPath | None = Field(None, exclude=True)
    format: Format
    text: str
    server: str
    """The node at which the server stands."""
    workers: tuple[str, ...] | None = None
    """The node of each worker, in the workers' order; several may share one. None: all nodes but the
    server's, in the file's order."""
    link: Link = Link()

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        given = {key: value for key, value in settings.items() if value is not None}
        if ("file" in given) == ("text" in given or "format" in given):
            raise _bad("expected either file, the path of a graph, or its format and text")
        if "file" not in given:
            return given
        if not isinstance(given["file"], str):
            raise _bad(f"file: found {given['file']!r}, expected the path of a graph")
        path = Path(given.pop("file"))
        try:
            form, text = read_text(path)
        except InputError as error:
            raise _bad(str(error)) from error
        try:
            parse_graph(text, form)
        except InputError as error:
            raise _bad(f"{path}: {error}") from error
        return {**given, "format": form, "text": text}

    @field_validator("text")
    @classmethod
    def _readable(cls, text: str, info: ValidationInfo) -> str:
        if "format" in info.data:
            try:
                parse_graph(text, info.data["format"])
            except InputError as error:
                raise ValueError(str(error)) from error
        return text

    @field_validator("server", "workers")
    @classmethod
    def _in_the_graph(cls, found: Any, info: ValidationInfo) -> Any:
        if "format" in info.data and "text" in info.data:  # else they are wrong, which is said already
            graph = parse_graph(info.data["text"], info.data["format"])
            for name in (found,) if isinstance(found, str) else found or ():
                if name not in graph:
                    raise ValueError(f"no node {name!r} in the graph{nearest(name, graph)}")
        return found

    @model_validator(mode="after")
    def _possible(self) -> GraphFile:
        _wires(parse_graph(self.text, self.format), self.link)
        return self

    def idle(self) -> Mapping[str, str]:
        graph = parse_graph(self.text, self.format)
        edges = [attributes for _, _, attributes in graph.edges(data=True)]
        told = [name for name in EXPECTED if edges and all(name in attributes for attributes in edges)]
        keys = ["latency" if name == "latency_s" else name for name in told]
        found = {f"link.{key}": "every edge of the graph tells its own" for key in keys}
        if graph.is_directed():
            found["link.duplex"] = "an edge of a directed graph goes one way only"
        return found

    def check(self, n_workers: int) -> None:
        plan = self.plan(n_workers)
        found = len(plan.workers)
        if found != n_workers:
            told = f"left out, which leaves {found}" if self.workers is None else f"found {found}"
            raise ValueError(f"workers: {told}, expected {n_workers} nodes, one for each worker")
        try:
            shortest_paths(plan)
        except ValueError as error:
            raise ValueError(f"workers: {error}") from error

    def plan(self, n_workers: int) -> NetworkPlan:
        graph = parse_graph(self.text, self.format)
        workers = [name for name in graph if name != self.server] if self.workers is None else self.workers
        return NetworkPlan(_wires(graph, self.link), self.server, list(workers), graph.is_directed())


def _wires(graph: Any, link: Link) -> list[Wire]:
    wires = []
    for source, target, attributes in graph.edges(data=True):
        place = f"the edge from {source!r} to {target!r}"
        wires.append(Wire(source, target, _overridden(link, attributes, place)))
        if graph.is_directed() and wires[-1].link.duplex == "half":
            raise ValueError(f"{place}: found half duplex, but an edge of a directed graph goes one way only")
    return wires


def _overridden(link: Link, attributes: dict[str, Any], place: str) -> Link:
    """Return the link with what its edge says of itself.

    Raises:
        ValueError: one sentence on what is wrong with an attribute.
    """
    for name, value in attributes.items():
        if name in EXPECTED:
            if not _is_possible(name, value):
                raise ValueError(f"{place}: {name}: found {value!r}, expected {EXPECTED[name]}")
        # Files from elsewhere have attributes of their own; one that looks like ours is a mistake.
        elif name in Link.model_fields or close(name, EXPECTED):
            known = ", ".join(EXPECTED)
            raise ValueError(
                f"{place}: {name}: no attribute of an edge{nearest(name, EXPECTED)} (known: {known})"
            )
    own = {name: value for name, value in attributes.items() if name in EXPECTED}
    if "latency_s" in own:
        own["latency"] = Constant(value_s=own.pop("latency_s"))
    try:
        return Link(**{name: getattr(link, name) for name in Link.model_fields} | own)
    except ValueError as error:
        raise ValueError(f"{place}: loss: found {own.get('loss')}, expected retransmit_s as well") from error


def _is_possible(name: str, value: Any) -> bool:
    if name == "duplex":
        return value in ("full", "half")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if name == "loss":
        return 0 <= value < 1
    return value >= 0 if name == "latency_s" else value > 0


def _bad(sentence: str) -> PydanticCustomError:
    # As an argument, not as the template: a path may hold braces.
    return PydanticCustomError("bad_graph", "{sentence}", {"sentence": sentence})

"""Routes of messages: the shortest paths between the server and each worker."""

from __future__ import annotations

from typing import Any, NamedTuple

from fedsim.timing.network.plan import NetworkPlan


class Hop(NamedTuple):
    """One link of a path."""

    wire: int
    """Its number in the plan."""
    forward: bool
    """From the wire's source to its target."""


Path = tuple[Hop, ...]


class Paths(NamedTuple):
    """The path of each worker's messages; empty where it stands at the server's node."""

    up: list[Path]
    """From the worker to the server."""
    down: list[Path]


def shortest_paths(plan: NetworkPlan) -> Paths:
    """Return the paths of least mean latency, to the nanosecond.

    Of equally fast ones the path with the fewest hops is taken, and of those the one whose nodes, read from
    the server on, come first by name.

    Raises:
        ValueError: a worker and the server cannot reach each other.

    Source: Dijkstra, "A note on two problems in connexion with graphs", Numerische Mathematik, 1959.
    """
    import networkx

    arcs = networkx.DiGraph()
    arcs.add_nodes_from([plan.server, *plan.workers])
    for number, wire in enumerate(plan.wires):
        # Whole nanoseconds: their sums are exact, so that equally fast paths are seen to be equal.
        length = round(1e9 * wire.mean_latency_s)
        arcs.add_edge(wire.source, wire.target, length_ns=length, hop=Hop(number, True))
        if not plan.directed:
            arcs.add_edge(wire.target, wire.source, length_ns=length, hop=Hop(number, False))
    outward, backward = _parents(arcs, plan.server), _parents(arcs.reverse(copy=False), plan.server)
    up, down = [], []
    for worker, node in enumerate(plan.workers):
        if node != plan.server and node not in outward:
            raise ValueError(f"the server at {plan.server!r} cannot reach worker {worker} at {node!r}")
        if node != plan.server and node not in backward:
            raise ValueError(f"worker {worker} at {node!r} cannot reach the server at {plan.server!r}")
        down.append(tuple(arcs.edges[arc]["hop"] for arc in reversed(_arcs(outward, node))))
        up.append(tuple(arcs.edges[end, start]["hop"] for start, end in _arcs(backward, node)))
    return Paths(up, down)


def _parents(arcs: Any, server: str) -> dict[str, str]:
    """Return for each node that the server reaches the one before it on the best path from the server."""
    import networkx

    before, _ = networkx.dijkstra_predecessor_and_distance(arcs, server, weight="length_ns")
    # Any way along these is a fastest one: the fewest hops are found by going level by level.
    fastest = networkx.DiGraph()
    fastest.add_node(server)
    fastest.add_edges_from((start, node) for node, starts in before.items() for start in starts)
    return dict(networkx.bfs_predecessors(fastest, server, sort_neighbors=sorted))


def _arcs(before: dict[str, str], node: str) -> list[tuple[str, str]]:
    """Return the arcs of the path from the server to a node, the last first."""
    arcs = []
    while node in before:
        arcs.append((before[node], node))
        node = before[node]
    return arcs

"""Where the nodes of a graph are drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import networkx as nx

Places = dict[str, tuple[float, float]]
"""The place of each node."""

_MOST_BY_DISTANCE = 200  # nodes; the layout by all distances takes the square of their number
_SEED = 0


def places(links: Sequence[tuple[str, str]], server: str) -> Places:
    """Return where the nodes of a graph are drawn: the same links give the same places.

    Args:
        links: the two ends of each link, in any direction, once or twice; at least one.
        server: the node that a tree puts on top where it is a leaf, away from the others.
    """
    import networkx as nx

    graph = nx.Graph()
    graph.add_edges_from(links)
    if nx.is_tree(graph):
        return radial(graph, server)
    if len(graph) <= _MOST_BY_DISTANCE:
        found = nx.kamada_kawai_layout(graph)
    else:
        found = nx.spring_layout(graph, seed=_SEED)
    return {node: (float(x), float(y)) for node, (x, y) in found.items()}


def radial(tree: nx.Graph, server: str) -> Places:
    """Return a tree around its centre: leaves at equal angles, other nodes in the middle of theirs.

    A node's distance from the middle is the number of links to the centre; a server that is a leaf stands
    half a link further out, so that it can be told from a thousand workers.
    """
    import networkx as nx

    centre = server if server in (middle := nx.center(tree)) else middle[0]
    depth = nx.single_source_shortest_path_length(tree, centre)
    children = {
        node: sorted(nexts, key=lambda child: (child != server, len(child), child))
        for node, nexts in nx.bfs_successors(tree, centre)
    }
    leaves, ahead = [], [centre]
    while ahead:
        node = ahead.pop()
        ahead += reversed(children.get(node, []))
        if node not in children:
            leaves.append(node)
    angles = {leaf: math.pi / 2 - math.tau * number / len(leaves) for number, leaf in enumerate(leaves)}
    for node in reversed(children):  # nodes further out come later in it
        angles[node] = sum(angles[child] for child in children[node]) / len(children[node])
    found = {}
    for node, angle in angles.items():
        radius = depth[node] + (0.5 if node == server and node not in children else 0.0)
        found[node] = (radius * math.cos(angle), radius * math.sin(angle))
    return found

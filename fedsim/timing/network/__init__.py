"""Networks, one per file: what is between the workers' own access lines and the server."""

from __future__ import annotations

from fedsim.timing.network.base import NETWORKS, AnyNetwork, Carrier, LinkUse, Message, Network
from fedsim.timing.network.graph_file import GraphFile
from fedsim.timing.network.hierarchy import Hierarchy
from fedsim.timing.network.random_geometric import RandomGeometric
from fedsim.timing.network.ring import Ring
from fedsim.timing.network.simple import Simple
from fedsim.timing.network.star import Star
from fedsim.timing.network.tree import Tree

NETWORKS.add(Simple, Star, Hierarchy, Tree, Ring, RandomGeometric, GraphFile)

__all__ = ["NETWORKS", "AnyNetwork", "Carrier", "LinkUse", "Message", "Network"]

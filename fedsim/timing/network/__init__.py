"""Networks, one a file: what lies between the workers' own access lines and the server."""

from __future__ import annotations

from fedsim.timing.network.base import NETWORKS, AnyNetwork, Carrier, LinkUse, Message, Network
from fedsim.timing.network.simple import Simple

NETWORKS.add(Simple)

__all__ = ["NETWORKS", "AnyNetwork", "Carrier", "LinkUse", "Message", "Network"]

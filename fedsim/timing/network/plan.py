"""What a network of one kind looks like for so many workers: nodes by name, and the links between them."""

from __future__ import annotations

from typing import NamedTuple

from fedsim.timing.network.links import Link

SERVER = "server"
"""The server's node, where the part names it itself."""


class Wire(NamedTuple):
    """A link at its place."""

    source: str
    target: str
    link: Link
    extra_s: float = 0.0
    """Added to each latency of the link: what its length costs."""

    @property
    def mean_latency_s(self) -> float:
        """The mean time from one end to the other (s)."""
        return self.link.latency.mean_value_s + self.extra_s


class NetworkPlan(NamedTuple):
    """All links, and who stands where."""

    wires: list[Wire]
    """A link's place in this list is its number, part of the address of its draws. What all workers share
    comes first, so that in most kinds a worker more changes no other link's number."""
    server: str
    workers: list[str]
    """The node of each worker."""
    directed: bool = False
    """Whether a wire goes from its source to its target only."""


def worker_node(number: int) -> str:
    """Return the name of a worker's node, where the part names it itself."""
    return f"worker {number}"

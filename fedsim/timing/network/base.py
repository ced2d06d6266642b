"""The network as the clock sees it: how long messages between workers and server take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from fedsim.answering import answers, is_number, opens, processes, refuse
from fedsim.catalog import Family, Part
from fedsim.streams import Streams

if TYPE_CHECKING:
    import simpy


class Message(NamedTuple):
    """A message on its way, and what its worker's own access to the network does to it."""

    worker: int
    job: int
    """With `worker` and `up` the address of everything drawn for this message."""
    up: bool
    """From the worker to the server, or the other way."""
    n_bytes: int
    latency_s: float
    """Of the worker's access, slow-down included."""
    s_per_byte: float
    """Seconds per byte that the access takes if nothing else is slower, slow-down included; 0: no limit."""


class LinkUse(NamedTuple):
    """One direction of a link at the end of a run; a half-duplex link has one row for both."""

    source: str
    target: str
    mbps: float
    """Infinite where the link has no limit."""
    n_bytes: float
    """What it has carried, with what was sent again; of what was given up as much as had been sent."""
    busy_s: float
    """How long at least one message was being sent over it."""
    utilisation: float
    """What it has carried, of what it could have in the simulated time; 0 without a limit."""


class Carrier(Protocol):
    """Carries messages in simulated time."""

    def carry(self, message: Message) -> Generator[simpy.Event, object, None]:
        """Return when the message has arrived.

        Where its worker goes down meanwhile, `Interrupt` is thrown in and the message is given up.
        """
        ...

    def links(self, end_s: float) -> list[LinkUse]:
        """Return the use of each link in [0, `end_s`)."""
        ...


def _uses(part: Part, name: str, given: list[Any], answer: Any) -> list[LinkUse]:
    if not isinstance(answer, list) or not all(isinstance(use, LinkUse) for use in answer):
        refuse(name, answer, "a list of LinkUse")
    for use in answer:
        if not all(is_number(value) and value >= 0 for value in use[2:]):
            refuse(name, use, "numbers from 0")
    return answer


class Network(Part):
    """What is between the workers' own access lines and the server."""

    @abstractmethod
    @answers(opens({"carry": processes, "links": _uses}, copies=False, or_none=True))
    def open(self, env: simpy.Environment, streams: Streams, groups: Sequence[int]) -> Carrier | None:
        """Return the running network; none where messages do not disturb each other.

        Without a carrier a message takes its own access time, which its worker waits for by itself: much the
        cheapest.

        Args:
            env: the simulation.
            streams: the randomness of the run.
            groups: the number of each worker's group.
        """

    def instant(self, n_workers: int, has_bytes: bool) -> bool:
        """Return whether it is certain that it adds no time to the workers' own access lines.

        Args:
            n_workers: how many there are.
            has_bytes: whether any message has more than none.
        """
        return False

    def check(self, n_workers: int) -> None:
        """Check what depends on the number of workers.

        Raises:
            ValueError: one sentence with the place, what was found and what was expected.
        """


# Listed in __init__.py.
NETWORKS = Family("networks", Network)
AnyNetwork = Annotated[Network, NETWORKS]

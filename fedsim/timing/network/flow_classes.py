"""Flows, and the classes of those that always have the same rate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import numpy as np
import simpy
from numpy.typing import NDArray

from fedsim.timing.network.fair_shares import fair_shares

if TYPE_CHECKING:
    from fedsim.timing.network.flow_cluster import FlowCluster

FASTEST_BYTES_S = 1e300
"""Stands for an infinite rate, which times no time at all would be no number."""

Key = tuple[tuple[int, ...], float]
"""What the flows of a class have in common: the places of their channels, and what one may send at most."""


class Flow(simpy.Event):
    """Bytes on their way, which happens when the last of them is sent.

    Args:
        env: the simulation.
        number: counts flows in the order in which they began.
        route: the channels.
        n_bytes: how many.
        most_bytes_s: what it may send at most.
    """

    def __init__(
        self, env: simpy.Environment, number: int, route: tuple[int, ...], n_bytes: float, most_bytes_s: float
    ) -> None:
        super().__init__(env)
        self.number = number
        self.route = route
        self.n_bytes = n_bytes
        self.most_bytes_s = most_bytes_s
        self.row = 0
        """Of its class."""
        self.mark = 0.0
        """It has ended when its class has sent so many bytes for each of its flows."""
        self.cluster: FlowCluster | None = None
        """Where it is; none once it has ended."""
        self.sending = False
        """Whether its channels count it among their senders."""


class FlowClasses:
    """Flows that share channels, a row of the arrays for all that have the same channels and the same limit.

    A class counts the bytes that it has sent for each of its flows since it began: `served`, at the instant
    `since`, and growing by its rate. A flow that begins puts its mark so many bytes further, and has ended
    when the count reaches it: what one flow does costs the others of its class nothing. As the count grows by
    the rate times the time, a mark is about as exact as an instant.

    Source: the virtual time of Parekh and Gallager, "A generalized processor sharing approach to flow control
    in integrated services networks: the single-node case", IEEE/ACM Transactions on Networking, 1993.
    """

    def __init__(self) -> None:
        # Place 0 is a channel without limit that fills up short routes.
        self._capacities = np.array([math.inf])
        self._rows: dict[Key, int] = {}
        self._keys: list[Key] = []
        self._marks: list[list[tuple[float, int, Flow]]] = []
        """For each row, a heap of (mark, number, flow)."""
        self._free: list[int] = []
        self._emptied: set[int] = set()
        self._routes = np.zeros((1, 0), dtype=np.intp)
        self._use(np.zeros((7, 0)))

    def _use(self, table: NDArray[np.float64]) -> None:
        self._table = table
        self._most, self._counts, self._rate, self._served, self._since = table[:5]
        # The least mark of each row, and when it will be reached if no rate changes any more.
        self._head, self._finish_s = table[5:]

    def new_place(self, bytes_s: float) -> int:
        """Return the place of one more channel."""
        self._capacities = np.append(self._capacities, bytes_s)
        return len(self._capacities) - 1

    def set_capacity(self, place: int, bytes_s: float) -> None:
        """A channel's capacity changes; settle afterwards."""
        self._capacities[place] = bytes_s

    def begin(self, flow: Flow, places: tuple[int, ...], n_bytes: float, now_s: float) -> None:
        """A flow joins the class of these places, with so many bytes to go; settle afterwards."""
        key = (places, flow.most_bytes_s)
        row = self._rows[key] if key in self._rows else self._new_row(key)
        flow.row, flow.mark = row, self._served_bytes(row, now_s) + n_bytes
        heappush(self._marks[row], (flow.mark, flow.number, flow))
        self._recount(row)

    def take_out(self, flow: Flow, now_s: float) -> float:
        """A flow leaves before its end; return the bytes that it has yet to send. Settle afterwards."""
        n_bytes = self.left(flow, now_s)
        marks = self._marks[flow.row]
        marks.remove((flow.mark, flow.number, flow))
        heapify(marks)
        self._recount(flow.row)
        return n_bytes

    def take_ended(self, now_s: float) -> list[Flow]:
        """Take out and return the flows that have ended, those that began first first; settle afterwards."""
        flows = []
        for row in (self._finish_s <= now_s).nonzero()[0].tolist():
            marks, rate = self._marks[row], self._rate.item(row)
            since_s, served = self._since.item(row), self._served.item(row)
            while marks and (marks[0][0] - served) / rate + since_s <= now_s:
                flows.append(heappop(marks)[2])
            self._recount(row)
        return sorted(flows, key=lambda flow: flow.number)

    def settle(self, now_s: float) -> list[int]:
        """Give all flows their rates from now on; return the rows that begin to send or stand still."""
        self._forget_empty_rows()
        rates, rate = self._rates(), self._rate
        moving = rates > 0
        turned: list[int] = (moving != (rate > 0)).nonzero()[0].tolist()
        # The count is brought up to date only where the rate changes: all else stays as it is, bit for bit.
        changed = rates != rate
        np.copyto(self._served, self._served + rate * (now_s - self._since), where=changed)
        np.copyto(self._since, now_s, where=changed)
        rate[:] = rates
        self._finish_s.fill(math.inf)
        np.divide(self._head - self._served, rate, out=self._finish_s, where=moving)
        self._finish_s += self._since
        return turned

    @property
    def first_finish_s(self) -> float:
        """When the first flow will end if nothing happens any more (s), as of the last settlement."""
        return self._finish_s.min().item()

    def moves(self, row: int) -> bool:
        """Whether the flows of a row send."""
        return self._rate.item(row) > 0

    def of_row(self, row: int) -> list[Flow]:
        """Return the flows of a row."""
        return [flow for _, _, flow in self._marks[row]]

    def __iter__(self) -> Iterator[Flow]:
        return (flow for row in range(len(self._marks)) for flow in self.of_row(row))

    def left(self, flow: Flow, now_s: float) -> float:
        """Return the bytes that a flow has yet to send."""
        return flow.mark - self._served_bytes(flow.row, now_s)

    def _served_bytes(self, row: int, now_s: float) -> float:
        return self._served.item(row) + self._rate.item(row) * (now_s - self._since.item(row))

    def _rates(self) -> NDArray[np.float64]:
        if len(self._rows) > 1:
            rates = fair_shares(self._routes, self._most, self._counts, self._capacities)
            return np.minimum(rates, FASTEST_BYTES_S)
        rates = np.zeros(len(self._marks))
        for (places, most_bytes_s), row in self._rows.items():
            shares = [self._capacities.item(place) / len(self._marks[row]) for place in places]
            rates[row] = min(most_bytes_s, FASTEST_BYTES_S, *shares)
        return rates

    def _recount(self, row: int) -> None:
        marks = self._marks[row]
        self._counts[row] = len(marks)
        if marks:
            self._head[row] = marks[0][0]
        else:
            self._emptied.add(row)

    def _forget_empty_rows(self) -> None:
        for row in sorted(self._emptied):
            if not self._marks[row]:
                del self._rows[self._keys[row]]
                self._rate[row] = self._served[row] = 0.0
                self._free.append(row)
        self._emptied.clear()

    def _new_row(self, key: Key) -> int:
        places, most_bytes_s = key
        deeper = max(0, len(places) - len(self._routes))
        more = 0 if self._free else max(1, len(self._marks))
        if deeper or more:
            self._routes = np.pad(self._routes, ((0, deeper), (0, more)))
            self._use(np.pad(self._table, ((0, 0), (0, more))))
            self._free += range(len(self._marks) + more - 1, len(self._marks) - 1, -1)
            self._finish_s[len(self._marks) :] = math.inf
            self._marks += [[] for _ in range(more)]
            self._keys += [key] * more
        row = self._free.pop()
        self._routes[:, row] = places + (0,) * (len(self._routes) - len(places))
        self._most[row] = most_bytes_s
        self._rows[key], self._keys[row] = row, key
        return row

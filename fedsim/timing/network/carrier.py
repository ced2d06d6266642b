"""Messages on their way through a graph of links."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

from simpy.exceptions import Interrupt

from fedsim.streams import Stream, Streams
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.network.base import LinkUse, Message
from fedsim.timing.network.channels import Channels
from fedsim.timing.network.flows import Flows
from fedsim.timing.network.link_states import LinkState, changes_s
from fedsim.timing.network.plan import NetworkPlan
from fedsim.timing.network.resent import Repetition, Resent
from fedsim.timing.network.routes import Path, Paths
from fedsim.timing.network.unlimited_use import UnlimitedUse

if TYPE_CHECKING:
    import simpy


class Route(NamedTuple):
    """What a message meets on its way, in this order."""

    channels: tuple[int, ...]
    most_bytes_s: float
    """What the links that are its worker's own let through."""
    states: tuple[LinkState, ...]
    """Of the links on it that may be down."""
    latency_s: float
    """The sum of all that is the same for each message."""
    delays: tuple[Delay, ...]
    """The latencies that are drawn for each message."""
    losses: tuple[tuple[int, float, float], ...]
    """Of each hop that loses messages: its channel, the probability, and what a loss costs (s)."""


class GraphCarrier:
    """Sends messages over the links of a graph.

    First all bytes of a message are sent, over all links of its route at once, at the rate that max-min
    fairness leaves it and its worker's access line allows. Then it is on its way for the latencies of the
    access and of each hop, and for what losses cost. A message of job j draws its latencies, hop by hop, at
    the address (HOP, worker, 2 j + 1 on the way up and 2 j on the way down), its losses at (LOSS, the same).

    A worker has one message under way at a time. A link that nobody else uses is therefore like an access
    line: it limits its worker's messages, and nothing has to be shared out.

    Args:
        env: the simulation.
        streams: the randomness of the run.
        plan: nodes and links.
        paths: the way of each worker's messages.

    Source: the flow level of Bertsekas and Gallager, Data Networks, 2nd edition, 1992, section 6.5.2, with
    the cut-through of Kermani and Kleinrock, "Virtual cut-through", Computer Networks, 1979.
    """

    def __init__(self, env: simpy.Environment, streams: Streams, plan: NetworkPlan, paths: Paths) -> None:
        self._env = env
        self._streams = streams
        self._channels = channels = Channels(plan)
        self._resent = Resent(len(channels.ends))
        links = [wire.link for wire in plan.wires]
        flaky = {number: link for number, link in enumerate(links) if link.is_flaky}
        changing = {channel for number in flaky for channel in channels.of(number)}
        self._own = channels.private(paths)
        shared_bytes_s = [
            math.inf if channel in self._own else capacity
            for channel, capacity in enumerate(channels.capacities_bytes_s)
        ]
        limited = bool(flaky) or any(link.mbps is not None for link in links)
        self._flows = Flows(env, shared_bytes_s, changing) if limited else None
        self._unlimited = UnlimitedUse(len(channels.ends))
        self._states: dict[int, LinkState] = {}
        for number, link in flaky.items():
            assert self._flows is not None
            both, changes = sorted(set(channels.of(number))), changes_s(link, streams, number)
            self._states[number] = LinkState(env, self._flows, both, link.capacity_bytes_s, changes)
        self._up = [self._route(plan, path) for path in paths.up]
        self._down = [self._route(plan, path) for path in paths.down]

    def _route(self, plan: NetworkPlan, path: Path) -> Route:
        wires = [plan.wires[hop.wire] for hop in path]
        channels = self._channels.passed(path)
        capacities = self._channels.capacities_bytes_s
        delays = [wire.link.latency for wire in wires]
        fixed_s = math.fsum(delay.value_s for delay in delays if isinstance(delay, Constant))
        return Route(
            channels,
            min((capacities[channel] for channel in channels if channel in self._own), default=math.inf),
            tuple(self._states[hop.wire] for hop in path if hop.wire in self._states),
            fixed_s + math.fsum(wire.extra_s for wire in wires),
            tuple(delay for delay in delays if not isinstance(delay, Constant)),
            tuple(
                (channel, wire.link.loss, wire.link.retransmit_s or 0.0)
                for channel, wire in zip(channels, wires, strict=True)
                if wire.link.loss > 0
            ),
        )

    def carry(self, message: Message) -> Generator[simpy.Event, object, None]:
        """Return when the message has arrived; see `Carrier`."""
        env, flows = self._env, self._flows
        worker, _, up, n_bytes, latency_s, s_per_byte = message
        route = (self._up if up else self._down)[worker]
        sent_s, transmission, repetition = env.now, None, None
        if flows is None:
            # Nobody disturbs anybody: one wait, and the same instants to the last digit as without a network.
            sending_s = n_bytes * s_per_byte
            sent_s += sending_s
            transmission = self._unlimited.send(route.channels, n_bytes, env.now, sent_s)
            latency_s += sending_s
        else:
            access_bytes_s = 1 / s_per_byte if s_per_byte else math.inf
            yield from self._send(flows, route, n_bytes, min(route.most_bytes_s, access_bytes_s))
            sent_s = env.now
        latency_s += route.latency_s
        if route.delays or route.losses:
            chance_s, repetition = self._chance(route, message, sent_s)
            latency_s += chance_s
        if latency_s > 0:
            try:
                yield env.timeout(latency_s)
            except Interrupt:
                if transmission is not None:
                    self._unlimited.give_up(transmission, env.now)
                if repetition is not None:
                    self._resent.give_up(repetition, env.now)
                raise
        if repetition is not None:
            self._resent.end(repetition)

    def _send(
        self, flows: Flows, route: Route, n_bytes: int, most_bytes_s: float
    ) -> Generator[simpy.Event, object, None]:
        """Return when all bytes are on their way; give the flow up when the worker goes down meanwhile."""
        for state in route.states:
            state.enter()
        sent = flows.send(route.channels, n_bytes, most_bytes_s)
        try:
            if sent is not None:
                yield sent
        except Interrupt:
            assert sent is not None
            flows.give_up(sent)
            raise
        finally:
            for state in route.states:
                state.leave()

    def _chance(self, route: Route, message: Message, sent_s: float) -> tuple[float, Repetition | None]:
        """Return what a message's drawn latencies and losses cost (s), and what is sent again, if anything.

        Args:
            route: of the message.
            message: which.
            sent_s: when its last byte has been sent (s).
        """
        worker, job, up, n_bytes, _, _ = message
        number = 2 * job + up
        seconds, repetition = 0.0, None
        if route.delays:
            generator = self._streams.seat(Stream.HOP, worker, number)
            seconds += sum(delay.sample(generator, 1).item() for delay in route.delays)
        if route.losses:
            generator = self._streams.seat(Stream.LOSS, worker, number)
            hops = []
            for channel, loss, retransmit_s in route.losses:
                losses = int(generator.geometric(1 - loss)) - 1
                hops.append((channel, losses, retransmit_s))
                seconds += losses * retransmit_s
            repetition = self._resent.begin(n_bytes, sent_s, hops)
        return seconds, repetition

    def links(self, end_s: float) -> list[LinkUse]:
        """Return the use of each direction of each link in [0, `end_s`)."""
        carried = self._flows.carried() if self._flows is not None else self._unlimited.carried(end_s)
        resent = self._resent.carried(end_s)
        uses = []
        capacities = self._channels.capacities_bytes_s
        for channel, (source, target) in enumerate(self._channels.ends):
            n_bytes, busy_s = carried[channel]
            possible = capacities[channel] * end_s
            # What is sent again takes no bandwidth, so that it uses none.
            utilisation = n_bytes / possible if 0 < possible < math.inf else 0.0
            n_bytes += resent[channel]
            uses.append(LinkUse(source, target, self._channels.mbps[channel], n_bytes, busy_s, utilisation))
        return uses

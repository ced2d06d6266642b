"""What is known of messages over links, as laws with an exact value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import simpy
from laws import Law, check

from fedsim.streams import Streams
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.network import LinkUse, Message
from fedsim.timing.network.hierarchy import Hierarchy
from fedsim.timing.network.links import Link
from fedsim.timing.network.random_geometric import RandomGeometric
from fedsim.timing.network.star import Star
from fedsim.timing.network.topology import Topology

MEGABIT = 125_000
"""Bytes; one second at 1 Mbit/s."""
ONE = Link(mbps=1.0)


def carried(
    network: Topology,
    messages: Sequence[Message],
    starts_s: Sequence[float] | None = None,
    end_s: float | None = None,
) -> tuple[list[float], list[LinkUse]]:
    """Send messages, all at 0 unless told; return how long each took, and the use of links by the end."""
    env = simpy.Environment()
    n_workers = 1 + max(message.worker for message in messages)
    carrier = network.open(env, Streams(1), [0] * n_workers)
    took_s = [math.nan] * len(messages)

    def send(number: int) -> Any:
        start_s = starts_s[number] if starts_s is not None else 0.0
        yield env.timeout(start_s)
        yield from carrier.carry(messages[number])
        took_s[number] = env.now - start_s

    for number in range(len(messages)):
        env.process(send(number))
    env.run(until=end_s)
    return took_s, carrier.links(env.now)


def message(worker: int, job: int = 0, up: bool = True, n_bytes: int = MEGABIT) -> Message:
    return Message(worker, job, up, n_bytes, latency_s=0.0, s_per_byte=0.0)


@cache
def retransmissions(loss: float, retransmit_s: float) -> Law:
    """The number of losses before the message arrives is geometric.

    Its mean is p / (1 - p), its variance p / (1 - p)^2.
    """
    link = Link(loss=loss, retransmit_s=retransmit_s)
    took_s, _ = carried(Star(link=link, server_link=link), [message(0, job) for job in range(4000)])
    return Law(
        "delay of a message by losses (s)",
        f"two hops that lose {loss:.0%} of messages, {retransmit_s:g} s each time",
        "geometric number of losses; Johnson et al., Univariate Discrete Distributions, 2005, section 5.2",
        2 * retransmit_s * loss / (1 - loss),
        float(np.mean(took_s)),
        retransmit_s * math.sqrt(2 * loss) / (1 - loss) / math.sqrt(len(took_s)),
    )


@cache
def time_up(up: Exponential | Gamma, down: Exponential | Gamma, deviations_s: tuple[float, float]) -> Law:
    """A message that never ends fills the link whenever it is up.

    The share of time up of an alternating renewal process is asymptotically normal around E[up] / (E[up] +
    E[down]) with variance (var(up) E[down]^2 + var(down) E[up]^2) / (E[up] + E[down])^3 / T.
    """
    horizon_s = 20_000.0
    link = Link(mbps=1.0, up=up, down=down)
    _, (use, *_) = carried(Star(server_link=link), [message(0, n_bytes=10**12)], end_s=horizon_s)
    on_s, off_s = up.mean_value_s, down.mean_value_s
    variance = (deviations_s[0] * off_s) ** 2 + (deviations_s[1] * on_s) ** 2
    return Law(
        "share of the time that a link is up",
        f"{up.kind} up times of mean {on_s:g} s, {down.kind} down times of mean {off_s:g} s",
        "alternating renewal process; Ross, Stochastic Processes, 1996, section 3.4.1",
        on_s / (on_s + off_s),
        use.n_bytes / (horizon_s * MEGABIT),
        math.sqrt(variance / (on_s + off_s) ** 3 / horizon_s),
    )


@cache
def equal_uploads(n_workers: int) -> Law:
    """All get the same share, so all end together: n times as late as one alone."""
    took_s, _ = carried(Star(server_link=ONE), [message(worker) for worker in range(n_workers)])
    assert max(took_s) == pytest.approx(min(took_s), rel=1e-9)
    return Law(
        "time of n equal uploads over one link (s)",
        f"n = {n_workers}, 1 Mbit each at 1 Mbit/s",
        "n size / rate; Bertsekas and Gallager, Data Networks, 1992, section 6.5.2",
        float(n_workers),
        float(np.mean(took_s)),
        0.0,
    )


@cache
def uploads_behind_edges(n_workers: int, edges: int) -> Law:
    """Each edge node's link is shared by the workers behind it alone."""
    network = Hierarchy(edges=edges, edge_link=ONE)
    took_s, _ = carried(network, [message(worker) for worker in range(n_workers)])
    return Law(
        "time of equal uploads in a hierarchy (s)",
        f"{n_workers} workers behind {edges} edge nodes, 1 Mbit each, 1 Mbit/s from edge to server",
        "workers of an edge node times size / rate",
        n_workers / edges,
        max(took_s),
        0.0,
    )


@cache
def processor_sharing(shape: float) -> Law:
    """Messages that come at random share a link as jobs share a processor: of their sizes the mean counts.

    The standard error is that of the means of 20 stretches of the run.
    """
    load, n_messages = 0.5, 6000
    generator = np.random.default_rng(7)
    starts_s = np.cumsum(generator.exponential(1 / load, n_messages)).tolist()
    sizes = generator.gamma(shape, MEGABIT / shape, n_messages).round().astype(int).tolist()
    messages = [message(number % 100, number // 100, n_bytes=size) for number, size in enumerate(sizes)]
    took_s, _ = carried(Star(server_link=ONE), messages, starts_s)
    means = np.mean(np.reshape(took_s, (20, -1)), axis=1)
    return Law(
        "M/G/1-PS: time of a message over a shared link (s)",
        f"load {load:g}, sizes gamma of shape {shape:g} and mean 1 Mbit, at 1 Mbit/s",
        "E[S] / (1 - load); Kleinrock, Queueing Systems, volume 2, 1976, section 4.4",
        1 / (1 - load),
        float(means.mean()),
        float(means.std(ddof=1) / math.sqrt(len(means))),
    )


@cache
def links_of_a_random_geometric_graph(radius: float) -> Law:
    """Two points of the unit square are within r <= 1 with probability pi r^2 - 8 r^3 / 3 + r^4 / 2."""
    n_workers, n_graphs = 12, 60
    pairs = n_workers * (n_workers - 1) / 2
    graphs = [RandomGeometric(radius=radius, graph_seed=seed).plan(n_workers) for seed in range(n_graphs)]
    shares = [sum("server" not in wire[:2] for wire in graph.wires) / pairs for graph in graphs]
    return Law(
        "share of pairs of workers with a link, random geometric graph",
        f"radius {radius:g}, {n_graphs} graphs of {n_workers} workers",
        "Philip, The probability distribution of the distance between two random points in a box, 2007",
        math.pi * radius**2 - 8 / 3 * radius**3 + radius**4 / 2,
        float(np.mean(shares)),
        float(np.std(shares, ddof=1) / math.sqrt(n_graphs)),
    )


LAWS = [
    *(partial(retransmissions, *numbers) for numbers in ((0.1, 0.2), (0.6, 1.0))),
    partial(time_up, Exponential(mean_s=4.0), Exponential(mean_s=1.0), (4.0, 1.0)),
    partial(time_up, Gamma(shape=4.0, mean_s=2.0), Exponential(mean_s=3.0), (1.0, 3.0)),
    *(partial(equal_uploads, n_workers) for n_workers in (2, 7, 100)),
    *(partial(uploads_behind_edges, *sizes) for sizes in ((12, 3), (12, 12), (12, 1))),
    *(partial(processor_sharing, shape) for shape in (0.5, 4.0)),
    *(partial(links_of_a_random_geometric_graph, radius) for radius in (0.2, 0.7)),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__}{law.args}")
def test_the_law_holds(law: partial[Law]) -> None:
    check(law)

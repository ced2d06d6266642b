"""What is known of flows that share a channel, as laws with an exact value."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from functools import cache, partial

import numpy as np
import pytest
import simpy
from laws import Law, check
from numpy.typing import NDArray

from fedsim.timing.network.flows import Flows

KLEINROCK = "Kleinrock, Queueing Systems, volume 2, 1976, section 4.4"


SIZES: dict[str, tuple[str, Callable[[np.random.Generator, int], NDArray[np.float64]]]] = {
    "M/M/1-PS": ("exponential sizes", lambda random, n: random.exponential(1.0, n)),
    "M/D/1-PS": ("equal sizes", lambda random, n: np.ones(n)),
    "M/G/1-PS": ("sizes of 0.5 and 5.5 bytes", lambda random, n: random.choice([0.5, 5.5], n, p=[0.9, 0.1])),
}
"""All of mean 1 byte."""


@cache
def mean_sojourn(kind: str, load: float) -> Law:
    """Poisson arrivals of flows over one channel of 1 byte/s share it: processor sharing.

    The mean time in the system is 1 / (mu - lambda), whatever the law of the sizes (insensitivity). Whenever
    a flow finds the channel idle all starts afresh: what happens between two such instants is independent,
    which gives the standard error of the ratio of sums.
    """
    random = np.random.default_rng(11)
    n_flows = 16_000
    words, draw = SIZES[kind]
    gaps, sizes = random.exponential(1 / load, n_flows).tolist(), draw(random, n_flows).tolist()
    env = simpy.Environment()
    flows = Flows(env, [1.0])
    end_s = np.zeros(n_flows)

    def arrivals() -> Generator[simpy.Event, object, None]:
        for number, (gap, size) in enumerate(zip(gaps, sizes, strict=True)):
            yield env.timeout(gap)
            sent = flows.send((0,), size)
            assert sent is not None
            sent.callbacks.append(lambda _, number=number: end_s.__setitem__(number, env.now))

    env.process(arrivals())
    env.run()
    came_s = np.cumsum(gaps)
    found_idle = came_s[1:] >= np.maximum.accumulate(end_s)[:-1]
    period = np.concatenate([[0], np.cumsum(found_idle)])
    mean_s = float((end_s - came_s).mean())
    deviations = np.bincount(period, end_s - came_s - mean_s)
    return Law(
        f"{kind}: mean time of a transfer, 1 / (mu - lambda) (s)",
        f"load {load:g}, {words} of mean 1 byte, 1 byte/s",
        KLEINROCK,
        1 / (1 - load),
        mean_s,
        math.sqrt((deviations**2).sum()) / n_flows,
    )


@cache
def parking_lot(n_links: int) -> Law:
    """Everybody sends without end: over each link of 1 byte/s goes one flow of its own and the long one.

    Max-min fairness gives 1/2 to each flow, together (n + 1) / 2; most would be n, without the long flow.
    """
    env = simpy.Environment()
    flows = Flows(env, [1.0] * n_links)
    sent_bytes = [0.0]

    def sender(route: tuple[int, ...], n_bytes: float) -> Generator[simpy.Event, object, None]:
        while True:
            sent = flows.send(route, n_bytes)
            assert sent is not None
            yield sent
            sent_bytes[0] += n_bytes

    env.process(sender(tuple(range(n_links)), 2.0))
    for link in range(n_links):
        env.process(sender((link,), 1.0))
    # Flows end every 2 s, the long one every 4 s: all that is sent by 1000 s has ended by then.
    env.run(until=1000.5)
    return Law(
        "parking lot: throughput of all flows, (n + 1) / 2 (bytes/s)",
        f"{n_links} links of 1 byte/s, a flow on each and one over all",
        "Bertsekas and Gallager, Data Networks, 1992, section 6.5.2",
        (n_links + 1) / 2,
        sent_bytes[0] / 1000.0,
        0.0,
    )


LAWS = [
    *(
        partial(mean_sojourn, *case)
        for case in (("M/M/1-PS", 0.5), ("M/M/1-PS", 0.7), ("M/D/1-PS", 0.7), ("M/G/1-PS", 0.7))
    ),
    *(partial(parking_lot, n_links) for n_links in (2, 5)),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.func.__name__}{law.args}")
def test_the_law_holds(law):
    check(law)

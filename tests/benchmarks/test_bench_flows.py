"""What flows cost: one class, a thousand classes on one channel, a tree.

The target: 5,000 worker updates per second with 1,000 workers in a star with a shared server link, each with
a message down and one up. So a flow may cost 100 microseconds, its beginning and its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator

import numpy as np
import pytest
import simpy
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.timing.network.flows import Flows

SIZES = [float(size) for size in np.random.default_rng(0).uniform(800, 60_000, 9973)]
NAP_S = 0.1
"""Between two flows of a sender."""


def keep_sending(
    capacities: list[float], routes: list[tuple[int, ...]], most: list[float], n_flows: int
) -> float:
    """Let each sender send one flow after the other and return the simulated time after so many flows (s)."""
    env = simpy.Environment()
    flows = Flows(env, capacities)
    ended, over = 0, env.event()

    def sender(number: int) -> Generator[simpy.Event, object, None]:
        nonlocal ended
        place = 31 * number
        yield env.timeout(NAP_S * SIZES[number] / 60_000)
        while True:
            place = (place + 1) % len(SIZES)
            flow = flows.send(routes[number], SIZES[place], most[number])
            if flow is not None:
                yield flow
            ended += 1
            if ended == n_flows:
                over.succeed()
            yield env.timeout(NAP_S)

    for number in range(len(routes)):
        env.process(sender(number))
    env.run(over)
    return env.now


def one_class(n_flows: int = 10_000, senders: int = 500) -> float:
    """All send over one link."""
    return keep_sending([1e6], [(0,)] * senders, [math.inf] * senders, n_flows)


def thousand_limits(n_flows: int = 4000, senders: int = 1000) -> float:
    """All send over one link, each with a limit of its own, most of them above the fair share."""
    most = np.geomspace(500.0, 50_000.0, senders).tolist()
    return keep_sending([2e6], [(0,)] * senders, most, n_flows)


def thousand_spokes(n_flows: int = 4000, senders: int = 1000) -> float:
    """All send over one link, each by way of a channel of its own, all of different widths."""
    spokes = np.geomspace(500.0, 50_000.0, senders).tolist()
    routes = [(1 + number, 0) for number in range(senders)]
    return keep_sending([2e6, *spokes], routes, [math.inf] * senders, n_flows)


def equal_spokes(n_flows: int = 4000, senders: int = 1000) -> float:
    """All send over one link, each by way of a channel of its own that is wider than the fair share."""
    routes = [(1 + number, 0) for number in range(senders)]
    return keep_sending([2e6, *[1e5] * senders], routes, [math.inf] * senders, n_flows)


def tree(n_flows: int = 4000, senders: int = 500) -> float:
    """Thirty channels of unequal width in two levels below a shared one: 5, and below each of them 5 more."""
    inner = [2e5 * (1 + branch) for branch in range(5)]
    outer = [4e4 * (1 + leaf % 3) for leaf in range(25)]
    routes = [(6 + number % 25, 1 + number % 25 // 5, 0) for number in range(senders)]
    return keep_sending([2e6, *inner, *outer], routes, [math.inf] * senders, n_flows)


CASES: dict[str, Callable[[int], float]] = {
    "one_class": one_class,
    "thousand_limits": thousand_limits,
    "thousand_spokes": thousand_spokes,
    "equal_spokes": equal_spokes,
    "tree": tree,
}


@pytest.mark.parametrize("case", CASES)
def test_flows(benchmark: BenchmarkFixture, case: str) -> None:
    benchmark.extra_info["flows"] = 4000
    benchmark.pedantic(CASES[case], (4000,), rounds=2)

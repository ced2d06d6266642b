"""Max-min fair rates: graphs worked out by hand, a plain twin, and what must hold of every answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.timing.network.fair_shares import fair_shares

INF = math.inf
Route = tuple[int, ...]


def shares(
    routes: Sequence[Route],
    capacities: Sequence[float],
    most: Sequence[float] | None = None,
    counts: Sequence[int] | None = None,
) -> list[float]:
    """Return the rate of each class; routes are filled up with one more channel, without limit."""
    depth = max((len(route) for route in routes), default=0)
    filled = [[*route, *[len(capacities)] * (depth - len(route))] for route in routes]
    return fair_shares(
        np.array(filled, dtype=np.intp).reshape(len(routes), depth).T,
        np.array(most if most is not None else [INF] * len(routes), dtype=float),
        np.array(counts if counts is not None else [1] * len(routes), dtype=float),
        np.array([*capacities, INF]),
    ).tolist()


def plain_shares(routes: Sequence[Route], capacities: Sequence[float], most: Sequence[float]) -> list[float]:
    """Fill progressively, flow by flow: raise all rates together until somebody must stop."""
    rates = [0.0] * len(routes)
    rising = set(range(len(routes)))
    while rising:
        steps = [most[flow] - rates[flow] for flow in rising]
        for channel, capacity in enumerate(capacities):
            on = [flow for flow in range(len(routes)) if channel in routes[flow]]
            n_rising = len(rising.intersection(on))
            if n_rising:
                steps.append((capacity - sum(rates[flow] for flow in on)) / n_rising)
        step = max(0.0, min(steps))
        for flow in rising:
            rates[flow] += step
        if step == INF:
            break
        full = {
            channel
            for channel, capacity in enumerate(capacities)
            if sum(rate for rate, route in zip(rates, routes, strict=True) if channel in route)
            >= capacity * (1 - 1e-12)
        }
        rising = {
            flow
            for flow in rising
            if rates[flow] < most[flow] * (1 - 1e-12) and not full.intersection(routes[flow])
        }
    return rates


# Each worked out by hand: all rates rise together; who meets a full channel, or its own limit, stops.
BY_HAND = {
    # Parking lot: one flow over all three links, and one on each. The links of 12, 6, 12 are full at 3 on the
    # middle one; the others then go on to 12 - 3 = 9.
    "parking lot": ([(0, 1, 2), (0,), (1,), (2,)], [12, 6, 12], None, None, [3, 9, 3, 9]),
    # Dumbbell: two senders by links of 10 and 4, one bar of 9, receivers by links of 20. At 4 the second's
    # own link is full (the bar carries 8), the first goes on to 9 - 4 = 5.
    "dumbbell": ([(0, 2, 3), (1, 2, 4)], [10, 4, 9, 20, 20], None, None, [5, 4]),
    # Asymmetric star: spokes of 1, 2 and 8, the last for two flows, to a server link of 9. Spokes full at 1
    # and at 2; then 9 - 3 = 6 is left for two, 3 each, less than the 4 that their spoke would give.
    "asymmetric star": ([(0, 3), (1, 3), (2, 3), (2, 3)], [1, 2, 8, 9], None, None, [1, 2, 3, 3]),
    # Bertsekas and Gallager, section 6.5.2: links of 1; sessions 2, 3 and 5 on the first, full at 1/3;
    # sessions 1 and 3 on the second, where 2/3 are left for session 1; session 4 alone on the third.
    "three links": ([(1,), (0,), (0, 1), (2,), (0,)], [1, 1, 1], None, None, [2 / 3, 1 / 3, 1 / 3, 1, 1 / 3]),
    # A limit of its own below the share 12 / 3 = 4: it stops at 2, the others share 10.
    "a limit below the share": ([(0,)] * 3, [12], [2, INF, 100], None, [2, 5, 5]),
    # The same with the limits just met: 12 = 2 + 5 + 5.
    "limits that just fit": ([(0,)] * 3, [12], [2, 5, 5], None, [2, 5, 5]),
    # Half duplex: two flows one way and one the other share a single channel.
    "half duplex": ([(0, 1), (0, 2), (3, 0)], [9, 100, 100, 100], None, None, [3, 3, 3]),
    # Two bottlenecks in series: a flow over links of 10 and 4 with one more on each. The second is full at 2;
    # the other on the first gets 10 - 2 = 8. One more flow on the first, limited to 1, leaves it 7.
    "two in series": ([(0, 1), (0,), (1,), (0,)], [10, 4], [INF, INF, INF, 1], None, [2, 7, 2, 1]),
    # Classes: three flows on the first link of 10 alone, two that go on over a link of 3. The second link is
    # full at 3 / 2; then (10 - 3) / 3.
    "classes": ([(0,), (0, 1)], [10, 3], None, [3, 2], [7 / 3, 1.5]),
    # A chain of bottlenecks: two share the first link of 2, so that the second, of 5, has 4 left for its
    # other flow, and the third, of 10, has 6 left.
    "chain": ([(0,), (0, 1), (1, 2), (2,)], [2, 5, 10], None, None, [1, 1, 4, 6]),
    "a link that is down": ([(0, 1), (0,), (1,)], [0, 7], None, None, [0, 0, 7]),
    "no limits": ([(), (0,), ()], [INF], [INF, INF, 3], None, [INF, INF, 3]),
    "a class without flows": ([(0,), (0,)], [8], None, [0, 4], [0, 2]),
    "no classes": ([], [1], None, None, []),
}


@pytest.mark.parametrize(
    ("routes", "capacities", "most", "counts", "rates"), BY_HAND.values(), ids=BY_HAND.keys()
)
def test_graphs_worked_out_by_hand(routes, capacities, most, counts, rates):
    assert shares(routes, capacities, most, counts) == pytest.approx(rates, rel=1e-12)
    if counts is None:
        assert plain_shares(routes, capacities, most or [INF] * len(routes)) == pytest.approx(rates, rel=1e-9)


speeds = st.floats(0.01, 1000.0) | st.integers(1, 12).map(float)
capacity_lists = st.lists(speeds | st.sampled_from([INF, 0.0]), min_size=1, max_size=6)


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Route], list[float], list[float], list[int]]:
    """Return routes, capacities, limits and numbers of flows."""
    capacities = draw(capacity_lists)
    routes = st.sets(st.integers(0, len(capacities) - 1), max_size=4).map(lambda found: tuple(sorted(found)))
    classes = draw(st.lists(st.tuples(routes, speeds | st.just(INF), st.integers(1, 4)), max_size=8))
    return (
        [route for route, _, _ in classes],
        capacities,
        [most for _, most, _ in classes],
        [count for _, _, count in classes],
    )


@settings(deadline=None, max_examples=200)
@given(networks())
def test_classes_and_single_flows_and_the_plain_twin_agree(network):
    routes, capacities, most, counts = network
    single = [index for index, count in enumerate(counts) for _ in range(count)]
    found = shares(routes, capacities, most, counts)
    one_by_one = shares([routes[k] for k in single], capacities, [most[k] for k in single])
    plain = plain_shares([routes[k] for k in single], capacities, [most[k] for k in single])
    assert one_by_one == pytest.approx([found[k] for k in single], rel=1e-9, abs=1e-12)
    assert plain == pytest.approx(one_by_one, rel=1e-7, abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(networks())
def test_no_channel_is_overloaded_and_every_flow_has_a_bottleneck(network):
    routes, capacities, most, counts = network
    rates = shares(routes, capacities, most, counts)
    classes = list(zip(routes, most, counts, rates, strict=True))
    loads = [
        sum(count * rate for route, _, count, rate in classes if channel in route)
        for channel in range(len(capacities))
    ]
    for load, capacity in zip(loads, capacities, strict=True):
        assert load <= capacity * (1 + 1e-9)
    for route, limit, _, rate in classes:
        assert rate <= limit
        assert rate == limit or any(
            loads[channel] >= capacities[channel] * (1 - 1e-9)
            and all(other <= rate * (1 + 1e-9) for on, _, _, other in classes if channel in on)
            for channel in route
        )


@settings(deadline=None)
@given(st.lists(speeds | st.just(INF), min_size=1, max_size=8), speeds, speeds | st.just(INF))
def test_one_more_flow_speeds_up_nobody_on_a_shared_channel(most, capacity, one_more):
    before = shares([(0,)] * len(most), [capacity], most)
    after = shares([(0,)] * (len(most) + 1), [capacity], [*most, one_more])[:-1]
    assert all(now <= then * (1 + 1e-12) for now, then in zip(after, before, strict=True))


def test_a_large_star_is_solved_like_its_plain_twin():
    """Sixty spokes of different widths and limits, two shared links: many turns of filling."""
    random = np.random.default_rng(5)
    capacities = [40.0, 90.0, *random.lognormal(0.0, 1.0, 60)]
    routes = [(2 + number, number % 2, 1 - number % 2)[: 2 + number % 3 // 2] for number in range(60)]
    most = random.lognormal(0.0, 1.0, 60).tolist()
    assert shares(routes, capacities, most) == pytest.approx(plain_shares(routes, capacities, most), rel=1e-9)

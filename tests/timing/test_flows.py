"""Flows in simulated time: hand-worked transfers, and a plain twin that computes all anew at each event."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fair_shares import plain_shares

from fedsim.timing.network import flow_classes
from fedsim.timing.network.flow_cluster import FlowCluster
from fedsim.timing.network.flows import Flows

INF = math.inf


class Setting:
    """Flows that begin at given times, and when each of them ends."""

    def __init__(self, *capacities: float, changing: Collection[int] = ()) -> None:
        self.env = simpy.Environment()
        self.flows = Flows(self.env, capacities, changing)
        self.end_s: dict[str, float] = {}
        self.order: list[str] = []
        self.sent: dict[str, Any] = {}

    def at(self, time_s: float, call: Callable[[], object]) -> None:
        def process() -> Generator[simpy.Event, object, None]:
            yield self.env.timeout(time_s)
            call()

        self.env.process(process())

    def send(
        self, name: str, time_s: float, n_bytes: float, route: tuple[int, ...] = (0,), most: float = INF
    ) -> None:
        def process() -> Generator[simpy.Event, object, None]:
            yield self.env.timeout(time_s)
            self.sent[name] = self.flows.send(route, n_bytes, most)
            if self.sent[name] is not None:
                yield self.sent[name]
            self.end_s[name] = self.env.now
            self.order.append(name)

        self.env.process(process())

    def run(self, until_s: float | None = None) -> dict[str, float]:
        self.env.run(until=until_s)
        return self.end_s


def test_one_flow_takes_its_bytes_over_the_capacity():
    setting = Setting(10.0)
    setting.send("a", 2.0, 100.0)
    assert setting.run() == {"a": 12.0}
    assert setting.flows.carried() == [(100.0, 10.0)]


def test_two_flows_that_overlap():
    """a alone for 5 s: 50 bytes. Then 5 bytes/s each: a's other 50 take 10 s; b has 50 left, alone: 5 s."""
    setting = Setting(10.0)
    setting.send("a", 0.0, 100.0)
    setting.send("b", 5.0, 100.0)
    assert setting.run() == {"a": 15.0, "b": 20.0}
    assert setting.flows.carried() == [(200.0, 20.0)]


def test_three_flows_of_unequal_sizes():
    """12 bytes/s. 0 to 2: a 24. 2 to 5: 6 each, a 42, b 18. From 5: 4 each; b's other 12 take 3 s, to 8.

    By 8 a has 54, c 12. Then 6 each: c's other 12 take 2 s, to 10; a has 66. Alone: a's other 36 take 3 s.
    """
    setting = Setting(12.0)
    setting.send("a", 0.0, 102.0)
    setting.send("b", 2.0, 30.0)
    setting.send("c", 5.0, 24.0)
    assert setting.run() == {"b": 8.0, "c": 10.0, "a": 13.0}


def test_a_capacity_that_changes_on_the_way():
    """Two flows at 5 bytes/s each for 4 s, then at 10 each: 20 + 10 t = 100 after 8 s more."""
    setting = Setting(10.0)
    setting.send("a", 0.0, 100.0)
    setting.send("b", 0.0, 100.0)
    setting.at(4.0, lambda: setting.flows.set_capacity(0, 20.0))
    assert setting.run() == {"a": 12.0, "b": 12.0}
    assert setting.flows.carried() == [(200.0, 12.0)]


def test_a_link_that_is_down_for_a_while():
    """30 bytes by 3; nothing from 3 to 10; b comes at 8 and waits too; then 5 each: b's 20 until 14, a alone.

    By 14 a has 50, and 50 more take 5 s. The second channel is busy exactly while b sends.
    """
    setting = Setting(10.0, INF)
    setting.send("a", 0.0, 100.0)
    setting.send("b", 8.0, 20.0, route=(0, 1))
    setting.at(3.0, lambda: setting.flows.set_capacity(0, 0.0))
    setting.at(10.0, lambda: setting.flows.set_capacity(0, 10.0))
    assert setting.run(until_s=9.0) == {}
    assert setting.flows.carried() == [(30.0, 3.0), (0.0, 0.0)]
    assert setting.run() == {"b": 14.0, "a": 19.0}
    assert setting.flows.carried() == [(120.0, 12.0), (20.0, 4.0)]


def test_a_flow_that_is_given_up_frees_its_share_and_stays_counted():
    """5 bytes/s each until 4: 20 bytes. Then a alone: its other 80 take 8 s."""
    setting = Setting(10.0)
    setting.send("a", 0.0, 100.0)
    setting.send("b", 0.0, 100.0)
    setting.at(4.0, lambda: setting.flows.give_up(setting.sent["b"]))
    assert setting.run() == {"a": 12.0}
    assert setting.flows.carried() == [(120.0, 12.0)]
    assert not setting.sent["b"].triggered


def test_giving_up_what_has_ended_does_nothing():
    setting = Setting(10.0)
    setting.send("a", 0.0, 50.0)
    setting.at(7.0, lambda: setting.flows.give_up(setting.sent["a"]))
    assert setting.run() == {"a": 5.0}
    assert setting.flows.carried() == [(50.0, 5.0)]


def test_a_flow_given_up_as_it_begins_has_sent_nothing():
    setting = Setting(10.0)
    setting.send("a", 1.0, 50.0)
    setting.at(1.0, lambda: setting.flows.give_up(setting.sent["a"]))
    assert setting.run() == {}
    assert setting.flows.carried() == [(0.0, 0.0)]


def test_limits_of_their_own_and_a_route_of_two():
    """c may send 1 byte/s only. On the first link of 10 that leaves a and b 4.5 each; b also passes a link
    of 3.

    So b has 3, a 6: a's 60 until 10, c's 10 until 10, b's 60 until 20.
    """
    setting = Setting(10.0, 3.0)
    setting.send("a", 0.0, 60.0)
    setting.send("b", 0.0, 60.0, route=(1, 0))
    setting.send("c", 0.0, 10.0, most=1.0)
    assert setting.run() == {"a": 10.0, "c": 10.0, "b": 20.0}
    assert setting.flows.carried() == [(130.0, 20.0), (60.0, 20.0)]


def test_what_nothing_limits_takes_no_time_and_no_event():
    env = simpy.Environment()
    flows = Flows(env, [INF, 5.0])
    assert flows.send((0,), 1e9) is None
    assert flows.send((), 1e9) is None
    assert flows.send((1,), 0.0) is None
    assert env.peek() == INF
    assert flows.carried() == [(1e9, 0.0), (0.0, 0.0)]


def test_a_limit_of_its_own_counts_without_any_other():
    setting = Setting(INF)
    setting.send("a", 1.0, 40.0, most=8.0)
    setting.send("b", 2.0, 40.0, most=8.0)
    setting.send("c", 2.0, 40.0, route=(), most=4.0)
    assert setting.run() == {"a": 6.0, "b": 7.0, "c": 12.0}
    assert setting.flows.carried() == [(80.0, 6.0)]


def test_a_link_without_limit_that_goes_down_and_comes_up():
    """a has sent 16 of its 40 bytes when the link goes down at 2, and goes on at 7: 24 bytes more take 3 s.

    b has no limit at all: it waits for the link only.
    """
    setting = Setting(INF, changing={0})
    setting.send("a", 0.0, 40.0, most=8.0)
    setting.send("b", 4.0, 1e6)
    setting.at(2.0, lambda: setting.flows.set_capacity(0, 0.0))
    setting.at(7.0, lambda: setting.flows.set_capacity(0, INF))
    while setting.env.peek() < INF:
        setting.env.step()
        assert all(math.isfinite(n_bytes) for n_bytes, _ in setting.flows.carried())
    assert setting.end_s == {"b": 7.0, "a": 10.0}
    n_bytes, busy_s = setting.flows.carried()[0]
    assert (n_bytes, busy_s) == (1e6 + 40.0, 5.0)


def test_a_route_that_joins_two_links_leaves_the_flows_on_them_as_they_were():
    """a and b send alone until c joins their links at 4, with 40 and 32 bytes done.

    c passes both: 4 bytes/s by the second one, so that a goes on at 6 and b at 4. a's other 60 take 10 s; b's
    other 68 take 17 s, c's 40 take 10 s: at 14 c has ended, b has 28 bytes left for 8 bytes/s: 3.5 s.
    """
    setting = Setting(10.0, 8.0)
    setting.send("a", 0.0, 100.0)
    setting.send("b", 0.0, 100.0, route=(1,))
    setting.send("c", 4.0, 40.0, route=(0, 1))
    assert setting.run() == {"a": 14.0, "c": 14.0, "b": 17.5}
    assert setting.flows.carried() == [(140.0, 14.0), (140.0, 17.5)]


def test_all_that_happens_in_an_instant_is_settled_once(monkeypatch):
    calls = []
    real = flow_classes.FlowClasses.settle
    monkeypatch.setattr(
        flow_classes.FlowClasses, "settle", lambda self, now_s: (calls.append(now_s), real(self, now_s))[1]
    )
    setting = Setting(10.0)
    for number in range(49):
        setting.send(f"{number}", 1.0, 20.0)
    setting.at(1.0, lambda: setting.flows.set_capacity(0, 100.0))
    # What takes part in the instant by way of other events at the same time is part of it too.
    setting.at(1.0, lambda: setting.send("late", 0.0, 20.0))
    assert set(setting.run().values()) == {11.0}  # 50 times 20 bytes, 100 per second
    assert calls == [1.0, 11.0]


def test_flows_that_end_together_end_in_the_order_in_which_they_began():
    """Classes apart: c, then a, then b begin; all end at 8."""
    setting = Setting(INF, 20.0)
    setting.send("c", 0.0, 40.0, route=(1,), most=5.0)
    setting.send("a", 0.0, 80.0, route=(1,), most=10.0)
    setting.send("b", 4.0, 20.0, route=(1,), most=5.0)
    setting.run()
    assert setting.order == ["c", "a", "b"]
    assert set(setting.end_s.values()) == {8.0}


def test_a_class_that_was_idle_counts_anew():
    """On top of 1e17 bytes a few more would be lost by rounding."""
    setting = Setting(1e17)
    setting.send("a", 0.0, 2e17)
    setting.at(1.0, lambda: setting.flows.set_capacity(0, 2e17))  # brings its count up to date: 1e17
    setting.at(2.0, lambda: setting.flows.set_capacity(0, 2.0))
    setting.send("b", 3.0, 3.0)
    assert setting.run() == {"a": 1.5, "b": 4.5}


def test_a_flow_of_another_kind_that_begins_as_one_ends():
    """b is there before a is found to have ended; it has no rate yet, and does not end with it."""
    setting = Setting(10.0)
    setting.send("a", 0.0, 50.0)
    setting.send("b", 5.0, 10.0, most=2.0)
    assert setting.run() == {"a": 5.0, "b": 10.0}


def test_a_link_that_goes_down_as_a_flow_ends_does_not_stop_it():
    """Not even where the sum of the clock and the rest of the time would be rounded up.

    a is waited for from the end of b on: the rest of the time is then rounded.
    """
    random = np.random.default_rng(2)
    late = 0
    for _ in range(200):
        first_s, last_s = random.uniform(0.5, 0.75), random.uniform(1.6, 2.0)
        late += first_s + (last_s - first_s) > last_s
        setting = Setting(10.0)
        setting.send("a", 0.0, last_s, most=1.0)
        setting.send("b", 0.0, first_s, most=1.0)
        setting.at(last_s, lambda setting=setting: setting.flows.set_capacity(0, 0.0))
        assert setting.run() == {"b": first_s, "a": last_s}
    assert late > 0


def test_a_change_just_before_the_end_does_not_turn_time_back():
    """By rounding a flow may have been sent more than it has, a moment before its end: it then ends at once.

    That takes some looking for: a flow at one rate until `change_s`, at another one from then on.
    """
    random = np.random.default_rng(0)
    first, second, change_s = random.uniform(0.1, 1.0, (3, 20_000))
    served = first * change_s
    n_bytes = served + random.uniform(0.01, 1.0, 20_000)
    before_s = np.nextafter((n_bytes - served) / second + change_s, 0.0)
    found = np.flatnonzero(served + second * (before_s - change_s) > n_bytes)
    assert found.size > 0
    for case in found.tolist():
        setting, carried = Setting(first.item(case)), []
        setting.send("a", 0.0, n_bytes.item(case))
        setting.at(change_s.item(case), partial(setting.flows.set_capacity, 0, second.item(case)))
        setting.at(
            before_s.item(case), lambda books=carried, flows=setting.flows: books.extend(flows.carried())
        )
        # At this rate a byte too many is long ago.
        setting.at(before_s.item(case), partial(setting.flows.set_capacity, 0, 1e-6))
        assert setting.run() == {"a": before_s[case]}
        assert carried[0][0] > n_bytes[case]


def test_a_flow_that_ends_as_its_link_is_joined_to_others_has_ended():
    """Though by rounding it may have some of a byte left, and its link goes down at the same instant."""
    random = np.random.default_rng(5)
    left = 0
    for _ in range(300):
        start_s, rate, n_bytes = random.uniform(0.1, 1.0, 3).tolist()
        end_s = start_s + n_bytes / rate
        left += rate * (end_s - start_s) < n_bytes
        setting = Setting(rate, 10.0, 10.0)
        setting.at(end_s, lambda setting=setting: setting.flows.send((0, 1), 1.0))
        setting.at(end_s, lambda setting=setting: setting.flows.set_capacity(0, 0.0))
        setting.send("a", start_s, n_bytes)
        setting.send("b", 0.0, 1e3, route=(1, 2))
        setting.run(until_s=50.0)
        assert setting.end_s == {"a": end_s}
    assert left > 0


def test_a_flow_ends_at_the_exact_quotient():
    """Begun at whatever time: not a rounding later, nor earlier."""
    for seed in range(200):
        start_s, rate, n_bytes = np.random.default_rng(seed).lognormal(0.0, 3.0, 3).tolist()
        setting = Setting(rate)
        setting.send("a", start_s, n_bytes)
        assert setting.run() == {"a": start_s + n_bytes / rate}


def test_a_cluster_is_not_woken_for_what_it_awaits_already(monkeypatch):
    """Nothing that b to z do changes when a ends, which is what the cluster waits for."""
    woken = []
    real = FlowCluster._wake
    monkeypatch.setattr(FlowCluster, "_wake", lambda self, event: (woken.append(self), real(self, event))[1])
    setting = Setting(100.0)
    setting.send("a", 0.0, 100.0, most=1.0)
    for number in range(50):
        setting.send(f"{number}", 1.0 * number, 1e6, most=0.5)
    setting.run(until_s=101.0)
    assert len(woken) == 1


def test_who_keeps_its_rate_ends_at_the_same_bits():
    """The limit of a class below every share: whatever the others do, its flows end as if alone."""

    def ends_s(with_others: bool) -> list[float]:
        setting = Setting(100.0, 1000.0)
        setting.send("a", 0.1, 10 / 3, most=0.7)
        setting.send("b", 0.2, 7 / 3, route=(0, 1), most=0.7)
        if with_others:
            for number in range(40):
                setting.send(f"{number}", 0.13 * number, 17.1, route=(0, 1) if number % 2 else (0,))
        end_s = setting.run()
        return [end_s["a"], end_s["b"]]

    assert ends_s(False) == ends_s(True)


def test_flows_elsewhere_cost_nothing(monkeypatch):
    """Flows that share no channel, by way of whatever others, are never computed again for each other."""
    settled: list[int] = []
    real = flow_classes.FlowClasses.settle
    monkeypatch.setattr(
        flow_classes.FlowClasses,
        "settle",
        lambda self, now_s: (settled.append(id(self)), real(self, now_s))[1],
    )
    setting = Setting(10.0, 10.0)
    setting.send("a", 0.0, 100.0)
    for number in range(20):
        setting.send(f"{number}", 0.1 * number, 0.5, route=(1,))
    setting.run()
    assert min(settled.count(cluster) for cluster in set(settled)) == 2


@pytest.mark.parametrize("start_s", [0.0, 1.0, 1e9, 2.0**52])
def test_no_flow_gets_stuck_by_rounding(start_s):
    """Late in a simulation the clock is coarse; sizes and rates as odd as can be still come to an end."""
    setting = Setting(1e6 / 3, 1e5 / 7)
    sizes = np.random.default_rng(3).lognormal(0.0, 8.0, 300)
    for number, n_bytes in enumerate(sizes.tolist()):
        route = [(0,), (1,), (0, 1)][number % 3]
        setting.send(f"{number}", start_s + number * 1e-3, n_bytes, route, [INF, 1e4 / 3][number % 2])
    steps = 0
    while setting.env.peek() < INF:
        setting.env.step()
        steps += 1
    assert len(setting.end_s) == 300
    assert steps < 10 * 300
    totals = [sizes.sum() - sizes[1::3].sum(), sizes.sum() - sizes[0::3].sum()]
    assert [n_bytes for n_bytes, _ in setting.flows.carried()] == pytest.approx(totals, rel=1e-12)


class Twin:
    """Flows by brute force: at each event all rates anew, all bytes one by one."""

    def __init__(self, capacities: Sequence[float]) -> None:
        self.capacities = list(capacities)
        self.left: dict[int, float] = {}
        self.plans: dict[int, tuple[tuple[int, ...], float]] = {}
        self.end_s: dict[int, float] = {}
        self.n_bytes = [0.0] * len(capacities)
        self.busy_s = [0.0] * len(capacities)
        self.now_s = 0.0

    def advance(self, to_s: float) -> None:
        """Go on to an instant, from one flow's end to the next."""
        while True:
            names = list(self.left)
            rates = plain_shares(
                [self.plans[name][0] for name in names],
                self.capacities,
                [self.plans[name][1] for name in names],
            )
            lasts = [self.left[name] / rate if rate else INF for name, rate in zip(names, rates, strict=True)]
            step_s = min([to_s - self.now_s, *lasts])
            if step_s == INF:
                return
            for name, rate, last in zip(names, rates, lasts, strict=True):
                sent = self.left[name] if last <= step_s else rate * step_s
                self.left[name] -= sent
                for channel in self.plans[name][0]:
                    self.n_bytes[channel] += sent
                if last <= step_s:
                    del self.left[name]
                    self.end_s[name] = self.now_s + step_s
            moving = {
                channel
                for name, rate in zip(names, rates, strict=True)
                if rate
                for channel in self.plans[name][0]
            }
            for channel in moving:
                self.busy_s[channel] += step_s
            if step_s == to_s - self.now_s:
                self.now_s = to_s
                return
            self.now_s += step_s


def happenings(random: np.random.Generator, n_channels: int) -> list[tuple[float, str, Any]]:
    """Return what happens when, in order: sends, changes of capacity, and flows that are given up."""
    times_s = np.cumsum(random.exponential(1.0, 60) * random.integers(0, 2, 60))
    changing = random.permutation(n_channels)[: random.integers(1, n_channels + 1)].tolist()
    found: list[tuple[float, str, Any]] = []
    sent = 0
    for time_s in times_s.tolist():
        kind = random.choice(["send", "set", "give up"], p=[0.7, 0.2, 0.1])
        if kind == "send":
            length = int(random.integers(0, n_channels + 1))
            route = tuple(random.permutation(n_channels)[:length].tolist())
            most = float(random.choice([1.0, 5.0, 20.0, INF if route else 7.0]))
            found.append((time_s, kind, (route, float(random.lognormal(3.0, 1.0)), most)))
            sent += 1
        elif kind == "set":
            capacity = float(random.choice([0.0, 3.0, 12.0, random.uniform(1.0, 30.0)]))
            found.append((time_s, kind, (int(random.choice(changing)), capacity)))
        elif sent:
            found.append((time_s, kind, int(random.integers(sent))))
    last_s = times_s[-1].item() + 30.0
    return [*found, *((last_s, "set", (channel, 8.0)) for channel in changing)]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_the_engine_agrees_with_a_plain_twin(seed):
    """Random arrivals, sizes, routes, limits, capacities and give-ups: same ends, bytes and busy seconds."""
    random = np.random.default_rng(seed)
    n_channels = int(random.integers(1, 6))
    capacities = random.choice([5.0, 10.0, 33.3, INF], n_channels).tolist()
    env, ends_s, sent = simpy.Environment(), {}, {}
    plan = happenings(random, n_channels)
    changing = {what[0] for _, kind, what in plan if kind == "set"}
    flows, twin = Flows(env, capacities, changing), Twin(capacities)

    def wait(number: int) -> Generator[simpy.Event, object, None]:
        if sent[number] is not None:
            yield sent[number]
        ends_s[number] = env.now

    for time_s, kind, what in plan:
        twin.advance(time_s)
        if time_s > env.now:
            env.run(until=time_s)
        if kind == "send":
            number = len(sent)
            sent[number] = flows.send(*what)
            env.process(wait(number))
            twin.plans[number] = (what[0], what[2])
            twin.left[number] = what[1]
        elif kind == "set":
            flows.set_capacity(*what)
            twin.capacities[what[0]] = what[1]
        elif what in twin.left:
            if sent[what] is not None:
                flows.give_up(sent[what])
            del twin.left[what]
    twin.advance(twin.now_s + 1e4)
    env.run(until=twin.now_s)
    assert ends_s == pytest.approx(twin.end_s, rel=1e-9)
    for (n_bytes, busy_s), expected_bytes, expected_s in zip(
        flows.carried(), twin.n_bytes, twin.busy_s, strict=True
    ):
        assert n_bytes == pytest.approx(expected_bytes, rel=1e-9, abs=1e-9)
        assert busy_s == pytest.approx(expected_s, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_bytes_are_conserved_at_every_instant(seed):
    """What the channels carry is what the flows over them have sent: no more, no less, also half-way."""
    random = np.random.default_rng(seed)
    setting = Setting(*random.uniform(1.0, 20.0, 4))
    expected = np.zeros(4)
    for number in range(40):
        route = tuple(random.permutation(4)[: random.integers(1, 5)].tolist())
        n_bytes = float(random.lognormal(2.0, 1.5))
        setting.send(f"{number}", float(random.uniform(0.0, 30.0)), n_bytes, route, 6.0)
        expected[list(route)] += n_bytes
    before = np.zeros(4)
    for time_s in (5.0, 17.3, 40.0):
        setting.run(until_s=time_s)
        carried = np.array([n_bytes for n_bytes, _ in setting.flows.carried()])
        busy_s = np.array([busy for _, busy in setting.flows.carried()])
        capacities = np.array(setting.flows._capacities)
        assert (carried >= before - 1e-9).all()
        assert (carried <= capacities * busy_s * (1 + 1e-9)).all()
        before = carried
    setting.run()
    assert [n_bytes for n_bytes, _ in setting.flows.carried()] == pytest.approx(expected.tolist(), rel=1e-12)

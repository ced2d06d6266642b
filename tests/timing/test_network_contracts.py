"""What every network of the catalog keeps to. A new kind needs example settings here."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import simpy
from simpy.exceptions import Interrupt

from fedsim.streams import Streams
from fedsim.timing.network import NETWORKS, LinkUse, Message, Network

R = 3
MEGABIT = 125_000
"""Bytes; one second at 1 Mbit/s."""
LINK = {"latency": {"kind": "constant", "value_s": 0.1}, "mbps": 2.0}
CHANCY = {
    "latency": {"kind": "exponential", "mean_s": 0.1},
    "mbps": 2.0,
    "loss": 0.3,
    "retransmit_s": 0.5,
}
GRAPH = {"format": "edge_list", "text": "server a\na b\nserver c", "server": "server"}


class Example(NamedTuple):
    """Settings of a kind, and what a message cannot be faster than."""

    settings: Mapping[str, Any] = MappingProxyType({})
    chancy: Mapping[str, Any] = MappingProxyType({})
    """Settings with chance in them; none: there is no chance in this kind."""
    hops: tuple[int, ...] = (0,) * R
    """How many links of `LINK` each worker's messages cross."""


EXAMPLES = {
    "simple": Example(),
    "star": Example(
        {"link": LINK, "server_link": LINK}, {"link": CHANCY, "server_link": CHANCY}, hops=(2, 2, 2)
    ),
    "hierarchy": Example(
        {"edges": 2, "link": LINK, "edge_link": LINK},
        {"edges": 2, "link": CHANCY, "edge_link": CHANCY},
        hops=(2, 2, 2),
    ),
    # Three leaves need a height of two.
    "tree": Example({"branching": 2, "link": LINK}, {"branching": 2, "link": CHANCY}, hops=(2, 2, 2)),
    "ring": Example({"link": LINK}, {"link": CHANCY}, hops=(1, 2, 1)),
    # Everybody within reach of the server in the middle.
    "random_geometric": Example(
        {"radius": 1.0, "link": LINK}, {"radius": 1.0, "link": CHANCY}, hops=(1, 1, 1)
    ),
    "graph_file": Example({**GRAPH, "link": LINK}, {**GRAPH, "link": CHANCY}, hops=(1, 2, 1)),
}

every_kind = pytest.mark.parametrize("kind", NETWORKS.builtin)
linked = pytest.mark.parametrize("kind", [kind for kind in NETWORKS.builtin if kind != "simple"])


def network(kind: str, chancy: bool = False) -> Network:
    assert kind in EXAMPLES, f"give example settings of {kind!r} in EXAMPLES"
    found = NETWORKS[kind].model_validate(dict(EXAMPLES[kind].chancy if chancy else EXAMPLES[kind].settings))
    assert isinstance(found, Network)
    found.check(R)
    return found


class Sent(NamedTuple):
    """A message, when it is sent, and when its worker goes down."""

    at_s: float
    worker: int
    n_bytes: int = MEGABIT
    up: bool = True
    job: int = 0
    latency_s: float = 0.05
    s_a_byte: float = 8e-6
    down_s: float = math.inf


def carry(
    of: Network, sent: Sequence[Sent], seed: int = 0, end_s: float = 100.0
) -> tuple[list[float], list[LinkUse]]:
    """Return when each message has arrived (s), infinite for one that was given up, and the use of links."""
    env = simpy.Environment()
    carrier = of.open(env, Streams(seed), [0] * R)
    arrived = [math.inf] * len(sent)

    def way(number: int, it: Sent) -> Generator[simpy.Event, object, None]:
        try:
            yield env.timeout(it.at_s)
            if carrier is None:  # each takes its own access time
                yield env.timeout(it.latency_s + it.n_bytes * it.s_a_byte)
            else:
                yield from carrier.carry(
                    Message(*it[1:2], it.job, it.up, it.n_bytes, it.latency_s, it.s_a_byte)
                )
            arrived[number] = env.now
        except Interrupt:
            pass

    def stop(process: simpy.Process, at_s: float) -> Generator[simpy.Event, object, None]:
        yield env.timeout(at_s)
        if process.is_alive:
            process.interrupt()

    for number, it in enumerate(sent):
        process = env.process(way(number, it))
        if it.down_s < math.inf:
            env.process(stop(process, it.down_s))
    env.run(until=end_s)
    return arrived, carrier.links(end_s) if carrier is not None else []


BUSY = [
    Sent(0.3 * (number % R) + 20 * (number // R), number % R, n_bytes, up=number % 2 == 0, job=number)
    for number, n_bytes in enumerate([MEGABIT, 0, 5 * MEGABIT, 1, 40, MEGABIT])
]
"""Messages of all workers in both directions, some at the same time; of one worker never two."""


@every_kind
@pytest.mark.parametrize("chancy", [False, True])
def test_a_message_arrives_and_never_before_its_bytes_can(kind: str, chancy: bool) -> None:
    arrived, _ = carry(network(kind, chancy and bool(EXAMPLES[kind].chancy)), BUSY)
    for it, at_s in zip(BUSY, arrived, strict=True):
        hops = EXAMPLES[kind].hops[it.worker]
        fixed_s = 0.1 * hops if not chancy or not EXAMPLES[kind].chancy else 0.0
        # The access line has 1 Mbit/s and each link twice as much: the access is the narrowest.
        least_s = it.latency_s + it.n_bytes * it.s_a_byte + fixed_s
        assert it.at_s + least_s - 1e-9 <= at_s < math.inf


@every_kind
def test_alone_it_takes_just_that(kind: str) -> None:
    for worker, hops in enumerate(EXAMPLES[kind].hops):
        for up in (True, False):
            for s_a_byte, seconds in ((8e-6, 1.0), (0.0, 0.5 if hops else 0.0)):
                arrived, _ = carry(network(kind), [Sent(1.0, worker, up=up, s_a_byte=s_a_byte)])
                assert arrived == pytest.approx([1.0 + 0.05 + seconds + 0.1 * hops])


@every_kind
def test_the_same_seed_gives_the_same_times(kind: str) -> None:
    chancy = bool(EXAMPLES[kind].chancy)
    of = network(kind, chancy)
    assert carry(of, BUSY) == carry(of, BUSY)
    assert (carry(of, BUSY)[0] != carry(of, BUSY, seed=1)[0]) == chancy


@every_kind
def test_draws_do_not_depend_on_who_else_sends(kind: str) -> None:
    """With links that are never shared, each message arrives when it would alone."""
    of = network(kind, bool(EXAMPLES[kind].chancy))
    small = [Sent(0.0, worker, n_bytes=0, job=worker) for worker in range(R)]
    together, _ = carry(of, small)
    assert together == [carry(of, [it])[0][0] for it in small]
    if EXAMPLES[kind].chancy:
        assert len(set(together)) == R


@linked
@pytest.mark.parametrize("down_s", [0.0, 0.3, 1.0, 1.05, 1.1, 2.0])
def test_a_message_given_up_leaves_nothing_behind(kind: str, down_s: float) -> None:
    of = network(kind)
    given_up = Sent(0.0, 0, down_s=down_s)
    later = [Sent(10.0, worker, job=1, n_bytes=3 * MEGABIT) for worker in range(R)]
    arrived, uses = carry(of, [given_up, *later])
    alone, alone_uses = carry(of, later)
    assert arrived[1:] == pytest.approx(alone)
    assert (arrived[0] < math.inf) == (carry(of, [Sent(0.0, 0)])[0][0] <= down_s)
    spent = [use.n_bytes - before.n_bytes for use, before in zip(uses, alone_uses, strict=True)]
    # What was sent until then is in the books of the links of its way: 1 Mbit/s for at most a second.
    hops = EXAMPLES[kind].hops[0]
    expected = [0.0] * (len(spent) - hops) + [min(down_s, 1.0) * MEGABIT] * hops
    assert sorted(spent) == pytest.approx(expected, abs=1e-3)


@every_kind
@pytest.mark.parametrize("down_s", [0.1, 0.7, 21.0])
def test_others_go_on_when_one_goes_down(kind: str, down_s: float) -> None:
    one_down = [it._replace(down_s=down_s) if it.worker == 0 else it for it in BUSY]
    arrived, _ = carry(network(kind), one_down)
    undisturbed, _ = carry(network(kind), BUSY)
    for it, at_s, before_s in zip(BUSY, arrived, undisturbed, strict=True):
        if it.worker != 0:
            assert at_s <= before_s + 1e-9  # what it does not use any more, others may


@linked
def test_the_books_of_links_add_up(kind: str) -> None:
    end_s = 100.0
    _, uses = carry(network(kind), BUSY, end_s=end_s)
    crossed = sum(it.n_bytes * EXAMPLES[kind].hops[it.worker] for it in BUSY)
    assert sum(use.n_bytes for use in uses) == pytest.approx(crossed)
    for use in uses:
        assert 0 <= use.busy_s <= end_s
        assert use.utilisation == pytest.approx(use.n_bytes / (2e6 / 8 * end_s))
        assert (use.n_bytes > 0) == (use.busy_s > 0)
    _, chancy = carry(network(kind, chancy=True), BUSY, end_s=end_s)
    assert sum(use.n_bytes for use in chancy) >= crossed * (1 - 1e-9)  # sent again

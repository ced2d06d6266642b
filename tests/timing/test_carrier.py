"""Messages over links, worked out by hand: bandwidth, latency, losses, links that are down, and the books."""

from __future__ import annotations

import json
import math
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import simpy
from simpy.exceptions import Interrupt

from fedsim.streams import Stream, Streams
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.network import Message
from fedsim.timing.network.carrier import GraphCarrier
from fedsim.timing.network.graph_file import GraphFile
from fedsim.timing.network.link_states import changes_s
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan, Wire
from fedsim.timing.network.routes import shortest_paths
from fedsim.timing.network.star import Star
from fedsim.timing.network.topology import Topology
from fedsim.timing.outages import Outage

MEGABIT = 125_000
"""Bytes; one second at 1 Mbit/s."""
ONE, TWO = Link(mbps=1.0), Link(mbps=2.0)


def sent(worker: int = 0, n_bytes: int = MEGABIT, up: bool = True, **settings: Any) -> Message:
    return Message(
        **{"worker": worker, "job": 0, "up": up, "n_bytes": n_bytes, "latency_s": 0.0, "s_per_byte": 0.0}
        | settings
    )


class Trial:
    """Messages sent at given times, and when they arrive; none: given up.

    Args:
        network: what they are sent over.
        n_workers: how many there are.
        messages: each with its start (s) and, where it is given up, when (s).
        run_s: when the run ends (s); none: when nothing is left to happen.
    """

    def __init__(
        self,
        network: Topology | NetworkPlan,
        n_workers: int,
        *messages: tuple[float, Message] | tuple[float, Message, float],
        run_s: float | None = None,
    ) -> None:
        self.env = simpy.Environment()
        plan = network.plan(n_workers) if isinstance(network, Topology) else network
        self.carrier = GraphCarrier(self.env, Streams(0), plan, shortest_paths(plan))
        self.arrived: list[float | None] = [None] * len(messages)
        for number, (start_s, message, *stop_s) in enumerate(messages):
            process = self.env.process(self._carry(number, start_s, message))
            for at_s in stop_s:
                self.env.process(self._interrupt(process, at_s))
        self.env.run(run_s)

    def _carry(self, number: int, start_s: float, message: Message) -> Generator[simpy.Event, object, None]:
        try:
            yield self.env.timeout(start_s)
            yield from self.carrier.carry(message)
            self.arrived[number] = self.env.now
        except Interrupt:
            pass

    def _interrupt(self, process: simpy.Process, at_s: float) -> Generator[simpy.Event, object, None]:
        yield self.env.timeout(at_s)
        if process.is_alive:
            process.interrupt()

    def used(self, end_s: float = 10.0) -> dict[str, tuple[float, float]]:
        """Return bytes and busy seconds of each direction that carried anything."""
        rows = self.carrier.links(end_s)
        return {f"{row.source} > {row.target}": (row.n_bytes, row.busy_s) for row in rows if row.n_bytes}


def test_bytes_first_then_latencies() -> None:
    """One megabit over 2 and 1 Mbit/s at once takes 1 s; then 0.05 s of access, 0.1 s and 0.2 s of hops."""
    near = Link(mbps=2.0, latency=Constant(value_s=0.1))
    far = Link(mbps=1.0, latency=Constant(value_s=0.2))
    trial = Trial(Star(link=near, server_link=far), 1, (3.0, sent(latency_s=0.05)))
    assert trial.arrived == [pytest.approx(4.35)]
    assert trial.used() == {"worker 0 > hub": (MEGABIT, 1.0), "hub > server": (MEGABIT, 1.0)}


def test_the_length_of_a_link_is_part_of_its_latency() -> None:
    wires = [
        Wire("w", "a", Link(latency=Constant(value_s=0.25)), extra_s=0.5),
        Wire("a", "s", Link(), extra_s=1.0),
    ]
    plan = NetworkPlan(wires, "s", ["w"])
    assert Trial(plan, 1, (0.0, sent()), (0.0, sent(up=False))).arrived == [1.75, 1.75]


def test_the_access_line_limits_a_message() -> None:
    """Half a megabit per second: 2 s; the other message gets what is left, half of the link."""
    trial = Trial(Star(server_link=ONE), 2, (0.0, sent(s_per_byte=16e-6)), (0.0, sent(1)))
    assert trial.arrived == pytest.approx([2.0, 2.0])
    trial = Trial(Star(server_link=TWO), 2, (0.0, sent(s_per_byte=16e-6)), (0.0, sent(1)))
    assert trial.arrived == pytest.approx([2.0, 1 / 1.5])


def test_two_messages_that_overlap_share_the_link() -> None:
    """The first is alone until 0.5 s, then both have half: at 1.5 s it is done, the other at 2 s."""
    trial = Trial(Star(server_link=ONE), 2, (0.0, sent(0)), (0.5, sent(1)))
    assert trial.arrived == pytest.approx([1.5, 2.0])
    assert trial.used()["hub > server"] == pytest.approx((2 * MEGABIT, 2.0))
    assert trial.used()["worker 1 > hub"] == pytest.approx((MEGABIT, 1.5))


@pytest.mark.parametrize(("duplex", "seconds"), [("full", 1.0), ("half", 2.0)])
def test_both_directions_of_a_half_duplex_link_share_it(duplex: Any, seconds: float) -> None:
    network = Star(server_link=Link(mbps=1.0, duplex=duplex))
    trial = Trial(network, 2, (0.0, sent(0)), (0.0, sent(1, up=False)))
    assert trial.arrived == pytest.approx([seconds, seconds])
    rows = [row for row in trial.carrier.links(4.0) if "server" in row]
    if duplex == "half":
        assert rows == [pytest.approx(("hub", "server", 1.0, 2 * MEGABIT, 2.0, 0.5))]
    else:
        assert rows == [
            pytest.approx(("hub", "server", 1.0, MEGABIT, 1.0, 0.25)),
            pytest.approx(("server", "hub", 1.0, MEGABIT, 1.0, 0.25)),
        ]


def test_each_hop_of_each_message_draws_its_own_latency() -> None:
    delay = Exponential(mean_s=1.0)
    network = Star(link=Link(latency=delay), server_link=Link(latency=delay))
    messages = [sent(worker, job=job, up=up) for worker in (0, 1) for job in (0, 3) for up in (True, False)]
    trial = Trial(network, 2, *((0.0, message) for message in messages))
    expected = []
    for message in messages:
        generator = Streams(0).generator(Stream.HOP, message.worker, 2 * message.job + message.up)
        expected.append(generator.exponential(1.0) + generator.exponential(1.0))
    assert trial.arrived == pytest.approx(expected)
    assert len(set(trial.arrived)) == len(messages)


def losses_of(job: int) -> tuple[int, int]:
    """Return how often the upload of a job of worker 0 is lost on two hops that lose 50 % and 60 %."""
    generator = Streams(0).generator(Stream.LOSS, 0, 2 * job + 1)
    return int(generator.geometric(0.5)) - 1, int(generator.geometric(0.4)) - 1


def test_a_loss_costs_time_and_is_counted() -> None:
    lossy = Star(
        link=Link(loss=0.5, retransmit_s=10.0), server_link=Link(mbps=1.0, loss=0.6, retransmit_s=0.3)
    )
    losses = {job: losses_of(job) for job in range(20)}
    job = next(job for job, (near, far) in losses.items() if near and far > 1 and near != far)
    trial = Trial(lossy, 1, (0.0, sent(job=job)))
    near, far = losses[job]
    assert trial.arrived == [pytest.approx(1.0 + 10.0 * near + 0.3 * far)]
    # Sent again without bandwidth: more bytes, but no more busy seconds and no more utilisation.
    assert trial.used() == {
        "worker 0 > hub": ((1 + near) * MEGABIT, 1.0),
        "hub > server": ((1 + far) * MEGABIT, 1.0),
    }
    assert [row.utilisation for row in trial.carrier.links(4.0)] == [0.25, 0.0, 0.0, 0.0]


def test_the_way_down_loses_messages_of_its_own() -> None:
    network = Star(link=Link(loss=0.5, retransmit_s=1.0))
    messages = [(0.0, sent(job=job, up=up)) for job in range(8) for up in (True, False)]
    arrived = Trial(network, 1, *messages).arrived
    assert arrived[0::2] != arrived[1::2]


def down(*times_s: tuple[float, float], **settings: Any) -> Link:
    outages = tuple(Outage(start_s=start_s, stop_s=stop_s) for start_s, stop_s in times_s)
    return Link(outages=outages, **settings)


def test_a_message_stands_still_while_a_link_is_down() -> None:
    """Half by 0.5 s, nothing until 1.5 s, a quarter by 1.75 s, nothing until 2 s, the rest by 2.25 s."""
    flaky = down((0.5, 1.5), (1.75, 2.0), mbps=1.0)
    trial = Trial(Star(server_link=flaky), 1, (0.0, sent()))
    assert trial.arrived == pytest.approx([2.25])
    # Two outages without a moment between them are one.
    flaky_twice = down((0.5, 1.0), (1.0, 1.5), mbps=1.0)
    assert Trial(Star(server_link=flaky_twice), 1, (0.0, sent())).arrived == pytest.approx([2.0])
    # Sent in an outage, in the last moment of one, and after all of them.
    starts = [(0.7, sent()), (2.0, sent(up=False)), (5.0, sent())]
    assert Trial(Star(server_link=flaky), 1, *starts).arrived == pytest.approx([2.75, 3.0, 6.0])


def test_the_others_have_what_a_halted_message_does_not_use() -> None:
    """Worker 0's own link is down from 0.5 s to 2 s: worker 1 has all of the shared link until it is done."""
    own, shared = Wire("a", "hub", down((0.5, 2.0))), Wire("hub", "s", ONE)
    plan = NetworkPlan([shared, own, Wire("b", "hub", Link())], "s", ["a", "b"])
    assert Trial(plan, 2, (0.0, sent(0)), (0.0, sent(1))).arrived == pytest.approx([2.75, 1.25])


def test_a_link_without_a_limit_may_be_down_too() -> None:
    flaky = Star(server_link=down((0.5, 1.5)))
    messages = [(at_s, sent(latency_s=0.25)) for at_s in (0.0, 0.5, 1.0, 1.5)]
    assert Trial(flaky, 1, *messages).arrived == pytest.approx([0.25, 1.75, 1.75, 1.75])
    # Nothing to send: nothing stands still. What is on its way is no longer on the link.
    assert Trial(flaky, 1, (1.0, sent(n_bytes=0, latency_s=0.25))).arrived == [1.25]
    assert Trial(flaky, 1, (0.4, sent(latency_s=0.25))).arrived == [0.65]


def test_up_and_down_take_turns_as_drawn() -> None:
    link = Link(up=Exponential(mean_s=3.0), down=Exponential(mean_s=1.0))
    changes = changes_s(link, Streams(5), 7)
    drawn = [
        Streams(5).generator(Stream.LINK_STATE, 7, stretch).exponential(1.0 if stretch % 2 else 3.0)
        for stretch in range(6)
    ]
    assert [next(changes) for _ in range(6)] == pytest.approx(np.cumsum(drawn).tolist())


def test_each_link_has_ups_and_downs_of_its_own() -> None:
    flaky = Link(mbps=1.0, up=Exponential(mean_s=0.3), down=Exponential(mean_s=0.3))
    trial = Trial(Star(link=flaky), 2, (0.0, sent(0)), (0.0, sent(1)), (0.0, sent(0, up=False)))
    there, other, back = trial.arrived
    assert there == pytest.approx(back)  # both directions of a link are down together
    assert there != pytest.approx(other)


def test_an_idle_link_that_goes_up_and_down_does_not_keep_the_clock_going() -> None:
    flaky = Link(mbps=1.0, up=Constant(value_s=4.0), down=Constant(value_s=1.0))
    trial = Trial(Star(server_link=flaky), 1, (0.0, sent()), (9.5, sent()))
    assert trial.arrived == pytest.approx([1.0, 11.0])  # down in [4, 5) and [9, 10)
    assert trial.env.now == pytest.approx(14.0)  # the change for which the last message made it wait


def test_giving_up_leaves_the_bandwidth_to_the_others() -> None:
    """At 1 s each has sent half; then the second has all of the link and needs half a second."""
    trial = Trial(Star(server_link=ONE), 2, (0.0, sent(0), 1.0), (0.0, sent(1)))
    assert trial.arrived == [None, pytest.approx(1.5)]
    assert trial.used()["hub > server"] == pytest.approx((1.5 * MEGABIT, 1.5))
    assert trial.used()["worker 0 > hub"] == pytest.approx((0.5 * MEGABIT, 1.0))


@pytest.mark.parametrize("stop_s", [0.0, 1.0, 1.1, 5.0])
def test_giving_up_at_any_moment(stop_s: float) -> None:
    """As it starts, as its last byte is sent, on its way; and after it arrived nobody is there to give up."""
    network = Star(server_link=Link(mbps=1.0, latency=Constant(value_s=0.2)))
    messages = [(0.0, sent(0), stop_s), (6.0, sent(1))] if stop_s < 5 else [(0.0, sent(0)), (6.0, sent(1))]
    trial = Trial(network, 2, *messages)
    assert trial.arrived == [None if stop_s < 5 else pytest.approx(1.2), pytest.approx(7.2)]


def test_a_message_given_up_over_a_halted_link_stops_watching_it() -> None:
    flaky = Link(mbps=1.0, up=Constant(value_s=0.5), down=Constant(value_s=2.0))
    trial = Trial(Star(server_link=flaky), 1, (0.0, sent(), 1.0))
    assert trial.arrived == [None]
    assert trial.env.now == pytest.approx(2.5)
    assert trial.used()["hub > server"][0] == pytest.approx(0.5 * MEGABIT)


def test_a_network_without_limits_counts_what_it_carries() -> None:
    """At 1 Mbit/s of access: busy in [0, 1), then in [2, 3.5); the run ends at 3 s."""
    starts = [(0.0, 0), (2.0, 0), (2.5, 1)]
    trial = Trial(Star(), 2, *((at_s, sent(worker, s_per_byte=8e-6)) for at_s, worker in starts))
    assert trial.arrived == pytest.approx([1.0, 3.0, 3.5])
    assert trial.used(end_s=3.0) == {
        "hub > server": (2.5 * MEGABIT, pytest.approx(2.0)),
        "worker 0 > hub": (2 * MEGABIT, pytest.approx(2.0)),
        "worker 1 > hub": (0.5 * MEGABIT, pytest.approx(0.5)),
    }
    assert {(row.mbps, row.utilisation) for row in trial.carrier.links(3.0)} == {(math.inf, 0.0)}


def test_a_message_given_up_has_sent_what_its_access_line_let_through() -> None:
    """125,000 bytes at 1 kbit/s take 1,000 s; after 1 s it is 125 bytes."""
    slow = {"s_per_byte": 8e-3, "latency_s": 100.0}
    trial = Trial(
        Star(),
        3,
        (0.0, sent(0, **slow), 1.0),
        (100.0, sent(1, **slow), 600.0),
        (50.0, sent(2, **slow), 1100.0),
    )
    assert trial.arrived == [None] * 3
    assert trial.used(end_s=2000.0) == {
        "worker 0 > hub": pytest.approx((125, 1.0)),
        "worker 1 > hub": pytest.approx((62_500, 500.0)),
        "worker 2 > hub": (MEGABIT, 1000.0),  # given up when all was sent, and the last byte on its way
        "hub > server": pytest.approx((125 + 62_500 + MEGABIT, 1 + 1000.0)),
    }


def test_links_without_a_limit_count_as_those_with_so_much_that_it_never_binds() -> None:
    generator = np.random.default_rng(4)
    messages = [
        (float(start_s), sent(worker, s_per_byte=float(rate), latency_s=0.5), float(start_s + lasts_s))
        for worker in range(6)
        for start_s, rate, lasts_s in zip(
            20 * np.arange(5) + generator.uniform(0, 5, 5),
            generator.uniform(8e-6, 80e-6, 5),
            generator.uniform(0.1, 12, 5),
            strict=True,
        )
    ]
    plain, wide = (Trial(Star(link=link), 6, *messages) for link in (Link(), Link(mbps=1e6)))
    assert None in plain.arrived
    assert plain.arrived == pytest.approx(wide.arrived)
    assert plain.used(end_s=plain.env.now) == {
        name: pytest.approx(used) for name, used in wide.used(end_s=wide.env.now).items()
    }


@pytest.mark.parametrize("mbps", [None, 1.0])
def test_what_is_sent_again_counts_once_it_is_sent(mbps: float | None) -> None:
    """A second to send, 10 s for each loss of the near hop, then 0.3 s for each of the far one."""
    near, far = Link(loss=0.5, retransmit_s=10.0), Link(mbps=mbps, loss=0.6, retransmit_s=0.3)
    job = next(job for job in range(100) if losses_of(job) == (2, 3))
    message = sent(job=job, s_per_byte=0.0 if mbps else 8e-6)

    def carried(stop_s: float) -> tuple[float, float]:
        used = Trial(Star(link=near, server_link=far), 1, (0.0, message, stop_s)).used(end_s=stop_s)
        return used["worker 0 > hub"][0] / MEGABIT, used["hub > server"][0] / MEGABIT

    assert carried(0.25) == pytest.approx((0.25, 0.25))  # nothing is lost before it has been sent
    assert carried(10.9) == (1, 1)
    assert carried(11.1) == (2, 1)
    assert carried(21.2) == (3, 1)
    assert carried(21.7) == (3, 3)
    assert carried(21.91) == (3, 4)
    # on its way at the end of a run, at 11.1 s
    trial = Trial(Star(link=near, server_link=far), 1, (0.0, message), run_s=11.1)
    assert trial.arrived == [None]
    assert trial.used(end_s=11.1)["worker 0 > hub"][0] == 2 * MEGABIT


def test_a_worker_at_the_servers_node_has_its_access_line_alone() -> None:
    network = GraphFile(format="edge_list", text="s w {'mbps': 1}", server="s", workers=("s", "w"))
    trial = Trial(network, 2, (0.0, sent(0, s_per_byte=4e-6, latency_s=0.25)), (0.0, sent(1)))
    assert trial.arrived == pytest.approx([0.75, 1.0])
    assert trial.used() == {"w > s": (MEGABIT, 1.0)}


def test_rows_of_a_directed_graph() -> None:
    edges = [{"source": "w", "target": "s", "mbps": 1}, {"source": "s", "target": "w", "mbps": 2}]
    text = json.dumps({"directed": True, "nodes": [{"id": "s"}, {"id": "w"}], "edges": edges})
    trial = Trial(
        GraphFile(format="node_link", text=text, server="s"), 1, (0.0, sent()), (0.0, sent(up=False))
    )
    assert trial.arrived == pytest.approx([1.0, 0.5])
    assert trial.carrier.links(2.0) == [
        pytest.approx(("s", "w", 2.0, MEGABIT, 0.5, 0.25)),
        pytest.approx(("w", "s", 1.0, MEGABIT, 1.0, 0.5)),
    ]


def test_no_time_no_utilisation() -> None:
    rows = Trial(Star(server_link=ONE), 1).carrier.links(0.0)
    assert [row.utilisation for row in rows] == [0.0] * 4
    assert [row.mbps for row in rows] == [1.0, 1.0, math.inf, math.inf]

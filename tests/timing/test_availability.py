"""Kinds of availability: stretches by hand, their addresses, and what is refused."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest

from fedsim.errors import InputError
from fedsim.scenario.files import parse
from fedsim.streams import Stream, Streams
from fedsim.timing.availability import AVAILABILITIES, Availability, Stretch
from fedsim.timing.availability.diurnal import Diurnal
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import STRETCHES_LAID_OUT, OnOff
from fedsim.timing.availability.trace import AvailabilityTrace, Trace
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.uniform import Uniform

HOUR = 3600.0
ONE, TWO, THREE = (Constant(value_s=value_s) for value_s in (1.0, 2.0, 3.0))
RANDOM = [
    OnOff(on=Exponential(mean_s=1.0), off=Lognormal(median_s=2.0, sigma=1.0)),
    OnOff(on=Exponential(mean_s=1.0), off=ONE, starts="off"),
    Diurnal(from_s=6 * HOUR, to_s=18 * HOUR, phase=Uniform(low_s=0, high_s=86_400), jitter_s=HOUR),
    Lifetime(joins=Exponential(mean_s=1.0), life=Exponential(mean_s=5.0)),
]


def first(
    availability: Availability, count: int, worker: int = 0, place: int = 0, seed: int = 0
) -> list[Stretch]:
    return list(islice(availability.stretches(Streams(seed), worker, place), count))


def observed(rows: str, **settings: Any) -> Trace:
    """Return a trace of rows as in "a 0 3, b 1 2"."""
    lines = [",".join(row.split()) for row in rows.split(",")]
    return Trace(trace=AvailabilityTrace(csv="\n".join(["device_id,t_on_s,t_off_s", *lines])), **settings)


def test_on_and_off_by_turns() -> None:
    assert first(OnOff(on=THREE, off=TWO, starts="on"), 3) == [(0, 3), (5, 8), (10, 13)]
    assert first(OnOff(on=THREE, off=TWO, starts="off"), 2) == [(2, 5), (7, 10)]
    # no time off: down and back at one instant
    assert first(OnOff(on=THREE, off=Constant(value_s=0.0), starts="on"), 2) == [(0, 3), (3, 6)]


def test_where_draws_of_on_and_off_stand() -> None:
    on, off = Exponential(mean_s=1.0), Lognormal(median_s=2.0, sigma=1.0)
    expected, now_s = [], 0.0
    for cycle in range(1, 5):
        generator = Streams(3).generator(Stream.AVAILABILITY, 7, cycle)
        on_s, off_s = on.sample(generator, 1)[0], off.sample(generator, 1)[0]
        expected.append((now_s, now_s + on_s))
        now_s += on_s + off_s
    assert first(OnOff(on=on, off=off, starts="on"), 4, worker=7, seed=3) == expected


# Stretches of constant length: the rest of one is uniform, and the state as likely as it lasts.
def test_a_stationary_beginning_by_hand() -> None:
    for worker in range(20):
        generator = Streams(0).generator(Stream.AVAILABILITY, worker, 0)
        is_on = generator.random() * 5 < 3
        length_s = 3 if is_on else 2
        rest_s = length_s - generator.random() * STRETCHES_LAID_OUT * length_s % length_s
        found = first(OnOff(on=THREE, off=TWO), 2, worker)
        expected = (
            [(0, rest_s), (rest_s + 2, rest_s + 5)]
            if is_on
            else [(rest_s, rest_s + 3), (rest_s + 5, rest_s + 8)]
        )
        np.testing.assert_allclose(found, expected)


def test_a_part_of_each_day() -> None:
    day = Diurnal(from_s=6 * HOUR, to_s=18 * HOUR)
    assert first(day, 2) == [(6 * HOUR, 18 * HOUR), (30 * HOUR, 42 * HOUR)]
    night = Diurnal(from_s=22 * HOUR, to_s=6 * HOUR)
    assert first(night, 2) == [(0, 6 * HOUR), (22 * HOUR, 30 * HOUR)]
    # five hours behind: what is 22 to 6 there is 3 to 11 here; 24 hours behind is not behind at all
    behind = night.model_copy(update={"phase": Constant(value_s=5 * HOUR)})
    assert first(behind, 2) == [(3 * HOUR, 11 * HOUR), (27 * HOUR, 35 * HOUR)]
    assert first(night.model_copy(update={"phase": Constant(value_s=24 * HOUR)}), 2) == first(night, 2)
    assert first(night.model_copy(update={"phase": Constant(value_s=240 * HOUR)}), 2) == first(night, 2)
    # ten hours behind: 8 to 16; twenty hours: 18 of the day before to 2, and so on
    assert first(night.model_copy(update={"phase": Constant(value_s=20 * HOUR)}), 2) == [
        (0, 2 * HOUR),
        (18 * HOUR, 26 * HOUR),
    ]
    assert first(Diurnal(period_s=10.0, from_s=9.0, to_s=8.0, phase=Constant(value_s=9.5)), 2) == [
        (0, 7.5),
        (8.5, 17.5),
    ]


def test_jitter_by_hand() -> None:
    day = Diurnal(period_s=10.0, from_s=4.0, to_s=7.0, jitter_s=1.0)
    # days -2 and -1 are over before time 0; day 0 is drawn at job 3
    moved = [Streams(0).generator(Stream.AVAILABILITY, 5, job).uniform(-1, 1, 2) for job in (3, 4)]
    expected = [(4 + early, 7 + late) for early, late in moved]
    found = first(day, 2, worker=5)
    assert found[0] == pytest.approx(expected[0])
    assert found[1] == pytest.approx((10 + expected[1][0], 10 + expected[1][1]))


def test_a_lifetime() -> None:
    assert first(Lifetime(), 2) == [(0, math.inf)]
    assert first(Lifetime(joins=TWO), 2) == [(2, math.inf)]
    assert first(Lifetime(joins=TWO, life=THREE), 2) == [(2, 5)]
    drawn = Lifetime(joins=Exponential(mean_s=1.0), life=Exponential(mean_s=5.0))
    generator = Streams(2).generator(Stream.AVAILABILITY, 4, 0)
    joins_s, life_s = generator.exponential(1.0), generator.exponential(5.0)
    assert first(drawn, 2, worker=4, seed=2) == [(joins_s, joins_s + life_s)]
    assert drawn.joins_s(Streams(2), 4) == joins_s
    assert OnOff(on=ONE, off=ONE, starts="off").joins_s(Streams(2), 4) == 0


# Two devices; the trace is 10 s long.
ROWS = "a 0 3,b 1 2,a 5 6,a 6 8,b 9 10"


def test_a_trace_in_order() -> None:
    once = observed(ROWS, assignment="in order", repeat=False)
    # rows that touch are one stretch
    assert first(once, 5, worker=8, place=0) == [(0, 3), (5, 8)]
    assert first(once, 5, worker=9, place=1) == [(1, 2), (9, 10)]
    again = observed(ROWS, assignment="in order")
    assert first(again, 4, place=0) == [(0, 3), (5, 8), (10, 13), (15, 18)]
    assert first(again, 4, place=1) == [(1, 2), (9, 10), (11, 12), (19, 20)]


def test_where_a_trace_begins_again_a_device_may_stay_on() -> None:
    assert first(observed("a 0 1,a 4 7"), 3) == [(0, 1), (4, 8), (11, 15)]
    found = np.array(first(observed("a 0 0.1,a 0.2 0.3"), 4))
    assert found.round(12).tolist() == [[0, 0.1], [0.2, 0.4], [0.5, 0.7], [0.8, 1.0]]
    # rounding makes no gap between the end of a turn and the beginning of the next
    many = first(observed("a 0 0.1,a 0.2 0.3"), 200)
    assert min(after[0] - before[1] for before, after in pairwise(many)) > 0.09
    assert first(observed("a 0 7"), 3) == [(0, math.inf)]
    assert first(observed("a 0 7", repeat=False), 3) == [(0, 7)]


def test_a_trace_of_which_devices_are_drawn() -> None:
    trace = observed(ROWS, repeat=False)
    for worker in range(10):
        number = Streams(1).generator(Stream.AVAILABILITY, worker).integers(2)
        assert first(trace, 1, worker, place=77, seed=1) == [[(0, 3)], [(1, 2)]][number]


# What every kind keeps to. A new kind needs rows here.
EVERY = [*RANDOM, observed(ROWS), observed(ROWS, repeat=False), OnOff(on=THREE, off=TWO)]
every_row = pytest.mark.parametrize("availability", EVERY, ids=lambda part: part.kind)


class Noted(Streams):
    """Streams that note which addresses are asked for."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.asked: list[tuple[Stream, int]] = []

    def generator(self, purpose: Stream, worker: int = 0, job: int = 0) -> np.random.Generator:
        self.asked.append((purpose, worker))
        return super().generator(purpose, worker, job)

    def seat(self, purpose: Stream, worker: int = 0, job: int = 0) -> np.random.Generator:
        self.asked.append((purpose, worker))
        return super().seat(purpose, worker, job)


def test_every_kind_has_a_row() -> None:
    assert {row.kind for row in EVERY} == set(AVAILABILITIES.builtin)
    assert {row.kind for row in RANDOM} | {"trace"} == set(AVAILABILITIES.builtin)


@pytest.mark.parametrize("availability", RANDOM, ids=lambda part: part.kind)
def test_workers_and_seeds_differ(availability: Availability) -> None:
    assert first(availability, 6) != first(availability, 6, worker=1)
    assert first(availability, 6) != first(availability, 6, seed=1)


@every_row
def test_stretches_depend_on_addresses_alone(availability: Availability) -> None:
    """Workers whose stretches are asked for by turns, from shared streams, have the same as each alone."""
    streams = Noted(0)
    asked = [availability.stretches(streams, worker, worker % 2) for worker in range(3)]
    by_turns: list[list[Stretch]] = [[], [], []]
    for _ in range(6):
        for stretches, found in zip(asked, by_turns, strict=True):
            found += islice(stretches, 1)
    assert by_turns == [first(availability, 6, worker, worker % 2) for worker in range(3)]
    assert {purpose for purpose, _ in streams.asked} <= {Stream.AVAILABILITY}
    streams.asked.clear()
    list(islice(availability.stretches(streams, 2, 0), 6))
    assert {worker for _, worker in streams.asked} <= {2}


@every_row
@pytest.mark.parametrize("worker", [0, 1, 50])
@pytest.mark.parametrize("seed", range(3))
def test_stretches_are_in_order_and_apart(availability: Availability, worker: int, seed: int) -> None:
    found = first(availability, 8, worker, 0, seed)
    assert found[0][0] >= 0
    assert all(on_s < off_s for on_s, off_s in found)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    # A member from the start, or from when it is first on.
    assert availability.joins_s(Streams(seed), worker) in (0, found[0][0])
    availability.check(1)


CONSTANT = {"kind": "constant", "value_s": 1.0}
DAY: dict[str, Any] = {"kind": "diurnal", "from_s": 1.0, "to_s": 2.0}
TURNS: dict[str, Any] = {"kind": "on_off", "on": CONSTANT, "off": CONSTANT}
HEAVY = {"kind": "pareto", "minimum_s": 1.0, "tail_index": 1.0}
TWO_DEVICES = {"csv": "device_id,t_on_s,t_off_s\na,0,1\nb,0,1\n"}
FAST = {"csv": "device_id,compute_scale,mbps_down,mbps_up\na,1,1,1\n"}


def scenario(group: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {
        "name": "failing",
        "algorithm": {"kind": "asyndbt", "wait_for": 1, "tau": 5},
        "problem": {"kind": "quadratic"},
        "workers": [{"count": 3, **group}, {"count": 1}],
        "llm": {"kind": "independent", "latency": CONSTANT},
        "budget": {"server_steps": 3},
        **settings,
    }


# What is wrong with a group, and what is said of it after "scenario: ".
WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"availability": TURNS, "stops_at_s": 3.0},
        (
            "workers.0: stops_at_s: found 3 together with an availability, "
            "expected one of them: 'lifetime' has an end too"
        ),
    ),
    (
        {"on_return": "rejoin"},
        "workers.0: on_return: found 'rejoin', expected an availability: nobody goes down",
    ),
    ({"on_return": "rejion"}, "workers.0.on_return: found 'rejion', expected 'restart' or 'rejoin'"),
    (
        {"availability": {**TURNS, "on": {**CONSTANT, "value_s": 0.0}}},
        "workers.0.availability: on: found a mean of 0 s, expected at least 1e-06",
    ),
    (
        {"availability": {**TURNS, "off": HEAVY}},
        "workers.0.availability: starts: found 'stationary', expected 'on' or 'off': a mean is infinite",
    ),
    (
        {"availability": {**TURNS, "kind": "onoff"}},
        (
            "workers.0.availability: unknown kind 'onoff'; did you mean "
            "'on_off'? (known: on_off, diurnal, lifetime, trace)"
        ),
    ),
    (
        {"availability": {**DAY, "to_s": 1.0}},
        "workers.0.availability: to_s: found 1, expected another time of the period than from_s = 1",
    ),
    (
        {"availability": {**DAY, "from_s": 0.0, "to_s": 86_400.0}},
        "workers.0.availability: to_s: found 86400, expected another time of the period than from_s = 0",
    ),
    (
        {"availability": {**DAY, "to_s": 86_401.0}},
        "workers.0.availability: to_s: found 86401, expected at most period_s = 86400",
    ),
    (
        {"availability": {**DAY, "jitter_s": 0.5}},
        (
            "workers.0.availability: jitter_s: found 0.5, expected less than "
            "half of 1, the shorter one of a worker's time on and its time off"
        ),
    ),
    (
        {"availability": {"kind": "trace", "trace": TWO_DEVICES, "assignment": "in order"}},
        (
            "workers.0: availability: "
            'found 2, expected at least 3 devices, one for each worker of the group (or assignment = "drawn")'
        ),
    ),
    (
        {"availability": {"kind": "trace", "trace": {"csv": "device_id,t_on_s,t_off_s\nb,2,1\n"}}},
        (
            "workers.0.availability.trace: csv, line 2, column 't_off_s': expected a time after t_on_s = 2, "
            "got 1"
        ),
    ),
    (
        {"devices": {**FAST, "assignment": "in order"}},
        (
            "workers.0: devices: found 1, expected at least 3 devices, one "
            'for each worker of the group (or assignment = "drawn")'
        ),
    ),
    (
        {"devices": FAST, "upload_mbps": 2.0},
        "workers.0: upload_mbps: found 2, expected none: the devices tell it",
    ),
    (
        {"devices": FAST, "download_mbps": 2.0},
        "workers.0: download_mbps: found 2, expected none: the devices tell it",
    ),
]


@pytest.mark.parametrize(("group", "sentence"), WRONG, ids=range(len(WRONG)))
def test_what_is_refused(group: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as found:
        parse(scenario(group))
    assert str(found.value) == f"scenario: {sentence}"


@pytest.mark.parametrize(("workers", "refused"), [([3], False), ([2], True)])
def test_who_attacks_on_timing_is_always_on(workers: list[int], refused: bool) -> None:
    table = scenario({"availability": TURNS}, attacks=[{"kind": "rushing", "workers": workers}])
    if not refused:
        assert parse(table).n_workers == 4
        return
    with pytest.raises(InputError) as found:
        parse(table)
    assert str(found.value) == (
        "scenario: attacks.0: 'rushing': found worker 2, of a group with an availability, expected workers "
        "that are always on: who attacks on timing comes and goes as the attack says"
    )
    table["attacks"] = [{"kind": "sign_flip", "workers": workers}]
    assert parse(table).n_workers == 4

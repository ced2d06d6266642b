"""Seconds for what jobs ask of the workers' own models, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from timing_cases import FREE, by, chain, interlude, seconds, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.delays.constant import Constant
from fedsim.timing.devices import DeviceTrace
from fedsim.timing.groups import OwnModel, WorkerGroup
from fedsim.timing.worker import Transient

# 40 tokens forward, and 20 forward and backward: with a factor of 3 they take as long as 100 tokens.
COST = JobCost(0, 0, 0, 0, 0, own_tokens=40, own_gradient_tokens=20)
MODEL = OwnModel(token_s=0.03125)


def test_the_seconds_of_a_job() -> None:
    assert MODEL.job_s(COST) == 100 / 32
    assert OwnModel(token_s=0.5, gradient_factor=1.0).job_s(COST) == 30
    assert MODEL.job_s(FREE) == 0


@pytest.mark.parametrize("wrong", [{"token_s": 0.0}, {"token_s": 1.0, "gradient_factor": 0.5}])
def test_bad_models(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        OwnModel(**wrong)


@pytest.mark.parametrize(
    ("settings", "job_s"),
    [
        ({}, 1 + 100 / 32),
        ({"own_model": OwnModel(token_s=0.03125, gradient_factor=2.0)}, 1 + 80 / 32),
        ({"compute_speed": 4.0}, (1 + 100 / 32) / 4),
        ({"slow_down": 3.0}, 3 * (1 + 100 / 32)),
        ({"compute_speed": 4.0, "slow_down": 3.0}, 3 * (1 + 100 / 32) / 4),
        ({"transient": Transient(probability=1.0, factor=5.0)}, 5 * (1 + 100 / 32)),
    ],
)
def test_it_is_computing(settings: dict[str, Any], job_s: float) -> None:
    ending, books = simulate(
        [workers(1.0, **({"own_model": MODEL} | settings))], wait_for=1, cost=COST, max_steps=2
    )
    assert books.times_s == [job_s, 2 * job_s]
    assert seconds(ending, 0) == {"computing": 2 * job_s}


def test_who_has_no_other_arithmetic_still_computes() -> None:
    ending, _ = simulate([workers(0.0, own_model=MODEL)], wait_for=1, cost=COST, max_steps=1)
    assert seconds(ending, 0) == {"computing": 100 / 32}


def test_a_model_that_is_asked_nothing_takes_no_time() -> None:
    ending, _ = simulate([workers(1.0, own_model=MODEL)], wait_for=1, cost=FREE, max_steps=1)
    assert ending.time_s == 1


# Only what a kind of job asks counts: an opening of 32 tokens takes 1 s, and a regular job 3.125 s.
def test_each_kind_of_job_asks_for_its_own() -> None:
    opening = FREE._replace(own_tokens=32)
    _, books = simulate([workers(0.0, own_model=MODEL)], wait_for=1, cost=COST, opening=opening, max_steps=2)
    assert books.times_s == [1, 1 + 100 / 32]


def test_it_belongs_to_the_one_activity_of_a_job() -> None:
    ending, _ = simulate(
        [workers(1.0, own_model=MODEL)],
        wait_for=1,
        cost=COST,
        interlude=interlude(every=100, rounds=1),
        activity="probing",
        max_steps=1,
        horizon_s=99.0,
    )
    assert seconds(ending, 0) == {"probing": 1 + 100 / 32}


# Two workers with one call of 1 s: worker 1 skips its calls, and what its own model would compute.
def test_who_skips_its_work_does_not_compute() -> None:
    attack = Flapping(on_s=100.0, off_s=1.0, skip_calls=True)
    ending, books = simulate(
        [workers(1.0, count=2, own_model=MODEL)],
        wait_for=2,
        cost=COST._replace(calls=1),
        latency=Constant(value_s=1.0),
        attacks=[by(attack, 1)],
        max_steps=1,
    )
    assert books.active == [[1, 0]]
    assert seconds(ending, 0) == {"computing": 1 + 100 / 32, "calling": 1}
    assert seconds(ending, 1) == {"waiting": 2 + 100 / 32}


PLAIN = "device_id,compute_scale,mbps_down,mbps_up\nslow,2,1,1\nfast,0.5,1,1\n"
MEASURED = "device_id,compute_scale,mbps_down,mbps_up,own_token_s\nslow,2,1,1,0.25\nfast,0.5,1,1,0.0625\n"


def devices(csv: str) -> DeviceTrace:
    return DeviceTrace(csv=csv, assignment="in order")


# 1 s of arithmetic and 100 tokens of 1/32 s, on devices of half and of double speed.
def test_a_device_scales_the_groups_own_model() -> None:
    ending, _ = simulate(
        [workers(1.0, count=2, devices=devices(PLAIN), own_model=MODEL)],
        wait_for=2,
        cost=COST,
        max_steps=1,
        keep_spans=True,
    )
    assert stretches(ending, 0) == chain(("computing", 2 * (1 + 100 / 32)))
    assert stretches(ending, 1)[0] == ("computing", 0, (1 + 100 / 32) / 2)


# Seconds per token of their own: the arithmetic alone is scaled. The group's compute speed divides both, and
# its model tells no more than the factor for gradients: 2, so that there are 80 tokens.
@pytest.mark.parametrize(
    ("own_model", "tokens"), [(None, 100), (OwnModel(token_s=9.0, gradient_factor=2.0), 80)]
)
def test_what_was_measured_on_a_device_is_not_scaled(own_model: OwnModel | None, tokens: int) -> None:
    group = workers(1.0, count=2, devices=devices(MEASURED), own_model=own_model, compute_speed=4.0)
    ending, _ = simulate([group], wait_for=2, cost=COST, max_steps=1, keep_spans=True)
    assert stretches(ending, 0) == chain(("computing", (2 + tokens / 4) / 4))
    assert stretches(ending, 1)[0] == ("computing", 0, (0.5 + tokens / 16) / 4)


def test_drawn_devices_bring_their_own_seconds() -> None:
    drawn = WorkerGroup(count=20, devices=DeviceTrace(csv=MEASURED))
    found = set()
    for one in drawn.each(Streams(5), first=3):
        assert one.own_model is not None
        found.add((one.compute_speed, one.own_model.token_s / one.compute_speed))
    assert found == {(0.5, 0.25), (2.0, 0.0625)}


def test_a_group_without_a_model_is_named() -> None:
    with pytest.raises(ValueError, match="workers 'phones': found no own_model"):
        simulate(
            [workers(1.0, own_model=MODEL), workers(1.0, name="phones", devices=devices(PLAIN))],
            wait_for=2,
            cost=COST,
            max_steps=1,
        )


def test_a_kept_trace_keeps_the_column(tmp_path) -> None:
    (tmp_path / "phones.csv").write_text(MEASURED)
    kept = DeviceTrace(file=str(tmp_path / "phones.csv"))
    assert kept.rows.own_token_s is not None
    assert kept.rows.own_token_s.tolist() == [0.25, 0.0625]
    assert DeviceTrace(csv=kept.csv) == kept
    (tmp_path / "phones.csv").write_text(PLAIN)
    assert DeviceTrace(file=str(tmp_path / "phones.csv")).csv.splitlines()[0] == PLAIN.splitlines()[0]

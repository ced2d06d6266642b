"""Copies of scenarios and parts with other settings are checked as files are."""

from __future__ import annotations

import copy

import pytest
from pydantic import ValidationError

from fedsim.errors import InputError
from fedsim.scenario import load_scenario
from fedsim.timing.delays.constant import Constant


def test_a_scenario_with_other_settings(small):
    scenario = load_scenario(small)
    assert scenario.replace("seed", 4) == load_scenario(small, overrides=["seed=4"])
    changes = {"llm.latency.value_s": 2.0, "algorithm.cuts": False, "workers.0.count": 5}
    overrides = ["llm.latency.value_s=2.0", "algorithm.cuts=false", "workers.0.count=5"]
    assert scenario.replace(changes) == load_scenario(small, overrides=overrides)
    assert scenario.replace("llm.latency", Constant(value_s=2.0)).llm.latency.value_s == 2.0
    assert scenario.replace("algorithm", {"kind": "sdbt"}).algorithm.cuts == scenario.algorithm.cuts
    assert scenario.replace("budget.horizon_s", 4.0).replace("budget.horizon_s", None) == scenario


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("sede", 4, "small: sede: unknown key; did you mean 'seed'?"),
        ("seed", "4", "small: seed: found '4', expected an integer"),
        ("llm.latency.value_s", -1.0, "small: llm.latency.value_s: found -1.0, expected at least 0"),
        (
            "workers.3.count",
            1,
            "replace 'workers.3.count': expected a place from 0 to 0 in the list, got '3'",
        ),
        ("seed", None, "small: seed: found None, expected an integer"),
    ],
)
def test_a_wrong_replacement_is_one_sentence(small, key, value, sentence):
    with pytest.raises(InputError) as error:
        load_scenario(small).replace(key, value)
    assert str(error.value) == sentence


WRONG = {
    "unknown": (
        lambda one: one.model_copy(update={"sede": 4}),
        "Scenario has no setting 'sede'; did you mean",
    ),
    "wrong type": (lambda one: one.model_copy(update={"seed": "4"}), "Scenario.seed: .* valid integer"),
    "does not fit": (lambda one: one.model_copy(update={"llm": None}), "llm: missing; jobs make LLM calls"),
    "without effect": (
        lambda one: one.model_copy(update={"record": one.record.model_copy(update={"answers": True})}),
        "record.answers: has no effect",
    ),
    "group": (lambda one: one.workers[0].model_copy(update={"count": 0}), "WorkerGroup.count: "),
    "part": (
        lambda one: one.llm.latency.model_copy(update={"value": 1.0}),
        "Constant has no setting 'value'",
    ),
    "older name": (lambda one: one.copy(update={"sede": 4}), "Scenario has no setting 'sede'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_copy_is_refused(small, name):
    make, sentence = WRONG[name]
    with pytest.raises(InputError, match=sentence):
        make(load_scenario(small))


def test_a_copy_is_a_scenario_of_its_own(small):
    scenario = load_scenario(small)
    assert scenario.schedule.rule.wait_for == 2
    other = scenario.model_copy(update={"algorithm": scenario.algorithm.model_copy(update={"wait_for": 1})})
    assert other.schedule.rule.wait_for == 1
    assert copy.copy(scenario) == copy.deepcopy(scenario) == scenario.model_copy() == scenario
    with pytest.raises(ValidationError, match="frozen"):
        scenario.seed = 4

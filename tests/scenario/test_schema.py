"""The JSON Schema of scenario files accepts what loads and rejects what editors should mark."""

from __future__ import annotations

import json
import tomllib

import jsonschema
import pytest

from fedsim.scenario import dump, load_scenario
from fedsim.scenario.schema import FAMILIES, json_schema


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_command_prints_it(command):
    answer = command("schema")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out) == json_schema()


def test_every_reference_leads_somewhere():
    schema = json_schema()
    text = json.dumps(schema)
    names = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert names <= set(schema["$defs"])
    assert "x-fedsim-family" not in text


def test_every_part_is_in_it():
    definitions = json_schema()["$defs"]
    for family in FAMILIES.values():
        for kind, part in family:
            assert definitions[part.__name__]["properties"]["kind"]["const"] == kind


def test_every_scenario_file_is_valid(validator, root):
    files = sorted((root / "scenarios").rglob("*.toml"))
    assert len(files) > 25
    for file in files:
        errors = list(validator.iter_errors(tomllib.loads(file.read_text())))
        assert not errors, (file, errors[0].message)


def test_a_resolved_scenario_is_valid(validator, small):
    for overrides in ([], ["algorithm.cuts=false"]):
        validator.validate(tomllib.loads(dump(load_scenario(small, overrides=overrides))))


def test_a_part_from_elsewhere_is_valid(validator):
    validator.validate({"llm": {"latency": {"kind": "my.delays:Triangular", "low_s": 1}}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"cut": {}},
        {"workers": [{"count": 0}]},
        {"workers": [{"lane": 3}]},
        {"seed": "3"},
        {"algorithm": {"kind": "asyndtb"}},
        {"algorithm": {"kind": "asyndbt", "wait_fro": 3}},
        {"llm": {"latency": {"kind": "constant", "value_s": -1}}},
        {"workers": [{"transient": {"probability": 1.5}}]},
        {"cuts": True},
        {"variants": {"a": {"sede": 3}}},
    ],
    ids=str,
)
def test_what_is_wrong_is_rejected(validator, wrong):
    assert not validator.is_valid(wrong)

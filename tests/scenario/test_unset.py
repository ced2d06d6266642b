"""Settings that are to be none, tables that are replaced or taken away, what a change of kind leaves out."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from endpoint_text import ROWS, endpoint_text

from fedsim import results
from fedsim.errors import InputError
from fedsim.scenario import Scenario, dump, load_scenario, parse
from fedsim.sweep.plan import read_plan

ROOT = Path(__file__).parents[2]
BACKGROUND = ROOT / "scenarios" / "llm_service" / "background.toml"
DIRICHLET = ROOT / "scenarios" / "features" / "dirichlet.toml"

ENDPOINT = endpoint_text('kind = "endpoint"\nmodel = "m"\n')


@pytest.fixture
def endpoint(tmp_path) -> Path:
    """The file of a scenario whose model has a seed unless it is taken away."""
    (tmp_path / "rows.csv").write_text(ROWS)
    file = tmp_path / "endpoint.toml"
    file.write_text(ENDPOINT)
    return file


def again(scenario: Scenario, folder: Path) -> Scenario:
    """Return a scenario that was written and read again."""
    file = folder / "again.toml"
    file.write_text(dump(scenario))
    return load_scenario(file)


@pytest.mark.parametrize("way", ["file", "table", "child", "variant", "set", "dotted", "python"])
def test_a_setting_with_a_default_can_be_none(tmp_path, endpoint, way):
    text, usual = ENDPOINT, load_scenario(endpoint, overrides=["name=s"])
    assert usual.problem.model.seed == 0
    file, variant, overrides = tmp_path / "s.toml", "", []
    if way == "file":
        text = text.replace("[problem.model]", "[problem.model]\nseed = { unset = true }")
    elif way == "table":
        text = text.replace("[problem.model]", '[problem.model]\nunset = ["seed"]')
    elif way == "child":
        text = f'extends = "{endpoint}"\nproblem.model.seed = {{ unset = true }}\n'
    elif way == "variant":
        text, variant = f'extends = "{endpoint}"\n[variants.v.problem.model]\nunset = ["seed"]\n', "v"
    elif way == "set":
        overrides = ["problem.model.seed={unset=true}"]
    elif way == "dotted":
        overrides = ["problem.model.seed=3", "problem.model.seed.unset=true"]
    file.write_text(text)
    if way == "python":
        table = tomllib.loads(dump(usual))
        table["problem"]["model"]["seed"] = None
        scenario = parse(table)
    else:
        scenario = load_scenario(file, variant, overrides)
    assert scenario.problem.model.seed is None
    assert again(scenario, tmp_path) == scenario
    assert results.run_id(again(scenario, tmp_path)) == results.run_id(scenario)
    assert results.run_id(scenario) != results.run_id(usual)
    assert parse(tomllib.loads(dump(scenario))) == scenario
    assert load_scenario(file, variant, [*overrides, "problem.model.seed=5"]).problem.model.seed == 5


def test_a_point_of_a_sweep_can_be_none(tmp_path):
    file = tmp_path / "swept.toml"
    file.write_text(
        f'extends = "{DIRICHLET}"\n[sweep.grid]\nvariant = ["strong"]\n'
        '"problem.dirichlet_alpha" = [{ unset = true }, 0.5]\n'
        '[[sweep.list]]\n"algorithm.cuts" = { unset = true }\n'
        "[[sweep.list]]\nalgorithm.cuts.every = 7\n"
    )
    planned = list(read_plan(file).runs())
    assert [run.scenario.problem.dirichlet_alpha for run in planned] == [None, None, 0.5, 0.5]
    assert "problem.dirichlet_alpha = none" in planned[0].point.label


@pytest.mark.parametrize(
    "overrides",
    [
        ["llm.background={unset=true, requests_per_minute=240.0}"],
        ["llm.background={unset=['arrivals'], requests_per_minute=240.0}"],
        ["llm.background={unset=true}", "llm.background.requests_per_minute=240.0"],
        ["llm.unset=['background']", "llm.background={requests_per_minute=240.0}"],
    ],
)
def test_an_inherited_table_is_replaced(overrides):
    background = load_scenario(BACKGROUND, "trace", overrides).llm.background
    assert (background.arrivals, background.requests_per_minute) == (None, 240.0)


def test_what_is_inherited_is_taken_away(tmp_path):
    assert load_scenario(BACKGROUND, "trace", ["llm.background={unset=true}"]).llm.background is None
    overrides = ["problem.dirichlet_alpha={unset=true}"]
    assert load_scenario(DIRICHLET, "mild", overrides).problem.dirichlet_alpha is None
    # What cannot be none is at its default again.
    overrides = ["evaluation.max_workers=7", "evaluation={unset=true}"]
    assert load_scenario(DIRICHLET, "mild", overrides).evaluation.max_workers == 100
    child = tmp_path / "child.toml"
    child.write_text(
        f'extends = "{DIRICHLET}"\n[problem]\nuse_fragment = true\n[evaluation]\nunset = true\npatience = 9\n'
    )
    found = load_scenario(child, "mild").evaluation
    assert (found.max_workers, found.patience) == (100, 9)


@pytest.mark.parametrize("word", ["none", "null", '""', "false", "None"])
@pytest.mark.parametrize(
    "key", ["problem.model.seed", "budget.horizon_s", "llm", "target", "workers.0.transient"]
)
def test_who_tries_a_word_for_none_is_told_how_it_is_written(command, endpoint, key, word):
    answer = command("check", endpoint, "--set", f"{key}={word}")
    assert answer.code == 2
    assert answer.err.endswith(f"; for none write {key.rpartition('.')[2]} = {{ unset = true }}\n")
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("algorithm.sede={unset=true}", "algorithm.sede.unset: found nothing that could be taken away"),
        ("workers=[{unset=true}]", "workers.0.unset: found nothing that could be taken away"),
        ("llm.unset=1", "llm.unset: found 1, expected a list of names, or true"),
        ("llm.unset=[1]", "llm.unset: found [1], expected a list of names, or true"),
        (
            "llm={kind='shared', unset=[{a=1}]}",
            "llm.unset: found [{'a': 1}], expected a list of names, or true",
        ),
        ("llm.latency.unset=false", "llm.latency.unset: found False, expected a list of names, or true"),
    ],
)
def test_what_cannot_be_unset(command, small, override, sentence):
    assert command("check", small, "--set", override) == (2, "", f"fedsim: --set {override!r}: {sentence}\n")


def test_what_a_change_of_kind_leaves_out_is_said_once(command, small, tmp_path):
    child = tmp_path / "child.toml"
    child.write_text(
        'extends = "small.toml"\n[llm]\nkind = "shared"\nttft = { kind = "constant", value_s = 1 }\n'
        "[variants.a]\n[variants.b]\n"
    )
    note = (
        "fedsim: note: child.toml: llm.kind: 'shared' takes the place of 'independent', which "
        'leaves out latency; unset = ["latency"] says that this is meant\n'
    )
    for words in (("check",), ("run", "--timing-only")):
        answer = command(*words, "child.toml")
        assert (answer.code, answer.err.count(note)) == (0, 1)
    child.write_text(child.read_text().replace('"shared"', '"shared"\nunset = ["latency"]'))
    answer = command("check", "child.toml")
    assert (answer.code, answer.err.count("leaves out")) == (0, 0)
    answer = command("check", small, "--set", "algorithm.kind=fedbdpl", "--set", "algorithm.unset=['cuts']")
    assert (
        "'fedbdpl' takes the place of 'asyndbt', which leaves out wait_for, tau, cuts; 'fedbdpl' has "
        in answer.err
    )
    assert (
        command("check", small, "--set", "llm.latency={kind='exponential', mean_s=1}").err.count("leaves")
        == 0
    )


def test_points_of_a_sweep_say_it_once(command, small):
    small.write_text(small.read_text() + '[sweep.grid]\n"algorithm.kind" = ["sdbt"]\nseed = [1, 2, 3]\n')
    answer = command("check", small)
    assert answer.code == 0
    assert answer.err.count("leaves out wait_for, tau") == 1


def test_free_tables_have_no_kinds(endpoint):
    """A key `kind` in a table of somebody else's settings is nothing but a key."""
    overrides = [
        'problem.model.extra_body={a={kind="gamma", x=1}}',
        'problem.model.extra_body.a.kind="constant"',
        'problem.model.extra_body.b="none"',
    ]
    scenario = load_scenario(endpoint, overrides=overrides)
    assert scenario.problem.model.extra_body == {"a": {"kind": "constant", "x": 1}, "b": "none"}
    overrides.append("problem.model.extra_body.a={unset=true}")
    assert load_scenario(endpoint, overrides=overrides).problem.model.extra_body == {"b": "none"}


@pytest.mark.parametrize(
    "value", [None, [None], {"b": None}, float("nan"), [float("inf")], {"b": {1: 2}}, b"bytes"], ids=repr
)
def test_what_toml_cannot_hold_is_in_no_free_table(endpoint, value):
    scenario = load_scenario(endpoint)
    with pytest.raises(InputError, match=r"extra_body: a.*: found .*, expected what TOML and JSON can hold"):
        scenario.problem.model.model_copy(update={"extra_body": {"a": value}})


def test_a_free_table_comes_back(endpoint, tmp_path):
    body = {"a": (1, 2.5, "x"), "b": {"c": [{"unset_": True}]}}
    scenario = load_scenario(endpoint).replace("problem.model.extra_body", body)
    assert scenario.problem.model.extra_body == {"a": [1, 2.5, "x"], "b": {"c": [{"unset_": True}]}}
    assert again(scenario, tmp_path) == scenario


def test_who_lays_a_table_over_another_is_told_how_to_replace_it(command):
    override = "llm.background={requests_per_minute=240.0}"
    answer = command("check", BACKGROUND, "--only", "trace", "--set", override)
    assert answer.code == 2
    assert answer.err.endswith(
        "expected either arrivals, a trace, or requests_per_minute; llm.background of --set is laid over "
        "that of the file: unset = true in it makes it anew\n"
    )
    assert command("check", BACKGROUND, "--set", "unset=true").code == 2

"""What belongs to the address of a run: what changes numbers, neither where one works nor what one says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from endpoint_text import ROWS, endpoint_text

from fedsim import results
from fedsim.scenario import load_scenario, load_variants
from fedsim.sweep.plan import read_plan

ENDPOINT = endpoint_text("""\
kind = "endpoint"
model = "some-model-q8_0.gguf"
[problem.model.extra_body]
file = "grammar"
folder = "f"
weights = "w.gguf"
deep = { file = "x" }
all = [{ file = "y" }]
""")
BODY = {
    "file": "grammar",
    "folder": "f",
    "weights": "w.gguf",
    "deep": {"file": "x"},
    "all": [{"file": "y"}],
}
LOCAL = 'problem.model={unset=true, kind="local", weights="%s"}'


@pytest.fixture
def endpoint(tmp_path) -> Path:
    """The file of a scenario in a folder, with its data beside it."""
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "rows.csv").write_text(ROWS)
    (folder / "w.gguf").write_bytes(b"GGUF")
    file = folder / "endpoint.toml"
    file.write_text(ENDPOINT)
    return file


@pytest.mark.parametrize("way", ["file", "child", "variant", "sweep", "set", "replaced"])
def test_only_paths_are_placed(endpoint, tmp_path, monkeypatch, way):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.toml"
    body = '{ file = "grammar2", deep = { file = "z.gguf" } }'
    if way == "sweep":
        other.write_text(
            f'extends = "sub/endpoint.toml"\n[sweep.grid]\n"problem.model.extra_body" = [{body}]\n'
        )
        scenario = next(read_plan(other).runs()).scenario
    elif way == "set":
        scenario = load_scenario("sub/endpoint.toml", overrides=[f"problem.model.extra_body={body}"])
    elif way == "replaced":
        scenario = load_scenario("sub/endpoint.toml").replace("problem.model.extra_body.file", "grammar2")
        scenario = scenario.replace("problem.model.extra_body.deep.file", "z.gguf")
    else:
        table = "variants.v.problem" if way == "variant" else "problem"
        other.write_text(f'extends = "sub/endpoint.toml"\n[{table}.model]\nextra_body = {body}\n')
        file, variant = ("sub/endpoint.toml", "") if way == "file" else (other, "v" * (way == "variant"))
        scenario = load_scenario(file, variant)
    changes = {} if way == "file" else {"file": "grammar2", "deep": {"file": "z.gguf"}}
    assert scenario.problem.model.extra_body == BODY | changes
    assert scenario.problem.model.model == "some-model-q8_0.gguf"
    assert scenario.problem.task.file == str(endpoint.with_name("rows.csv"))


def test_the_address_does_not_depend_on_where_one_works(endpoint, tmp_path, monkeypatch):
    found = set()
    for here, named in ((tmp_path, "sub/endpoint.toml"), (endpoint.parent, "endpoint.toml")):
        monkeypatch.chdir(here)
        weights = os.path.relpath(endpoint.with_name("w.gguf"))
        local = load_scenario(named, overrides=[LOCAL % weights])
        assert local.problem.model.weights == str(endpoint.with_name("w.gguf"))
        found.add((results.run_id(load_scenario(named)), results.run_id(local)))
    assert len(found) == 1
    moved = tmp_path / "moved.gguf"
    endpoint.with_name("w.gguf").rename(moved)
    assert results.run_id(load_scenario(endpoint, overrides=[LOCAL % moved])) == found.pop()[1]
    moved.write_bytes(b"GGUF and more")
    assert results.run_id(load_scenario(endpoint, overrides=[LOCAL % moved])) != results.run_id(local)


def test_a_file_that_a_server_is_told_of_belongs_to_the_address(endpoint):
    """Beside a hash that is not fedsim's own, a key `file` is as good as any other."""
    ids = {
        results.run_id(
            load_scenario(endpoint, overrides=[f'problem.model.extra_body={{sha256="1", file="{name}"}}'])
        )
        for name in ("a", "b")
    }
    assert len(ids) == 2


def test_a_default_name_is_no_path(endpoint):
    (scenario,) = load_variants(endpoint, ['problem.model={unset=true, kind="local"}'])
    assert scenario.problem.model.weights == "smollm2-135m-instruct"
    child = endpoint.with_name("child.toml")
    child.write_text(
        'extends = "endpoint.toml"\n[problem.model]\nunset = true\nkind = "local"\n'
        'weights = "smollm2-135m-instruct"\n'
    )
    assert load_scenario(child).problem.model == scenario.problem.model


def test_words_for_people_make_no_other_run(command, small):
    plain = results.run_id(load_scenario(small))
    told = [load_scenario(small, overrides=[f"description={words}"]) for words in ("one", "another")]
    assert {results.run_id(scenario) for scenario in told} == {plain}
    small.write_text(small.read_text().replace("[algorithm]", 'description = "first"\n[algorithm]', 1))
    assert command("run", small, "--timing-only", "--out", "r").code == 0
    again = command("run", small, "--timing-only", "--out", "r", "--set", "description=second")
    assert "(kept)" in again.out
    rows = command("results", "r", "--format", "csv").out.splitlines()
    assert len(rows) == 2
    small.write_text(small.read_text() + '[sweep.grid]\ndescription = ["a", "b"]\nseed = [1, 2]\n')
    assert "a sweep of 2 runs" in command("check", small).out


def test_an_address_of_old(small):
    """Runs without a description keep their address as long as no default changes."""
    assert results.run_id(load_scenario(small)) == "fcbcbc30835d"

"""Loading, dumping and loading again gives the same scenario, and the same run."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fedsim
from fedsim import results, sweep
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.errors import InputError
from fedsim.scenario import dump, load_scenario, load_variants

COUNTS = st.integers(1, 10_000)
SECONDS = st.floats(0, 1e9, allow_nan=False)
POSITIVE = st.floats(1e-12, 8e9, exclude_min=True)
DELAYS = st.one_of(
    st.builds(lambda value: f"{{ kind = 'constant', value_s = {value!r} }}", SECONDS),
    st.builds(lambda mean: f"{{ kind = 'exponential', mean_s = {mean!r} }}", POSITIVE),
    st.builds(
        lambda samples: f"{{ kind = 'empirical', samples_s = {samples!r} }}", st.lists(SECONDS, min_size=1)
    ),
    st.builds(
        lambda value: (
            "{ kind = 'mixture', components = [{ weight = 2, "
            f"delay = {{ kind = 'constant', value_s = {value!r} }} }}] }}"
        ),
        SECONDS,
    ),
)
SETTINGS = {
    "seed": st.integers(0, 2**63 - 1),
    "description": st.text().map(json.dumps).filter(lambda text: "\\ud" not in text and "\x7f" not in text),
    "algorithm.cuts": st.just("false"),
    "algorithm.cuts.every": COUNTS,
    "algorithm.adapt.gain": st.floats(0, 1, exclude_max=True),
    "algorithm.cuts.restart": st.sampled_from(["after", "before"]),
    "algorithm.cuts.participation": st.sampled_from(["active", "all", "rolling"]),
    "algorithm.kind": st.sampled_from(["sdbt", "cendbt"]),
    "algorithm.robust.psi": POSITIVE,
    "algorithm.optimizer": st.just("{ kind = 'sgd', learning_rate = 1 }"),
    "algorithm.polyhedron.only_if_violated": st.sampled_from(["true", "false"]),
    "problem.noise_std": SECONDS,
    "problem": st.just("{ kind = 'icl', task = { kind = 'calibrated', name = '5g', test_counts = [3, 4] } }"),
    "workers.0.count": COUNTS.filter(lambda count: count > 1),
    "workers.0.upload": DELAYS,
    "workers.0.stops_at_s": SECONDS,
    "llm.latency": DELAYS,
    "llm.price_per_million_tokens_in": SECONDS,
    "budget.epochs": COUNTS,
    "budget.horizon_s": POSITIVE,
    "target": st.just("{ value = 0.25 }"),
}
OVERRIDES = st.lists(
    st.sampled_from(sorted(SETTINGS)).flatmap(
        lambda key: SETTINGS[key].map(lambda value: f"{key}={value}"),
    ),
    max_size=5,
    unique_by=lambda override: override.partition("=")[0].partition(".")[0],
)


@settings(
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(OVERRIDES)
def test_a_dumped_scenario_is_the_same_scenario(tmp_path, small, overrides):
    try:
        scenario = load_scenario(small, overrides=overrides)
    except InputError as error:
        assume("has no effect" not in str(error))  # settings that do not go together
        raise
    again = tmp_path / "again.toml"
    again.write_text(dump(scenario), encoding="utf-8")
    assert load_scenario(again) == scenario
    assert dump(load_scenario(again)) == dump(scenario)


def test_a_setting_changes_the_scenario_it_names(small):
    scenario = load_scenario(small, overrides=["workers.0.upload={ kind = 'constant', value_s = 2 }"])
    assert scenario.workers[0].upload.value_s == 2.0
    assert scenario.workers[0].count == 3
    assert load_scenario(small, overrides=["algorithm.cuts=false"]).algorithm.cuts is False
    assert load_scenario(small).algorithm.cuts.every == 4


def test_another_kind_drops_the_settings_of_the_old(small):
    scenario = load_scenario(small, overrides=["algorithm.kind=sdbt"])
    assert scenario.algorithm == Sdbt(cuts=Cuts(every=4, rounds=2))  # what both kinds have stays
    scenario = load_scenario(small, overrides=["algorithm.kind=asyndbt"])
    assert scenario.algorithm == Asyndbt(wait_for=2, tau=3, cuts=Cuts(every=4, rounds=2))
    scenario = load_scenario(small, overrides=["algorithm.kind=fedbdpl"])
    assert scenario.algorithm == Fedbdpl()


def test_a_bare_word_is_a_text(small):
    assert load_scenario(small, overrides=["description=two words"]).description == "two words"
    assert load_scenario(small, overrides=["description=1\nseed=2", "seed=3"]).seed == 3


def test_later_overrides_win(small):
    assert load_scenario(small, overrides=["seed=1", "seed=2"]).seed == 2


def test_a_file_over_a_file(tmp_path, small):
    (tmp_path / "upper").mkdir()
    upper = tmp_path / "upper" / "upper.toml"
    upper.write_text(
        '"$schema" = "x.json"\nextends = "../small.toml"\nname = "upper"\n'
        "[algorithm]\nwait_for = 1\n[variants.b]\nseed = 4\n[variants.a.algorithm]\nkind = 'sdbt'\n"
    )
    b, a = load_variants(upper)
    assert (b.name, b.variant, b.seed, b.algorithm.wait_for, b.algorithm.tau) == ("upper", "b", 4, 1, 3)
    assert (a.variant, a.algorithm.kind, a.seed) == ("a", "sdbt", 0)
    assert load_variants(upper, only=["a", "a"]) == [a]
    assert load_scenario(upper, "a") == a
    lowest = tmp_path / "lowest.toml"
    lowest.write_text('extends = "upper/upper.toml"\n[variants.b]\nseed = 5\n')
    assert [scenario.seed for scenario in load_variants(lowest)] == [5, 0]


def test_a_file_without_a_name_is_called_after_itself(tmp_path, small):
    other = tmp_path / "other-name.toml"
    other.write_text(small.read_text().replace('name = "small"', ""))
    assert load_scenario(other).name == "other-name"


def test_measured_delays_lie_beside_the_file_that_names_them(tmp_path, small):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.csv").write_text("x_s\n1\n3\n")
    part = "{ file = 'd.csv', column = 'x_s', kind = 'empirical' }"
    upper = tmp_path / "sub" / "upper.toml"
    upper.write_text(f"extends = '../small.toml'\n[llm]\nlatency = {part}\n[variants.v]\nseed = 1\n")
    scenario = load_scenario(upper, "v")
    assert scenario.llm.latency.samples_s == (1.0, 3.0)
    assert "d.csv" not in dump(scenario)


@pytest.mark.parametrize(
    "overrides", [[], ["algorithm.cuts=false"], ["record.spans=true"], ["algorithm.kind=cendbt"]]
)
def test_the_resolved_scenario_in_a_run_folder_gives_the_same_run(tmp_path, small, overrides):
    first = sweep.run_one(load_scenario(small, overrides=overrides), tmp_path / "a")
    again = sweep.run_one(load_scenario(first.folder / "scenario.toml"), tmp_path / "b")
    assert again.folder.name == first.folder.name
    files = {file.name for file in first.folder.iterdir()}
    assert files == {*results.FILES} | (
        {f"{table}.parquet" for table in results.KEPT_WITH_SPANS}
        if "record.spans=true" in overrides
        else set()
    )
    for name in files - {"provenance.json"}:
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes(), name


def test_the_run_id_tells_scenarios_and_seeds_apart(small):
    scenarios = [
        load_scenario(small, overrides=overrides)
        for overrides in (
            [],
            ["seed=1"],
            ["algorithm.cuts=false"],
            ["llm.latency.value_s=0.6"],
            ["name=other"],
        )
    ]
    assert len({results.run_id(scenario) for scenario in scenarios}) == len(scenarios)
    assert results.run_id(load_scenario(small)) == results.run_id(scenarios[0])


def test_from_python(small):
    scenario = fedsim.load_scenario(small, overrides=["budget.server_steps=2"])
    run = fedsim.run(scenario)
    assert isinstance(run, fedsim.Run)
    assert isinstance(run.steps, pd.DataFrame)
    assert list(run.steps.step) == [0, 1, 2]
    assert repr(run).startswith("<Run small, seed 0: simulated_time_s=")
    html = run._repr_html_()
    assert html.startswith("<table")
    assert "<th>server_steps</th>\n      <td>2</td>" in html
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = fedsim.runn

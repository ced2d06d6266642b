"""Every scenario file of the project: it loads, round-trips, and runs when shortened."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from fedsim import sweep
from fedsim.errors import LeftOutWarning
from fedsim.scenario import dump, load_scenario, load_variants
from fedsim.simulation import run
from fedsim.verify import verify

FOLDER = Path(__file__).parents[2] / "scenarios"
COMPLETE = sorted(
    file
    for file in FOLDER.rglob("*.toml")
    if file.parent.name not in ("common", "llm", "fedicl", "ifedicl", "comparison")
)
FEATURES = {file.stem: file for file in COMPLETE if file.parent.name == "features"}
SHORT = ["budget.epochs=2", "evaluation={unset=true, every_steps=1000}"]
SIX = ("5g", "cola", "sst2", "mrpc", "qqp", "qnli")


def name(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def test_what_there_is():
    assert {name(file) for file in COMPLETE} >= {
        f"{study}/{task}" for study in ("figure1", "faithful", "ablations") for task in SIX
    }
    assert set(FEATURES) >= {
        *("quadratic", "straggler", "transient", "three-endpoints", "fail-stop", "bandwidth"),
        *("dirichlet", "robust", "empirical", "ablations", "mixture", "readme"),
    }


@pytest.mark.parametrize("file", COMPLETE, ids=name)
def test_it_loads_and_round_trips(file, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", LeftOutWarning)  # a file of ours says itself what it leaves out
        scenarios = load_variants(file)
    again = tmp_path / "again.toml"
    for scenario in scenarios:
        again.write_text(dump(scenario))
        assert load_scenario(again) == scenario
    assert len(set(scenarios)) == len(scenarios)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(scenario, id=f"{name(file)}{scenario.variant and ' '}{scenario.variant}")
        for file in COMPLETE
        # One task of the paper stands for the six: they differ in their surrogate's parameters alone.
        if file.stem == "sst2" or file.parent.name == "features"
        for scenario in load_variants(file, SHORT)
    ],
)
def test_it_runs_shortened(scenario, tmp_path):
    outcome = sweep.run_one(scenario, tmp_path)
    assert outcome.failure == ""
    computing = scenario.n_machines
    if scenario.budget.server_steps == 0:
        assert outcome.summary["worker_updates"] == 0
    elif scenario.budget.horizon_s is None:
        assert 2 * computing <= outcome.summary["worker_updates"] < 3 * computing
    assert [check for check in verify(outcome.folder) if check.violation] == []


def times(feature: str, variant: str = "", *overrides: str) -> dict:
    """Run the clock of a feature's scenario and return its summary."""
    return run(load_scenario(FEATURES[feature], variant, overrides), timing_only=True).summary


def test_the_straggler_holds_up_the_synchronous_form_more():
    assert (
        times("straggler", "sdbt")["simulated_time_s"]
        > 1.3 * times("straggler", "asyndbt")["simulated_time_s"]
    )


def test_the_worker_that_stops_is_given_up():
    summary = times("fail-stop")
    ((worker, evicted_s),) = summary["evicted"].items()
    assert worker == "3"
    assert evicted_s > 60
    assert summary["ended"] == "budget"
    assert (
        run(
            load_scenario(FEATURES["fail-stop"]).model_copy(
                update={"server": load_scenario(FEATURES["robust"]).server}
            ),
            timing_only=True,
        ).summary["ended"]
        == "stalled"
    )


def test_the_endpoints_slow_down_as_their_medians_say():
    groups = load_scenario(FEATURES["three-endpoints"]).workers
    assert [round(group.slow_down * 0.3444, 2) for group in groups] == [0.21, 0.52, 0.37]


def test_bandwidth_takes_the_seconds_that_the_file_says():
    summary = times(
        "bandwidth",
        "",
        "algorithm.kind=sdbt",
        "budget.epochs=3",
        "algorithm.cuts=false",
        'algorithm.unset=["z_rate"]',
    )
    # Three uploads of 800 bytes at 0.02 Mbit/s, and two downloads: the first job needs none.
    assert summary["seconds_by_activity"]["uploading"] == pytest.approx(3 * 800 * 8 / 0.02e6)
    assert summary["seconds_by_activity"]["downloading"] == pytest.approx(2 * 800 * 8 / 0.1e6)


def test_cold_starts_cost_time():
    assert times("mixture")["simulated_time_s"] > 2 * times("empirical")["simulated_time_s"]


def test_the_quadratic_problem_is_nearly_solved():
    steps = run(load_scenario(FEATURES["quadratic"])).steps.dropna(subset=["loss"])
    assert steps.distance_q.iloc[-1] < 0.2 * steps.distance_q.iloc[0]

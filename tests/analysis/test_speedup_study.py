"""The study behind `speedup` and `idle`: which runs stand where, a small whole study, and its errors."""

import itertools
from pathlib import Path

import pandas as pd
import pytest

from fedsim.results import find_runs
from fedsim.scenario import load_variants
from fedsim.simulation import run
from fedsim_analysis.studies import speedup as study

FOLDER = Path(__file__).parents[2] / "scenarios" / "speedup"
FILES = [f"{name}.{suffix}" for name in ("speedup", "idle") for suffix in ("pdf", "png", "csv")]


@pytest.fixture(scope="module")
def places():
    return list(study.speedup_places(FOLDER))


def of(places, table, setting, method):
    """Return the scenarios by value."""
    return {
        place.labels["value"]: place.scenario
        for place in places
        if (place.table, place.labels["study"], place.scenario.variant) == (table, setting, method)
    }


def test_every_place_is_what_its_labels_say(places):
    read = {
        "straggler_factor": lambda scenario: scenario.workers[1].slow_down,
        "wait_for": lambda scenario: scenario.algorithm.wait_for,
        "tau": lambda scenario: scenario.algorithm.tau,
        "n_workers": lambda scenario: scenario.n_workers,
    }
    for setting, values in study.STUDIES.items():
        found = of(places, "timed", setting, "asyndbt")
        assert {value: read[setting](scenario) for value, scenario in found.items()} == {
            value: value for value in values
        }
        learning = [value for value in values if setting != "n_workers" or value <= 100]
        assert list(of(places, "tuned", setting, "asyndbt")) == learning
        assert list(of(places, "timed", setting, "sdbt")) == list(values)


def test_one_setting_varies_at_a_time_and_all_panels_meet(places):
    everywhere = [
        of(places, "tuned", setting, "asyndbt")[value]
        for setting, value in (("straggler_factor", 4), ("wait_for", 5), ("tau", 15), ("n_workers", 10))
    ]
    assert all(scenario == everywhere[0] for scenario in everywhere)
    for setting in ("wait_for", "tau"):
        assert len(set(of(places, "tuned", setting, "sdbt").values())) == 1


def test_half_of_the_workers_are_waited_for(places):
    found = of(places, "timed", "n_workers", "asyndbt")
    assert {n: scenario.algorithm.wait_for for n, scenario in found.items()} == {
        3: 2,
        10: 5,
        30: 15,
        100: 50,
        300: 150,
        1000: 500,
    }


def test_methods_are_measured_as_often(places):
    for method in ("asyndbt", "sdbt"):
        found = of(places, "tuned", "n_workers", method)
        apart = {value: scenario.evaluation.every_updates for value, scenario in found.items()}
        assert apart == {3: 3, 10: 10, 30: 30, 100: 100}


def test_the_clock_runs_for_equal_work_and_learning_until_the_target(places):
    for place in places:
        ends = place.scenario.budget
        assert place.timing_only == (place.table == "timed")
        assert (ends.horizon_s is None) == place.timing_only
        assert (place.scenario.target is None) == place.timing_only
        assert not place.timing_only or ends.epochs == study.ROUNDS


def test_no_straggler_differs_in_the_straggler_alone():
    with_one, without = (
        load_variants(FOLDER / f"{name}.toml", ["name=x"]) for name in ("straggler", "no-straggler")
    )
    for one, other in zip(with_one, without, strict=True):
        assert other == one.model_copy(update={"workers": other.workers})
        normal, slow = one.workers
        assert slow.model_copy(update={"slow_down": 1.0, "count": 9, "name": "normal"}) == normal
        assert [normal.model_copy(update={"count": 10})] == list(other.workers)


def each_s(scenario):
    """Return the time a worker update takes, over 20 rounds."""
    short = scenario.model_copy(update={"budget": scenario.budget.model_copy(update={"epochs": 20})})
    summary = run(short, timing_only=True).summary
    return summary["simulated_time_s"] / summary["worker_updates"]


def test_the_synchronous_ends_of_S_and_tau_save_nothing(places):
    for setting, end in (("wait_for", 10), ("tau", 1)):
        sdbt, asyndbt = (of(places, "timed", setting, method)[end] for method in study.METHODS)
        assert each_s(asyndbt) == each_s(sdbt)


def test_a_slower_straggler_costs_sdbt_more(places):
    sdbt, asyndbt = (of(places, "timed", "straggler_factor", method) for method in study.METHODS)
    ratios = [each_s(asyndbt[factor]) / each_s(sdbt[factor]) for factor in (1, 2, 4, 8)]
    assert all(later < 0.95 * earlier for earlier, later in itertools.pairwise(ratios))
    # One worker sets the pace of SDBT: a factor of 8 in place of 4 doubles its time.
    assert each_s(sdbt[8]) / each_s(sdbt[4]) == pytest.approx(2, rel=0.02)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Shrink the study to two places per panel, and return its words."""
    monkeypatch.setattr(study, "STUDIES", {"straggler_factor": (1, 4), "n_workers": (3, 4)})
    monkeypatch.setattr(study, "MOST_LEARNING", 3)
    monkeypatch.setattr(study, "ROUNDS", 2)
    folder = tmp_path / "scenarios"
    folder.mkdir()
    for name in ("straggler", "no-straggler"):
        text = (FOLDER / f"{name}.toml").read_text()
        text = text.replace("../common", str(FOLDER.parent / "common")).replace(
            "value = 0.4 ", "value = 0.5 "
        )
        (folder / f"{name}.toml").write_text(text)
    places = {"scenarios": folder, "results": tmp_path / "results", "output": tmp_path / "figures"}
    return [
        "--replicates",
        "2",
        *(str(word) for name, path in places.items() for word in (f"--{name}", path)),
    ]


def test_a_small_study_draws_both_figures_and_runs_nothing_twice(tiny, tmp_path, capsys, monkeypatch):
    study.main(tiny)
    said = capsys.readouterr().out.split()
    assert said == [str(tmp_path / "figures" / file) for file in FILES]
    table = pd.read_csv(tmp_path / "figures" / "speedup.csv")
    assert len(table) == 4 + 2  # savings at four places; the times of both methods where few enough learn
    assert set(table["runs"]) == {2}
    assert set(pd.read_csv(tmp_path / "figures" / "idle.csv")["scenario"]) == {"straggler", "no-straggler"}
    found = find_runs(tmp_path / "results")
    before = [(folder / "provenance.json").read_bytes() for folder in found]
    monkeypatch.setattr(study.figures, "draw", lambda name, load, output: [f"{name} again"])
    study.main(tiny)
    assert capsys.readouterr().out == "speedup again\nidle again\n"
    assert find_runs(tmp_path / "results") == found
    assert [(folder / "provenance.json").read_bytes() for folder in found] == before


def test_a_missing_scenario_is_one_sentence(tiny, tmp_path, capsys):
    (tmp_path / "scenarios" / "no-straggler.toml").unlink()
    with pytest.raises(SystemExit) as ended:
        study.main(tiny)
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("no-straggler.toml: no such file\n")


def test_ctrl_c_keeps_what_is_finished(tiny, tmp_path, capsys, monkeypatch):
    real, count = study.sweep.run_one, iter(range(100))

    def third_is_stopped(*given, **named):
        if next(count) == 2:
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(study.sweep, "run_one", third_is_stopped)
    with pytest.raises(SystemExit) as ended:
        study.main(tiny)
    assert ended.value.code == 130
    assert "finished runs are kept" in capsys.readouterr().err
    assert len(find_runs(tmp_path / "results")) == 2
    assert not list((tmp_path / "figures").iterdir())

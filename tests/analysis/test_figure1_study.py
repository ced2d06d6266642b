"""The study of Figure 1: which runs it makes, where they lie, and the picture at its end."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from fedsim.results import load_results
from fedsim.sweep.engines import LocalPool
from fedsim_analysis.studies import figure1

SCENARIOS = Path(__file__).parents[2] / "scenarios"
POOLED_MEAN_S = 0.393
MEANS_S = {"anyscale": 0.249, "perplexity": 0.419, "fireworks": 0.511}

TINY = """
[problem]
kind = "icl"
n_samples = 2
batch = 2
task = { kind = "calibrated", name = "sst2", n_words = 2, n_candidates = 3, n_demonstrations = 2 }
[algorithm]
cuts = { every = 2, rounds = 1 }
[[workers]]
count = 3
compute = { kind = "constant", value_s = 0.05 }
[llm]
kind = "independent"
latency = { kind = "exponential", mean_s = 0.5 }
latency_tokens = 550
per_input_token_s = 0.00014
[budget]
epochs = 3
[variants.cendbt.algorithm]
kind = "cendbt"
machine = "workers"
[variants.sdbt.algorithm]
kind = "sdbt"
[variants.asyndbt.algorithm]
kind = "asyndbt"
wait_for = 2
tau = 5
"""


def test_unlike_workers_are_the_providers_that_are_pooled() -> None:
    places = list(figure1.places_of(SCENARIOS / "figure1", 1))
    assert Counter(place.table for place in places) == {"runs": 18, "unlike": 18, "slopes": 18 * 4}
    (plain,) = {place.scenario.llm for place in places if place.table == "runs"}
    assert plain.latency.mean_value_s == pytest.approx(POOLED_MEAN_S, abs=5e-4)
    for place in (place for place in places if place.table == "unlike"):
        groups = place.scenario.workers
        assert {group.name: group.slow_down * POOLED_MEAN_S for group in groups} == pytest.approx(
            MEANS_S, abs=5e-4
        )
        # As fast as alike workers on average.
        assert sum(group.slow_down for group in groups) == pytest.approx(3, abs=0.01)
        if place.scenario.algorithm.kind == "cendbt":
            (machine,) = place.scenario.machines
            assert machine.name == "perplexity"
    slopes = {
        (place.labels["mix"], place.labels["slope_s"], place.scenario.llm.per_input_token_s)
        for place in places[2:]
        if place.table == "slopes"
    }
    assert slopes == {(mix, slope, slope) for mix in ("alike", "unlike") for slope in (0.000024, 0.00024)}


def test_a_small_study_from_the_first_run_to_the_picture(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios" / "figure1").mkdir(parents=True)
    (tmp_path / "scenarios" / "common").mkdir()
    shutil.copy(SCENARIOS / "common" / "providers.toml", tmp_path / "scenarios" / "common")
    (tmp_path / "scenarios" / "figure1" / "sst2.toml").write_text(TINY)
    (tmp_path / "scenarios" / "ablations").mkdir()
    common = TINY.partition("[variants")[0].replace(
        "[algorithm]", '[algorithm]\nkind = "cendbt"\nmachine = "workers"'
    )
    ablation = '[variants.drawn.problem]\nevaluation = "sampled"\n'
    (tmp_path / "scenarios" / "ablations" / "sst2.toml").write_text(common + ablation)
    figure1.main(["--replicates", "2"])
    assert list(load_results("results/ablations")["variant"]) == ["drawn"] * 2
    rows = pd.read_csv("figures/figure1.csv").set_index(["workers", "method"])
    assert len(load_results("results/figure1")) == len(load_results("results/figure1_unlike")) == 6
    assert load_results("results/figure1_slopes")["timing_only"].all()
    assert set(rows["task"]) == {"sst2"}
    assert set(rows["seeds"]) == {2}
    # A prompt of 2 words has about 150 tokens, fewer than those measured: the steeper, the faster.
    between = rows["time_h_largest_slope"] < rows["time_h"]
    assert (between & (rows["time_h"] < rows["time_h_least_slope"])).all()
    # Three questions of 46.8 tokens and of 2 words of 1.24 tokens.
    assert set(rows["tokens_per_call"]) == {148}
    done, pools = load_results("results/figure1"), []

    def counted(jobs: int) -> LocalPool:
        pools.append(jobs)
        return LocalPool(jobs)

    monkeypatch.setattr("fedsim_analysis.studies.running.LocalPool", counted)
    monkeypatch.setattr("fedsim.sweep.LocalPool", counted)
    figure1.main(["--replicates", "2", "--jobs", "2"])
    assert load_results("results/figure1").equals(done)
    assert pools == [2], "the tables share one pool of processes"

"""`fedsim compare`: numbers against scipy and by hand, who is compared with whom, and what is said of it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedsim.cli import main
from fedsim.errors import InputError
from fedsim_analysis.compare import cells, compare, means, metric_named
from fedsim_analysis.compare.contrasts import adjusted, contrast

SCENARIO = Path(__file__).parents[2] / "scenarios" / "features" / "sweep.toml"
SDBT_S = [100.0, 110.0, 120.0]
ASYNDBT_S = {1: [90.0, 99.0, 108.0], 2: [80.0, 92.0, 101.0], 10: [100.0, 111.0, 119.0]}


def runs_of(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return runs as `load_results` gives them: what a row leaves out is as most runs have it."""
    usual = {"scenario": "one", "variant": "", "ended": "budget", "timing_only": False, "n_workers": 4}
    return pd.DataFrame([{"run_id": str(number)} | usual | row for number, row in enumerate(rows)])


def study(**more: object) -> pd.DataFrame:
    """SDBT once a seed; AsynDBT with three values of S, the largest stated first."""
    rows: list[dict[str, object]] = [
        {"algorithm": "asyndbt", "algorithm.wait_for": s, "seed": seed, "simulated_time_s": time_s}
        for s, times in reversed(ASYNDBT_S.items())
        for seed, time_s in enumerate(times)
    ]
    rows += [
        {"algorithm": "sdbt", "algorithm.wait_for": math.nan, "seed": n, "simulated_time_s": time_s}
        for n, time_s in enumerate(SDBT_S)
    ]
    return runs_of(rows).assign(**more)


def test_numbers_are_those_of_scipy_and_a_baseline_without_the_axis_counts_for_all_of_it():
    found = compare(study(), baseline="sdbt", correction="none")
    table = found.table
    assert list(table["method"]) == ["sdbt", "asyndbt", "asyndbt", "asyndbt"]
    assert [str(s) for s in table["algorithm.wait_for"]] == ["nan", "1.0", "2.0", "10.0"]  # as numbers
    assert table["baseline"].tolist() == [True, False, False, False]
    assert table["pairs"].tolist() == [0, 3, 3, 3]
    for (_, row), times in zip(table[1:].iterrows(), ASYNDBT_S.values(), strict=True):
        mean = stats.t.interval(0.95, 2, np.mean(times), stats.sem(times))
        assert row[["simulated_time_s_low", "simulated_time_s_high"]].tolist() == pytest.approx(mean)
        twin = stats.ttest_rel(times, SDBT_S)
        if np.std(np.subtract(times, SDBT_S)):
            interval = twin.confidence_interval()
            assert row["simulated_time_s_p"] == pytest.approx(twin.pvalue)
            low, high = row["simulated_time_s_difference_low"], row["simulated_time_s_difference_high"]
            assert (low, high) == pytest.approx(tuple(interval))
        logs = stats.ttest_rel(np.log(times), np.log(SDBT_S))
        assert row["simulated_time_s_ratio"] == pytest.approx(stats.gmean(np.divide(times, SDBT_S)))
        if not np.allclose(np.divide(times, SDBT_S), 0.9):
            bounds = tuple(np.exp(logs.confidence_interval()))
            assert (row["simulated_time_s_ratio_low"], row["simulated_time_s_ratio_high"]) == pytest.approx(
                bounds
            )
    # 90/100 = 99/110 = 108/120: the ratio has no spread, the difference has.
    assert table["simulated_time_s_ratio_low"][1] == pytest.approx(0.9)
    assert table["simulated_time_s_ratio_high"][1] == pytest.approx(0.9)


def test_by_hand_what_is_best_and_whether_the_data_tell_it():
    # 80, 92, 101 against 90, 99, 108: differences -10, -7, -7 are -8 in the mean with a deviation of
    # sqrt(3), so t = 8 on 2 degrees of freedom, p = 0.0153; against SDBT -20, -18, -19, and against S = 10
    # -20, -19, -18: t = 19 sqrt(3), p = 0.0009. All three are below 0.05, by Holm as well.
    found = compare(study(), baseline="sdbt")
    assert all(part in found._repr_html_() for part in ("<table", "AsynDBT", "wait_for = 2"))
    (said,) = found.verdicts
    assert said == (
        "best by simulated_time_s: AsynDBT, wait_for = 2 (91); the data tell it from the next, AsynDBT, "
        "wait_for = 1 (difference -8, 95 % -12.3 to -3.697)"
    )
    runs = study()
    runs.loc[runs["simulated_time_s"] == 101, "simulated_time_s"] = 120.0
    (said,) = compare(runs, baseline="sdbt").verdicts
    assert said.startswith(
        "best by simulated_time_s: AsynDBT, wait_for = 2 (97.33); the data cannot tell it "
    )
    assert said.endswith(", nor from 2 more")


def test_the_best_of_its_surroundings_is_marked():
    found = compare(study(), baseline="sdbt")
    assert found.table["simulated_time_s_best"].tolist() == [False, False, True, False]
    assert [text.endswith("best)") for text in cells(found, "simulated_time_s")["mean"]] == [
        *(False, False, True, False)
    ]
    nobody_knows = compare(study(server_load=1.0), baseline="sdbt", metrics=["server_load"])
    assert not nobody_knows.table["server_load_best"].any()
    assert nobody_knows.verdicts[0].startswith("whether more or less of server_load is better is not known")


def test_runs_that_are_equal_seed_by_seed_have_no_best():
    runs = study().assign(simulated_time_s=study()["seed"] + 100.0)
    assert compare(runs, baseline="sdbt").verdicts == (
        "all have the same simulated_time_s, seed by seed (101)",
    )


def test_seeds_of_one_side_alone_are_said_and_left_out_of_differences():
    runs = study()
    runs = runs[(runs["algorithm"] != "sdbt") | (runs["seed"] < 2)]
    found = compare(runs, baseline="sdbt")
    # 80 - 100 and 92 - 110, without the third.
    assert found.table["simulated_time_s_difference"].tolist()[2] == pytest.approx(-19)
    assert found.table["pairs"].tolist() == [0, 2, 2, 2]
    assert any(
        note.startswith("3 rows with runs of seeds that the baseline does not") for note in found.notes
    )


def test_ratios_of_two_seeds_may_be_as_uncertain_as_can_be():
    found = contrast(pd.Series([1.0, 1e-200]), pd.Series([1.0, 1.0]))
    assert (found.ratio.low, found.ratio.high) == (0.0, math.inf)


def test_means_are_those_of_the_rows_beside_no_baseline():
    alone, beside = means(study(), metrics=["time_s"]), compare(study(), baseline="sdbt")
    columns = ["algorithm.wait_for", "method", "runs", "simulated_time_s", "simulated_time_s_low"]
    pd.testing.assert_frame_equal(alone.table[columns], beside.table[columns])
    assert list(cells(alone)) == ["wait_for", "method", "runs", "simulated_time_s"]
    assert (alone.baseline, alone.verdicts) == (None, ())


def test_surroundings_are_nobodys_choice_and_have_a_verdict_each():
    slow = study(**{"workers.0.slow_down": 4.0})
    slow["simulated_time_s"] *= np.where(slow["algorithm"] == "sdbt", 4.0, 3.0)
    runs = pd.concat([slow, study(**{"workers.0.slow_down": 1.0})], ignore_index=True)
    found = compare(runs, baseline="sdbt")
    assert found.axes == ("algorithm.wait_for", "workers.0.slow_down")
    assert [said.partition(":")[0] for said in found.verdicts[:-1]] == ["slow_down = 1", "slow_down = 4"]
    assert found.verdicts[-1] == (
        "best by simulated_time_s in 2 surroundings: AsynDBT, wait_for = 2 in 2; the data tell the best from "
        "all others in 2 of them"
    )
    ratios = found.table.set_index(["algorithm.wait_for", "workers.0.slow_down"])["simulated_time_s_ratio"]
    assert ratios[1.0, 4.0] == pytest.approx(0.9 * 0.75)
    with pytest.raises(InputError, match=r"differ in workers\.0\.slow_down as well; name that in --by"):
        compare(runs, baseline="sdbt", by=["algorithm.wait_for"])
    # With a setting as the baseline, its own axis is what is compared.
    rows = compare(runs, baseline="algorithm.wait_for=10").table
    row = rows[(rows["algorithm.wait_for"] == 1) & (rows["workers.0.slow_down"] == 4)].iloc[0]
    assert row["simulated_time_s_difference"] == pytest.approx(3 * np.mean([-10, -12, -11]))
    assert rows["baseline"].sum() == 2


def test_a_target_that_is_missed_counts_up_to_the_first_end_of_such_a_run():
    runs = study(time_to_target_s=[50.0, 60.0, 70.0] * 3 + [80.0, math.nan, 90.0])
    found = compare(runs, baseline="sdbt", metrics=["time_to_target_s"])
    rows = found.table.set_index("algorithm.wait_for")
    # SDBT's second run ends at 110 s without it: 80, 110, 90 s at least.
    assert rows.loc[[math.nan], "time_to_target_s"].iloc[0] == pytest.approx((80 + 110 + 90) / 3)
    assert rows.loc[[math.nan], "time_to_target_s_missed"].iloc[0] == 1
    assert rows.loc[2.0, "time_to_target_s_difference"] == pytest.approx((-30 - 50 - 20) / 3)
    assert any("1 of 12 runs never reached the target" in note for note in found.notes)
    assert cells(found, "time_to_target_s")["mean"][0].startswith(">= 93 ± ")
    assert "1 missed" in cells(found, "time_to_target_s")["mean"][0]


def test_sides_without_a_seed_in_common_are_independent_samples():
    ours, theirs = pd.Series([1.0, 2.0, 4.0], [0, 1, 2]), pd.Series([3.0, 5.0, 9.0, 4.0], [7, 8, 9, 10])
    found, twin = contrast(ours, theirs), stats.ttest_ind(ours, theirs, equal_var=False)
    assert (found.pairs, found.p) == (0, pytest.approx(twin.pvalue))
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(twin.confidence_interval()))


def test_p_values_are_corrected_by_hand():
    assert adjusted([0.01, 0.04, 0.03, math.nan], "holm")[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.01, 0.4, 0.03], "bonferroni") == pytest.approx([0.03, 1.0, 0.09])
    assert adjusted([0.01, 0.04, 0.03], "fdr") == pytest.approx([0.03, 0.04, 0.04])
    equal = contrast(pd.Series([0.1 + 0.2, 0.3]), pd.Series([0.3, 0.3]))
    assert (equal.difference.mean, equal.p) == (0.0, 1.0)  # but for rounding


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"baseline": "sdtb"}, "no such method or variant; did you mean 'sdbt'"),
        ({"baseline": "cendbt"}, "no such method or variant among these runs"),
        ({"baseline": "algorithm.wait_for=7"}, "no run has it (values: 10, 2, 1)"),
        (
            {"by": ["algorithm.tau"]},
            "--by 'algorithm.tau': no setting of this name varies",
        ),
        ({"metrics": ["acuracy"]}, "metric 'acuracy': no such column; did you mean 'accuracy'"),
        ({"metrics": ["ended"]}, "metric 'ended': a column that is no measurement"),
        ({"by": ["tau"]}, "--by 'tau': no setting of this name"),
        ({"metrics": ["accuracy"]}, "metric 'accuracy': no run has a value of it"),
        ({"correction": "homl"}, "--correction: found 'homl'; did you mean 'holm'"),
    ],
)
def test_mistakes_are_sentences(settings, sentence):
    with pytest.raises(InputError) as told:
        compare(study(accuracy=math.nan), **settings)
    assert sentence in str(told.value)


def test_a_part_of_a_name_is_enough_where_it_is_clear():
    runs = study(time_to_target_s=1.0, accuracy=0.5, accuracy_sampled=0.5, llm_wait_s=1.0)
    names = {"simulated": "simulated_time_s", "accuracy": "accuracy", "target": "time_to_target_s"}
    assert {name: metric_named(runs, name) for name in names} == names
    assert metric_named(runs, "time_s") == "simulated_time_s"
    with pytest.raises(InputError, match="may be"):
        metric_named(runs, "accur")


def test_names_as_the_table_shows_them_are_taken_as_well():
    assert compare(study(), baseline="SDBT").baseline == "sdbt"
    assert compare(study(), baseline="wait_for=10", by=["wait_for"]).baseline == "algorithm.wait_for=10"
    two = {"workers.0.count": [1] * 12, "workers.1.count": [1, 2] * 6}
    with pytest.raises(InputError, match=r"--by 'count': may be workers\.0\.count, workers"):
        compare(study(**two), baseline="sdbt", by=["count"])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    words = ("sweep", str(SCENARIO), "--timing-only", "--out", str(folder), "--jobs", "1")
    assert main([*words, "--set", "budget.epochs=2", "--set", "sweep.replicates=2"]) == 0
    return folder


def test_the_command_says_what_the_function_finds(swept, command, tmp_path):
    answer = command("compare", swept, "--metric", "time_s")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "Simulated time (s)"
    assert lines[1].split() == ["slow_down", "method", "runs", "mean", "difference", "ratio"]
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["2", "SDBT"],
        ["2", "AsynDBT"],
        ["8", "SDBT"],
        ["8", "AsynDBT"],
    ]
    assert "best by simulated_time_s" in lines[-1]
    told = json.loads(command("compare", swept, "--metric", "time_s", "--format", "json").out)
    csv = tmp_path / "rows.csv"
    assert command("compare", swept, "--metric", "time_s", "--format", "csv", "-o", csv).code == 0
    assert pd.read_csv(csv)["simulated_time_s_ratio"].dropna().tolist() == pytest.approx(
        [row["simulated_time_s_ratio"] for row in told["rows"] if not row["baseline"]]
    )
    latex = command("compare", swept, "--metric", "time_s", "--format", "latex").out
    assert latex.count(r" \\") == 1 + 4
    assert r"simulated\_time\_s ratio" in latex
    markdown = command("compare", swept, "--metric", "time_s", "--format", "markdown").out
    assert len(markdown.splitlines()) == 6


def test_the_command_refuses_in_sentences(swept, command):
    for words, sentence in (
        (("--format", "tex"), "--format: no format 'tex'"),
        (("--where", "seed > 5"), "--where 'seed > 5': no run is left"),
        (("--metric", "accuracy"), "no run has a value of it: these are runs of the clock alone"),
    ):
        answer = command("compare", swept, *words)
        assert (answer.code, answer.out) == (2, "")
        assert sentence in answer.err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_the_table_compiles(swept, command, tmp_path):
    assert (
        command("compare", swept, "--metric", "time_s", "--format", "latex", "-o", tmp_path / "t.tex").code
        == 0
    )
    lines = (r"\documentclass{article}\usepackage{booktabs}\begin{document}", r"\input{t}", r"\end{document}")
    (tmp_path / "whole.tex").write_text("\n".join(lines))
    words = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex")
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:]

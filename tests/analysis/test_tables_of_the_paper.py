"""The tables: published numbers, Figure 1 in numbers, and the calibration."""

import csv
import io
import math
from importlib.resources import files

import pandas as pd
import pytest
from rich.console import Console
from tiny_tables import run, study

from fedsim.errors import InputError
from fedsim_analysis import tables
from fedsim_analysis.tables import calibration, figure1, published


def printed(renderable) -> str:
    console = Console(width=80, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def paper(task, method):
    rows = published.accuracies().set_index(["task", "method"])
    return rows.loc[(task, method)]


def test_numbers_as_printed_in_the_paper():
    assert tuple(paper("5g", "cendbt")) == (87.21, 1.30)
    assert tuple(paper("qnli", "asyndbt")) == (87.79, 0.43)
    assert tuple(paper("mrpc", "bdpl")) == (80.40, 0.42)
    assert paper("qqp", "fragment_only")["paper_percent"] == 79.0
    assert math.isnan(paper("qqp", "fragment_only")["paper_deviation_percent"])
    assert published.TABLE_4["cendbt"][0] == (89.0,)
    assert len(published.accuracies()) == 6 * (9 + 4 - 1)


def test_every_line_has_six_tasks():
    for line in (*published.TABLE_3.values(), *published.TABLE_4.values()):
        assert len(line) == len(published.TASKS)


def test_average_ranks_of_table_3_as_the_paper_prints_them():
    # The paper's last column: cenDBT 1.50, BDPL 3.67, RoBERTa 8.67.
    ranks = published.accuracies().query("method in @published.TABLE_3").copy()
    ranks["rank"] = ranks.groupby("task")["paper_percent"].rank(ascending=False)
    means = ranks.groupby("method")["rank"].mean()
    assert means["cendbt"] == 1.5
    assert means["bdpl"] == pytest.approx(3.67, abs=0.005)
    assert means["roberta"] == pytest.approx(8.67, abs=0.005)


def test_the_fit_aimed_at_these_numbers():
    text = (files("fedsim.icl.tasks.calibrated") / "published.csv").read_text()
    for row in csv.DictReader(text.splitlines()):
        for method in published.FITTED:
            assert float(row[method]) == paper(row["name"], method)["paper_percent"]


def test_status_says_what_was_fitted():
    assert published.status("plain") == "fitted"
    assert [published.status(name) for name in ("cendbt", "sdbt", "asyndbt")] == ["predicted"] * 3
    assert published.status("bdpl") == "fitted"


def with_accuracies():
    """Return runs on 5G; AsynDBT has accuracies 0.84, 0.85, 0.86, and its target in 1 h, in 3 h and never."""
    runs = study().query("scenario == '5g'").reset_index(drop=True)
    ours = runs["variant"] == "asyndbt"
    runs.loc[ours, "accuracy"] = [0.84, 0.85, 0.86]
    runs.loc[ours, "time_to_target_s"] = [3600.0, 10800.0, math.nan]
    runs.loc[ours, "accuracy_sampled"], runs.loc[ours, "accuracy_sampled_std"] = 0.9, 0.04
    return runs


def test_figure1_in_numbers_by_hand():
    row = figure1.table(with_accuracies()).set_index("method").loc["asyndbt"]
    assert row["time_h"] == 5.0
    assert row["saving_percent"] == 50.0
    assert row["s_per_server_step"] == pytest.approx(180.0)  # 5 h over 100 steps
    assert row["s_per_worker_update"] == pytest.approx(60.0)
    # 1 h, 3 h, and 4 h without being there: the mean up to the end of that run.
    assert row["time_to_target_h"] == pytest.approx(8 / 3)
    assert (row["horizon_h"], row["target_reached"], row["seeds"]) == (4.0, 2, 3)
    assert row["accuracy_percent"] == pytest.approx(85.0)
    assert row["accuracy_deviation_percent"] == pytest.approx(1.0)
    assert (row["paper_percent"], row["paper_deviation_percent"]) == (85.05, 1.01)
    assert row["difference_percent"] == pytest.approx(-0.05)
    assert row["status"] == "predicted"


def test_a_method_without_a_published_accuracy():
    row = figure1.table(with_accuracies()).set_index("method").loc["sdbt"]
    assert math.isnan(row["paper_percent"])
    assert math.isnan(row["difference_percent"])


def test_how_well_times_to_the_target_are_known_stands_below_the_table():
    runs = with_accuracies()
    within = runs["variant"].map({"cendbt": 1080.0, "sdbt": 3600.0, "asyndbt": 720.0})
    rows = figure1.table(runs.assign(time_to_target_resolution_s=within))
    assert set(rows["time_to_target_resolution_h"]) == {0.3, 1.0, 0.2}
    words = " ".join(printed(figure1.render(rows)).split())
    assert "time to target is known to within: cenDBT 0.30 h, SDBT 1.00 h, AsynDBT 0.20 h" in words


def test_figure1_in_the_terminal():
    text = printed(figure1.render(figure1.table(with_accuracies())))
    lines = [line.split() for line in text.splitlines()]
    assert [line for line in lines if line[:2] == ["5G", "AsynDBT"]] == [
        ["5G", "AsynDBT", *["5.00", "±", "2.48", "50.0", "±", "24.8", "2.67", "±", "12.94", "(2/3)"]],
        ["5G", "AsynDBT", *["100", "300", "180.00", "±", "89.43", "60.00", "±", "29.81"]],
        ["5G", "AsynDBT", *["90.00", "(4.00)", "85.00", "(1.00)", "85.05", "(1.01)", "-0.05", "predicted"]],
    ]
    # Seeds that agree have no interval, and the baseline saves nothing over itself.
    assert ["5G", "cenDBT", "10.00", "4.00", "(3/3)"] in lines
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def residuals():
    rows = [("5g", "plain", 58.5), ("5g", "random_icl", 69.0), ("sst2", "plain", 93.5)]
    return pd.DataFrame(rows, columns=["name", "target", "fitted"])


def runs_with_plain():
    return pd.concat([with_accuracies(), pd.DataFrame([run("5g", "plain", 0, 1.0, accuracy=0.57)])])


def test_calibration_by_hand():
    rows = calibration.table(runs_with_plain(), residuals()).set_index(["task", "method", "source"])
    fitted = rows.loc["5g", "plain", "fit"]
    assert (fitted["ours_percent"], fitted["difference_points"]) == (58.5, 0.5)
    assert fitted["status"] == "fitted"
    assert math.isnan(fitted["ours_percent_low"])
    assert rows.loc["5g", "plain", "run"]["difference_points"] == pytest.approx(-1.0)
    predicted = rows.loc["5g", "asyndbt", "run"]
    assert predicted["ours_percent"] == pytest.approx(85.0)
    assert predicted["ours_percent_low"] == pytest.approx(85 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert predicted["difference_points"] == pytest.approx(-0.05)
    assert predicted["status"] == "predicted"
    assert "sdbt" not in rows.index.get_level_values("method")


def test_calibration_in_the_terminal():
    text = printed(calibration.render(calibration.table(runs_with_plain(), residuals())))
    lines = [line.split() for line in text.splitlines()]
    assert ["plain*", "58.5", "+0.5", "93.5", "+0.0"] in lines
    assert ["Random", "ICL*", "69.0", "-0.7", "-"] in lines
    assert ["plain*", "57.0", "-1.0"] in lines
    assert ["AsynDBT", "85.0", "+0.0"] in lines


def test_a_table_by_its_name():
    rows, rendered = tables.make("calibration", with_accuracies())
    assert len(rows[rows["source"] == "fit"]) == 24  # four accuracies of six tasks
    assert "58.0 +0.0" in printed(rendered)
    rows, rendered = tables.make("figure1", with_accuracies())
    assert list(rows["method"]) == ["cendbt", "sdbt", "asyndbt"]
    assert "AsynDBT" in printed(rendered)


def test_an_unknown_table_suggests_the_nearest():
    with pytest.raises(InputError, match="unknown table 'calibrate'; did you mean 'calibration'"):
        tables.make("calibrate", with_accuracies())

"""Curves: means and deviations by hand, interpolated and never extrapolated."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny_tables import run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import curves

T_OF_2 = 12.7062047
"""The 97.5 % quantile of Student's t with one degree of freedom."""


def two_runs(ends=(2, 2)):
    """Return tables; seed s steps every 100 (s + 1) seconds and is evaluated at steps 0 and `ends[s]`."""
    runs = pd.DataFrame([run("sst2", "asyndbt", seed, 100.0 * (seed + 1) * ends[seed]) for seed in (0, 1)])
    rows = []
    for seed, end in enumerate(ends):
        for step in range(end + 1):
            evaluated = step in (0, end)
            rows.append(
                {
                    "run_id": f"sst2-asyndbt-{seed}",
                    "step": step,
                    "time_s": 100.0 * (seed + 1) * step,
                    "loss": 1.0 - 0.2 * step - 0.2 * seed if evaluated else math.nan,
                    "accuracy": 0.5 + 0.1 * step + 0.1 * seed if evaluated else math.nan,
                }
            )
    return runs, pd.DataFrame(rows)


def line(rows, metric, axis):
    return rows[(rows["metric"] == metric) & (rows["axis"] == axis)].set_index("x")


def test_mean_and_deviation_against_iterations_by_hand():
    found = line(curves.table(*two_runs()), "accuracy_percent", "step")
    # accuracies 50 and 60 at step 0, 70 and 80 at step 2; step 1 was not evaluated
    assert found["mean"].to_dict() == pytest.approx({0.0: 55.0, 2.0: 75.0})
    assert found["deviation"].tolist() == pytest.approx([10 / math.sqrt(2)] * 2)
    assert found["mean_high"].tolist() == pytest.approx([55 + T_OF_2 * 5, 75 + T_OF_2 * 5])
    assert found["mean_low"].tolist() == pytest.approx([55 - T_OF_2 * 5, 75 - T_OF_2 * 5])
    assert found["prompts"].unique().tolist() == ["likeliest"]
    assert found["runs"].tolist() == [2, 2]


def test_against_time_runs_are_interpolated_and_end_where_they_end():
    found = line(curves.table(*two_runs()), "loss", "time_s")
    # Run 0 goes from 1.0 to 0.6 in 200 s, run 1 from 0.8 to 0.4 in 400 s.
    assert found.loc[100.0, "mean"] == pytest.approx((0.8 + 0.7) / 2)
    assert found.loc[100.0, "deviation"] == pytest.approx(0.1 / math.sqrt(2))
    assert found.loc[300.0, "mean"] == pytest.approx(0.5)
    assert found.loc[300.0, "runs"] == 1
    assert math.isnan(found.loc[300.0, "deviation"])
    assert found.index.max() == 400.0


def test_a_line_ends_where_fewer_than_half_of_the_runs_count():
    runs, steps = two_runs()
    third = steps[steps["run_id"] == "sst2-asyndbt-0"].assign(run_id="sst2-asyndbt-2")
    runs = pd.concat([runs, pd.DataFrame([run("sst2", "asyndbt", 2, 200.0)])])
    found = line(curves.table(runs, pd.concat([steps, third])), "loss", "time_s")
    assert found.index.max() == 200.0
    assert found["runs"].min() == 3


def test_runs_that_end_at_different_iterations():
    found = line(curves.table(*two_runs(ends=(2, 4))), "loss", "step")
    # Step 2 lies in the middle of run 1, whose loss falls from 0.8 to 0.0.
    assert found.loc[2.0, "mean"] == pytest.approx((0.6 + 0.4) / 2)
    assert found.loc[4.0, "mean"] == pytest.approx(0.0)


def test_figure_has_four_panels_a_task_in_the_colours_of_the_methods():
    runs, steps = two_runs()
    other = runs.assign(variant="cendbt", run_id=runs["run_id"] + "-c")
    steps = pd.concat([steps, steps.assign(run_id=steps["run_id"] + "-c")])
    picture = curves.figure(pd.concat([runs, other]), steps)
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in picture.axes]
    assert labels == [
        ("Server iterations", "Test accuracy (%)"),
        ("Simulated time (min)", ""),
        ("Server iterations", "Test cross-entropy"),
        ("Simulated time (min)", ""),
    ]
    assert picture.axes[0].get_title(loc="left") == "SST-2"
    # Beside each line that of the likeliest prompts, which is empty where those have the line itself.
    colours = [drawn.get_color() for drawn in picture.axes[0].lines if len(drawn.get_xdata())]
    assert colours == [style.METHODS[name].colour for name in ("cendbt", "asyndbt")]
    band = picture.axes[0].collections[2]
    assert to_hex(band.get_facecolor()[0]) == style.METHODS["asyndbt"].colour.lower()
    assert np.nanmax(band.get_paths()[0].vertices[:, 1]) == pytest.approx(75 + T_OF_2 * 5)
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["cenDBT", "AsynDBT"]
    assert [drawn.get_color() for drawn in picture.legends[0].get_lines()] == colours
    assert picture.axes[1].lines[0].get_xdata().max() == pytest.approx(400 / 60)


def test_drawn_prompts_have_the_line_and_the_likeliest_a_thin_one():
    runs, steps = two_runs()
    drawn = {"loss_sampled": steps["loss"] + 1, "accuracy_sampled": steps["accuracy"] - 0.3}
    drawn |= {"loss_sampled_std": steps["loss"] / 2, "accuracy_sampled_std": steps["accuracy"] / 10}
    steps = steps.assign(**drawn)
    rows = curves.table(runs, steps)
    found = line(rows[rows["prompts"] == "drawn"], "accuracy_percent", "step")
    assert found["mean"].tolist() == pytest.approx([25.0, 45.0])
    assert found["spread"].tolist() == pytest.approx([5.5, 7.5])
    found = line(rows[rows["prompts"] == "drawn"], "loss", "step")
    assert found["mean"].tolist() == pytest.approx([1.9, 1.5])
    assert found["spread"].tolist() == pytest.approx([0.45, 0.25])
    assert rows[rows["prompts"] == "likeliest"]["spread"].isna().all()
    picture = curves.figure(runs, steps)
    thick, thin = picture.axes[0].lines
    assert thick.get_ydata().tolist() == pytest.approx([25.0, 45.0])
    assert thin.get_ydata().tolist() == pytest.approx([55.0, 75.0])
    assert thin.get_linewidth() < thick.get_linewidth()
    paler = picture.axes[0].collections[1].get_paths()[0].vertices[:, 1]
    assert np.nanmax(paler) == pytest.approx(45 + 7.5)
    # An interval of two seeds reaches from -39 to 89: the axis shows what the prompts do.
    low, high = picture.axes[0].get_ylim()
    assert 10 < low < 18
    assert 82 < high < 90
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels[1:] == [
        "drawn prompts",
        "95 % interval over seeds",
        "deviation over prompts",
        "likeliest prompt",
    ]


def test_one_seed_is_a_line_without_a_band():
    runs, steps = two_runs()
    runs, steps = runs.head(1), steps[steps["run_id"] == "sst2-asyndbt-0"]
    assert curves.table(runs, steps)["deviation"].isna().all()
    assert len(curves.figure(runs, steps).axes) == 4


def test_a_problem_without_an_accuracy_has_empty_panels():
    runs, steps = two_runs()
    picture = curves.figure(runs, steps.assign(accuracy=math.nan))
    assert [len(panel.lines) for panel in picture.axes] == [0, 0, 2, 2]


def test_nothing_evaluated():
    runs, steps = two_runs()
    with pytest.raises(InputError, match="no step of these runs was evaluated"):
        curves.table(runs, steps.assign(loss=math.nan, accuracy=math.nan))


def test_runs_of_one_seed_with_different_settings_are_not_averaged():
    runs, steps = two_runs()
    with pytest.raises(
        InputError, match=r"scenario sst2, method asyndbt, seed 0: there are 2 runs; expected one"
    ):
        curves.table(runs.assign(seed=0), steps)

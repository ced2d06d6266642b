"""The figure `grid`: which numbers it draws of any sweep, what it refuses, and how `--where` chooses runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedsim.errors import InputError
from fedsim_analysis import figures, style
from fedsim_analysis.figures import grid

SLOW = "workers.1.slow_down"
SHARE = "attacks.0.fraction"


def sweep_of(methods=("sdbt", "asyndbt"), seeds=3) -> pd.DataFrame:
    """Return runs whose accuracy is a sum of what each setting does, and of the seed."""
    rows = [
        {
            "run_id": f"{method}-{slow}-{share}-{seed}",
            "scenario": "one",
            "variant": "",
            "algorithm": method,
            "seed": seed,
            "ended": "budget",
            SLOW: slow,
            SHARE: share,
            "n_workers": 4,
            "simulated_time_s": 100.0 * slow + seed,
            "algorithm.wait_for": math.nan if method == "sdbt" else 2.0,
            "accuracy": 0.8 - 0.01 * slow - share * (0.5 if method == "sdbt" else 0.1) + 0.01 * seed,
            "time_to_target_s": math.nan if seed == 0 and slow == 4.0 else 50.0 * slow,
        }
        for method in methods
        for slow in (1.0, 2.0, 4.0)
        for share in (0.0, 0.2)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def test_points_are_means_over_seeds():
    rows = grid.table(sweep_of(), x=SLOW, y="accuracy", facet=SHARE)
    assert len(rows) == 2 * 3 * 2
    row = rows[(rows["method"] == "sdbt") & (rows[SLOW] == 2) & (rows[SHARE] == 0.2)].iloc[0]
    values = [0.68, 0.69, 0.70]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (row["mean"], row["mean_low"], row["mean_high"]) == pytest.approx((0.69, low, high))
    assert (row["runs"], row["missed"]) == (3, 0)


def test_differences_are_paired_and_missed_targets_are_told():
    runs = sweep_of()
    rows = grid.table(runs, x=SLOW, y="accuracy", facet=SHARE, baseline="sdbt")
    assert set(rows["method"]) == {"asyndbt"}
    # 0.4 of the share is what SDBT loses more; seeds cancel, so that nothing is left of their spread.
    assert rows.set_index([SLOW, SHARE]).loc[(2.0, 0.2), "mean"] == pytest.approx(0.08)
    assert (rows["mean_high"] - rows["mean_low"]).max() == pytest.approx(0.0, abs=1e-9)
    late = grid.table(runs, x=SLOW, y="time_to_target_s", facet=SHARE)
    late = late[late[SLOW] == 4.0]
    assert late["missed"].tolist() == [1] * 4
    assert late["mean"].tolist() == pytest.approx([(400 + 200 + 200) / 3] * 4)


def test_who_does_not_have_the_setting_is_a_line_across():
    runs = sweep_of()
    runs = runs[runs[SHARE] == 0]
    runs.loc[runs["algorithm"] == "asyndbt", "algorithm.wait_for"] = runs[SLOW]
    runs = runs[(runs["algorithm"] == "asyndbt") | (runs[SLOW] == 1)].assign(**{SLOW: 1.0})
    picture = grid.figure(runs, x="algorithm.wait_for", y="accuracy")
    (axes,) = picture.axes
    across = [line for line in axes.lines if len(line.get_xdata()) == 2 and tuple(line.get_xdata()) == (0, 1)]
    assert [line.get_color() for line in across] == [style.METHODS["sdbt"].colour]
    assert across[0].get_ydata()[0] == pytest.approx(100 * (0.79 + 0.01))
    assert axes.get_xscale() == "log"  # 1, 2, 4


def test_lines_bars_and_heat_maps_are_drawn_with_the_looks_of_all_figures():
    runs = sweep_of(("sdbt", "asyndbt", "mine"))
    picture = grid.figure(runs, x=SLOW, y="time_s", facet=SHARE)
    assert len(picture.axes) == 2
    assert picture.get_supylabel() == "Simulated time (min)"
    runs["attacks.0.kind"] = np.where(runs[SHARE] == 0, "zero", "flip")
    bars = grid.figure(runs.drop(columns=SHARE), x="attacks.0.kind", facet=SLOW)
    assert [tick.get_text() for tick in bars.axes[0].get_xticklabels()] == ["flip", "zero"]
    heat = grid.figure(runs.drop(columns="attacks.0.kind"), x=SLOW, heat=SHARE)
    assert [panel.get_title() for panel in heat.axes[:3]] == ["SDBT", "AsynDBT", "mine"]
    cells = heat.axes[0].images[0].get_array()
    assert cells.shape == (2, 3)
    assert cells[1, 2] == pytest.approx(100 * (0.8 - 0.04 - 0.1 + 0.01))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {},
            "--x: expected a setting for the axis (settings that vary: workers.1.slow_down, attacks",
        ),
        ({"x": SLOW}, "attacks.0.fraction varies as well: expected it in --x, --group, --facet"),
        (
            {"x": "workers.1.slowdown", "facet": SHARE},
            "no setting 'workers.1.slowdown' varies among these runs",
        ),
        ({"x": SLOW, "facet": SLOW}, "found one setting for two uses"),
        ({"x": SLOW, "facet": SHARE, "y": "acuracy"}, "metric 'acuracy': no such column"),
    ],
)
def test_mistakes_are_sentences(options, sentence):
    with pytest.raises(InputError) as told:
        grid.table(sweep_of(), **options)
    assert sentence in str(told.value)


def test_where_chooses_the_runs_of_any_figure_and_leaves_colours_as_they_are(tmp_path):
    runs = sweep_of(("one", "two", "three"))
    options = {"x": SLOW, "y": "accuracy"}
    files = figures.draw(
        "grid", lambda table: runs, tmp_path / "g", f"{SHARE} == 0 and algorithm != 'one'", **options
    )
    rows = pd.read_csv(files[2])
    assert set(rows["method"]) == {"two", "three"}
    picture = figures.picture_of(
        "grid", lambda table: runs, f"{SHARE} == 0 and algorithm != 'one'", **options
    )
    colours = {text.get_text(): line.get_color() for text, line in zip(*_legend(picture), strict=True)}
    assert colours == {name: style.methods(["one", "two", "three"])[name].colour for name in ("two", "three")}
    told = picture.texts[-1].get_text()
    assert told == "18 runs of one; seeds 0 to 2; attacks.0.fraction == 0 and algorithm != 'one'"
    with pytest.raises(InputError, match="no run is left"):
        figures.draw("grid", lambda table: runs, tmp_path / "g", "seed > 5", **options)
    with pytest.raises(InputError, match="figure 'idle' takes no --x"):
        figures.draw("idle", lambda table: runs, tmp_path / "g", **options)


def _legend(picture):
    (legend,) = picture.legends
    return legend.get_texts(), legend.get_lines()

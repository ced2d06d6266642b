"""Time, accuracy and price: means and the non-dominated settings by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import pareto

# method, setting: seconds, accuracy, calls
POINTS = {
    ("sdbt", 5): (100.0, 0.80, 50),
    ("sdbt", 20): (400.0, 0.90, 200),
    ("asyndbt", 5): (60.0, 0.80, 60),
    ("asyndbt", 20): (500.0, 0.85, 240),
}


def runs(**others):
    """Return two seeds of each point; seed 1 takes 20 s longer and seed 0 has 0.02 more accuracy."""
    return pd.DataFrame(
        [
            run("one", method, seed, time_s + 20 * seed, algorithm=method, llm_calls=calls, cost=0.0)
            | {"run_id": f"{method}-{samples}-{seed}"}
            | {"accuracy": accuracy + 0.01 - 0.02 * seed, "ended": "budget", "problem.n_samples": samples}
            | others
            for (method, samples), (time_s, accuracy, calls) in POINTS.items()
            for seed in (0, 1)
        ]
    )


def rows(table):
    return {(row["method"], row["setting"]): row for row in table.to_dict("records")}


def test_means_by_hand():
    found = rows(pareto.table(runs()))["sdbt", "n_samples = 5"]
    assert found["time_s"] == pytest.approx(110)
    assert found["time_s_high"] == pytest.approx(110 + 12.7062 * 10, abs=1e-3)
    assert found["accuracy_percent"] == pytest.approx(80)
    assert found["accuracy_percent_low"] == pytest.approx(80 - 12.7062 * 1, abs=1e-3)
    assert (found["llm_calls"], found["runs"], found["price"]) == (50, 2, "llm_calls")
    assert not found["to_target"]


def test_who_is_beaten_by_none_by_hand():
    found = rows(pareto.table(runs()))

    def best(name):
        return {(method, int(setting[-2:])) for (method, setting), row in found.items() if row[name]}

    # AsynDBT with 5 is faster than SDBT with 5 at the same accuracy; SDBT with 20 is the most accurate of all
    # and faster than AsynDBT with 20.
    assert best("best_time_accuracy") == {("asyndbt", 5), ("sdbt", 20)}
    assert best("best_time_price") == {("asyndbt", 5), ("sdbt", 5)}
    assert best("best_price_accuracy") == {("sdbt", 5), ("sdbt", 20)}


def beaten_reference(one, other):
    points = list(zip(one, other, strict=True))
    return [any(a <= x and b <= y and (a < x or b < y) for a, b in points) for x, y in points]


def test_the_non_dominated_set_agrees_with_its_definition():
    generator = np.random.default_rng(3)
    for _ in range(50):
        one, other = generator.integers(0, 6, (2, 12))
        assert list(~pareto._unbeaten(pd.Series(one), pd.Series(other))) == beaten_reference(one, other)


def test_a_point_without_a_mean_is_not_among_the_best():
    assert list(pareto._unbeaten(pd.Series([1.0, 2.0]), pd.Series([math.nan, 5.0]))) == [False, True]


def test_where_calls_have_a_price_it_is_drawn():
    priced = runs()
    priced["cost"] = priced["problem.n_samples"] / 10
    found = rows(pareto.table(priced))
    assert found["sdbt", "n_samples = 20"]["price"] == "cost"
    assert found["sdbt", "n_samples = 20"]["cost"] == 2.0
    assert found["asyndbt", "n_samples = 5"]["best_time_price"]
    assert not found["sdbt", "n_samples = 5"]["best_time_price"]  # as dear and slower
    assert pareto.figure(priced).axes[2].get_ylabel() == "Price of LLM calls\n(currency of prices)"


def test_figure_by_hand():
    picture = pareto.figure(runs(ended="target"))
    time, by_price, cost, corner = picture.axes
    assert picture.get_size_inches()[0] == style.COLUMN_IN
    assert time.get_ylabel() == "Test accuracy (%)"
    assert cost.get_xlabel() == "Simulated time\nto the target (min)"
    assert by_price.get_xlabel() == cost.get_ylabel() == "LLM calls\n(number)"
    front = time.lines[0]
    assert list(front.get_xdata()) == pytest.approx([70 / 60, 410 / 60])
    assert list(front.get_ydata()) == pytest.approx([80, 90])
    assert [text.get_text() for text in time.texts] == ["5", "20"]
    assert [text.get_text() for text in cost.texts] == ["5", ""]  # two of 5 beside each other
    assert len(time.containers) == 2  # whiskers in both directions for each method
    across, up = (lines.get_segments() for lines in time.containers[0].lines[2])
    assert across[0][1][0] - across[0][0][0] == pytest.approx(2 * 127.062 / 60, abs=1e-3)
    assert up[0][1][1] - up[0][0][1] == pytest.approx(2 * 12.7062, abs=1e-3)
    legend = corner.get_legend()
    assert legend.get_title().get_text() == "beside the line:\nn samples"
    assert [text.get_text() for text in legend.get_texts()] == ["beaten by none", "SDBT", "AsynDBT"]
    assert_inside(picture)


def test_several_settings_have_no_values_beside_them():
    more = runs()
    more["algorithm.cuts.every"] = more["problem.n_samples"] * 2
    picture = pareto.figure(more)
    assert {text.get_text() for text in picture.axes[0].texts} == {""}
    assert picture.axes[3].get_legend().get_title().get_text() == ""


def test_what_is_refused():
    needed = "none has what is needed: accuracies of several methods or settings with equal workers"
    single = runs().query("variant == 'sdbt' and `problem.n_samples` == 5")
    with pytest.raises(InputError, match=needed):
        pareto.table(single)
    with pytest.raises(InputError, match=needed):
        pareto.table(runs().assign(accuracy=math.nan))
    slower = runs()
    slower["workers.1.slow_down"] = slower["problem.n_samples"]
    with pytest.raises(InputError, match=needed):
        pareto.table(slower)
    with pytest.raises(InputError, match="found one, two, expected one scenario"):
        pareto.table(pd.concat([runs(), runs().assign(scenario="two")], ignore_index=True))
    with pytest.raises(InputError, match="no column 'llm_calls'"):
        pareto.table(runs().drop(columns="llm_calls"))

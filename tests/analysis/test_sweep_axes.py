"""Which runs of a sweep make a line, how lines are called and coloured, and which scenario a figure is of."""

import math

import pandas as pd
import pytest
from tiny_tables import run

from fedsim.errors import InputError
from fedsim_analysis import style, sweeps


def runs(*rows):
    """Return runs of (variant, algorithm, S, workers), S None where the algorithm has none."""
    return pd.DataFrame(
        [
            run("one", variant, seed, 10.0, algorithm=algorithm, n_workers=n_workers)
            | {"algorithm.wait_for": math.nan if wait_for is None else wait_for}
            for seed, (variant, algorithm, wait_for, n_workers) in enumerate(rows)
        ]
    )


def lines(*rows):
    found = sweeps.with_lines(runs(*rows))
    return list(zip(found["method"], found["line"], strict=True))


def test_a_line_is_called_after_its_variant_and_in_the_order_of_numbers():
    found = lines(
        ("asyndbt_s10", "asyndbt", 10, 12), ("sdbt", "sdbt", None, 12), ("asyndbt_s2", "asyndbt", 2, 12)
    )
    assert found == [("sdbt", "SDBT"), ("asyndbt_s2", "AsynDBT, s2"), ("asyndbt_s10", "AsynDBT, s10")]


def test_a_method_of_one_line_has_its_own_name():
    assert lines(("", "asyndbt", 5, 10), ("", "sdbt", None, 10)) == [("sdbt", "SDBT"), ("asyndbt", "AsynDBT")]


def test_s_may_vary_without_variants():
    assert lines(("", "asyndbt", 5, 9), ("", "asyndbt", 2, 9)) == [
        ("asyndbt", "AsynDBT, S = 2"),
        ("asyndbt", "AsynDBT, S = 5"),
    ]


def test_an_s_that_follows_from_the_number_of_workers_makes_one_line():
    found = lines(
        ("asyndbt_half", "asyndbt", 2, 4),
        ("asyndbt_half", "asyndbt", 4, 8),
        ("asyndbt_all_but_one", "asyndbt", 3, 4),
        ("asyndbt_all_but_one", "asyndbt", 7, 8),
    )
    assert [line for _, line in found] == ["AsynDBT, all but one"] * 2 + ["AsynDBT, half"] * 2


def test_a_variant_with_several_s_is_told_by_both():
    found = lines(("asyndbt", "asyndbt", 2, 9), ("mine", "asyndbt", 2, 9), ("mine", "asyndbt", 3, 9))
    assert [line for _, line in found] == ["AsynDBT", "mine, S = 2", "mine, S = 3"]


def test_a_method_keeps_its_colour_and_lines_told_by_s_are_shades_of_it():
    made = runs(("sdbt", "sdbt", None, 9), ("", "asyndbt", 2, 9), ("", "asyndbt", 3, 9))
    looks = sweeps.looks(sweeps.with_lines(made), made)
    assert list(looks) == ["SDBT", "AsynDBT, S = 2", "AsynDBT, S = 3"]
    assert looks["SDBT"].colour == style.METHODS["sdbt"].colour
    assert [looks[f"AsynDBT, S = {s}"].colour for s in (2, 3)] == style.shades(
        style.METHODS["asyndbt"].colour, 2
    )
    assert looks["AsynDBT, S = 2"].label == "AsynDBT, $S$ = 2"
    assert looks["AsynDBT, S = 2"].marker != looks["AsynDBT, S = 3"].marker


def test_shades_go_from_dark_to_light():
    shades = style.shades("#0072B2", 4)
    light = [sum(int(shade[at : at + 2], 16) for at in (1, 3, 5)) for shade in shades]
    assert light == sorted(light)
    assert len(set(shades)) == 4
    assert style.shades("#0072B2", 3)[1] == "#0072b2"
    assert style.shades("#0072B2", 1) == ["#0072B2"]


def test_the_scenario_that_fits_is_found():
    both = pd.concat([study_of("a", 1), study_of("a", 2), study_of("b", 3)], ignore_index=True)

    def fits(group):
        return bool(sweeps.varying(group, r"workers\.\d+\.slow_down"))

    assert set(sweeps.only_scenario(both, fits, "a factor")["scenario"]) == {"a"}
    with pytest.raises(InputError, match="found runs of b; none has what is needed: a factor"):
        sweeps.only_scenario(both[both["scenario"] == "b"], fits, "a factor")
    more = pd.concat([both, study_of("b", 4)], ignore_index=True)
    with pytest.raises(InputError, match="found a, b, expected one scenario with a factor: give its folder"):
        sweeps.only_scenario(more, fits, "a factor")


def study_of(scenario, factor):
    return pd.DataFrame([run(scenario, "sdbt", 0, 1.0) | {"workers.1.slow_down": factor}])


def test_settings_that_are_lists_may_vary_too():
    table = pd.DataFrame(
        {"a.list": [[1], [1, 2]], "a.same": [[1], [1]], "a.missing": [1.0, None], "b": [1, 2]}
    )
    assert sweeps.varying(table, r"a\..*") == ["a.list", "a.missing"]

"""Settings that vary among runs, in words."""

import pandas as pd

from fedsim_analysis.frames import named
from fedsim_analysis.varied import with_settings


def settings(*rows):
    """Return (method, seed, setting) of runs of (scenario, variant, seed, settings)."""
    table = pd.DataFrame(
        {"scenario": scenario, "variant": variant, "algorithm": "x", "seed": seed, "run_id": f"r{number}"}
        | more
        for number, (scenario, variant, seed, more) in enumerate(rows)
    )
    found = with_settings(named(table))
    return list(found[["scenario", "method", "seed", "setting"]].itertuples(index=False, name=None))


def test_nothing_varies_but_method_and_seed():
    a, b = {"algorithm.kind": "a"}, {"algorithm.kind": "b"}
    rows = settings(("qnli", "a", 0, a), ("5g", "a", 1, a), ("5g", "b", 0, b))
    assert rows == [("5g", "a", 1, ""), ("5g", "b", 0, ""), ("qnli", "a", 0, "")]


def test_what_varies_is_named_and_in_order_of_its_values():
    rows = settings(
        ("one", "a", 0, {"workers.1.slow_down": 16.0}),
        ("one", "a", 0, {"workers.1.slow_down": 2.5}),
        ("other", "a", 0, {"workers.1.slow_down": 4.0}),
    )
    assert [row[3] for row in rows] == ["slow_down = 2.5", "slow_down = 16", ""]


def test_names_are_long_where_short_ones_are_the_same():
    rows = settings(
        ("one", "a", 0, {"workers.0.count": 1, "workers.1.count": 2, "algorithm.cuts.every": 5}),
        ("one", "a", 0, {"workers.0.count": 2, "workers.1.count": 1, "algorithm.cuts.every": 6}),
    )
    assert rows[0][3] == "workers.0.count = 1, workers.1.count = 2, every = 5"


def test_a_method_without_the_setting_has_none():
    rows = settings(
        ("one", "a", 0, {"algorithm.tau": 1.0, "llm.file": "x"}),
        ("one", "a", 0, {"algorithm.tau": 2.0, "llm.file": "x"}),
        ("one", "b", 0, {"llm.file": "x"}),
    )
    assert {row[1:] for row in rows} == {("a", 0, "tau = 1"), ("a", 0, "tau = 2"), ("b", 0, "")}


def test_runs_that_no_setting_tells_apart_have_their_address():
    rows = settings(("one", "a", 0, {}), ("one", "a", 0, {}), ("one", "a", 1, {}))
    assert [row[2:] for row in rows] == [(0, "run r0"), (0, "run r1"), (1, "")]

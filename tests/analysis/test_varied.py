"""Settings that vary among runs, in words."""

import math

import pandas as pd
import pytest

from fedsim.errors import InputError
from fedsim_analysis.frames import named
from fedsim_analysis.varied import check_averaged, check_compared, shortened, told_by_none, with_settings


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


def test_surroundings_in_which_methods_differ_are_named():
    slow, fast = {"workers.1.slow_down": 8.0}, {"workers.1.slow_down": 1.0}
    rows = settings(("one", "sdbt", 0, slow), ("one", "asyndbt_s2", 0, fast))
    assert [row[1:] for row in rows] == [("asyndbt_s2", 0, "slow_down = 1"), ("sdbt", 0, "slow_down = 8")]
    # What a method's name does not promise its variant's name tells; a method may lack a setting.
    assert {row[3] for row in settings(("one", "slow", 0, slow), ("one", "asyndbt", 0, fast))} == {""}
    assert {row[3] for row in settings(("one", "sdbt", 0, slow), ("one", "cendbt", 0, {}))} == {""}
    assert {
        row[3] for row in settings(("one", "sdbt", 0, {"a.b": 1}), ("one", "asyndbt", 0, {"a.b": 2}))
    } == {""}


def table(*rows):
    return pd.DataFrame(
        {"scenario": "one", "method": method, "seed": seed} | more for method, seed, more in rows
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [("a", 0, {"x.y": 1}), ("a", 0, {"x.y": 2})],
            "method a, seed 0: there are 2 runs, which differ in x.y;",
        ),
        (
            [("a", 0, {"x.y": 1}), ("a", 1, {"x.y": 2})],
            "method a: there are 2 runs, which differ in x.y; a mean",
        ),
        ([("a", 0, {"x.y": 1}), ("a", 1, {})], "method a: there are 2 runs, which differ in x.y; a mean"),
        (
            [("a", 0, {"x.y": [1]}), ("a", 1, {"x.y": [2]})],
            "method a: there are 2 runs, which differ in x.y;",
        ),
        (
            [("a", 0, {"versions.fedsim": "1"}), ("a", 1, {"versions.fedsim": "2"})],
            "differ in versions.fedsim;",
        ),
    ],
)
def test_a_mean_is_over_seeds_alone(rows, said):
    with pytest.raises(InputError, match=said):
        check_averaged(table(*rows), ["scenario", "method"])


def test_a_place_without_a_value_is_a_place():
    with pytest.raises(InputError, match="tau nan, seed 0: there are 2 runs; expected one per seed"):
        check_averaged(table(("a", 0, {"tau": math.nan}), ("a", 0, {"tau": math.nan})), ["tau"])


def test_what_may_be_averaged():
    kept = [("a", seed, {"x.y": 1, "record.spans": seed == 0}) for seed in range(3)]
    check_averaged(table(*kept, ("b", 0, {"x.y": 2})), ["scenario", "method"])


def test_methods_are_compared_in_equal_surroundings():
    unlike = table(("sdbt", 0, {"llm.mean": 1}), ("asyndbt", 0, {"llm.mean": 2}))
    with pytest.raises(
        InputError, match=r"scenario one: the methods differ in more than themselves, in llm\.mean"
    ):
        check_compared(unlike)
    check_compared(unlike, ["llm.mean"])


def test_a_label_that_is_cut_keeps_what_tells_it_apart():
    long = [f"file = /data/{'x' * 80}/part-{number}/{'y' * 80}.csv, seed = 3" for number in range(12)]
    cut = shortened(long, 60)
    assert len(set(cut)) == 12
    assert max(map(len, cut)) <= 60
    assert all(f"part-{number}/" in text for number, text in enumerate(cut))
    assert shortened(["short", long[0]], 60)[0] == "short"
    assert len(set(shortened(["a" * 100, "a" * 101], 60))) == 2


SETTINGS = {
    # Two drawn at random, each with a value of its own at every point: neither tells the other, nor the kind.
    "drawn": {"a.x": [1.0, 2.0, 3.0, 4.0], "b.y": [3.0, 1.0, 4.0, 2.0], "c.kind": ["p", "q", "p", "q"]},
    # One rises with the other: the first stands for both.
    "rising": {"a.x": [1.0, 2.0, 3.0, 3.0], "b.y": [10.0, 20.0, 30.0, 30.0]},
    # One that some runs alone have, with one value, is told by any; and what is about a part, by its kind.
    "there or not": {
        "attacks.0.kind": ["none", "none", "alie", "flip"],
        "attacks.0.scale": [math.nan, math.nan, 2.0, math.nan],
        "attacks.0.rule": ["-", "-", "x", "y"],
    },
    "there or not, elsewhere": {
        "attacks.0.kind": ["none", "none", "alie", "alie"],
        "server.rate": [math.nan, math.nan, 0.5, 0.5],
    },
    "one home": {"a.x": [1.0, 1.0, 2.0, 2.0]},
}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("drawn", ["a.x", "b.y", "c.kind"]),
        ("rising", ["a.x"]),
        ("there or not", ["attacks.0.kind"]),
        ("there or not, elsewhere", ["attacks.0.kind"]),
        ("one home", []),
    ],
)
def test_settings_that_another_one_tells_are_left_out(name, told):
    runs = pd.DataFrame(SETTINGS[name]).assign(method=list("aabb") if name == "one home" else "a")
    assert told_by_none(runs, ["method"]) == told

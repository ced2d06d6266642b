"""The history of the benchmarks: what is kept, and when a figure counts as worse."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.bench.history import Worse, append, compared, last, machine


def times(**values):
    return {"times": {name: list(found) for name, found in values.items()}}


def test_a_line_says_when_on_what_and_with_which_versions(tmp_path):
    file = tmp_path / "history.jsonl"
    append({"bench": "fedsim", "figures": times(a=[1.0])}, file)
    append({"bench": "fedsim", "figures": times(a=[2.0])}, file)
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert {"date", "commit", "versions", "machine", "bench", "figures"} == set(first)
    assert {"python", "torch", "numpy", "simpy"} == set(first["versions"])
    assert first["machine"]["cores"] >= 1
    assert (last("fedsim", file)[0] or {})["figures"] == second["figures"]


def test_where_there_is_nothing_to_compare_with_it_says_why(tmp_path):
    file = tmp_path / "history.jsonl"
    assert last("fedsim", file) == (None, "nothing was saved before")
    append({"bench": "peers", "figures": {}}, file)
    assert last("fedsim", file) == (None, "nothing was saved before")
    other = machine() | {"cpu": "Abacus"}
    append({"bench": "fedsim", "figures": {}, "machine": other}, file)
    line, reason = last("fedsim", file)
    assert line is None
    assert "Abacus" in reason


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([1.00, 1.02], [1.04, 1.06], None),  # within the least noise, 5 %
        ([1.00, 1.02], [1.06, 1.07], Worse("a", 1.06, 0.05)),
        ([1.00, 1.20], [1.15, 1.16], None),  # it was noisy before
        ([1.00, 1.02], [1.15, 1.61], None),  # it is noisy now
        ([1.00, 1.20], [1.25, 1.26], Worse("a", 1.25, 0.2)),
        ([1.00], [1.20], None),  # nothing is known of the spread
        ([1.00], [1.30], Worse("a", 1.3, 0.25)),
        ([1.00, 1.01], [0.50, 0.51], None),  # faster
    ],
)
def test_a_figure_is_worse_if_its_best_value_is_beyond_its_noise(before, now, expected):
    worse = compared(times(a=now), times(a=before)).worse
    if expected is None:
        assert worse == []
    else:
        (found,) = worse
        assert (found.name, *found[1:]) == (expected.name, *map(pytest.approx, expected[1:]))


def test_a_slower_machine_is_not_a_slower_program():
    before = {**times(a=[1.0, 1.0], b=[1.0, 1.0]), "yardsticks": {"x": [2.0, 2.0], "y": [1.0, 1.0]}}
    now = {**times(a=[1.5, 1.5], b=[2.0, 2.0]), "yardsticks": {"x": [3.0, 3.0], "y": [1.5, 1.5]}}
    found = compared(now, before)
    assert found.machine == pytest.approx(1.5)
    assert found.compared == 2
    assert [(one.name, one.times) for one in found.worse] == [("b", pytest.approx(4 / 3))]


def test_memory_does_not_depend_on_how_fast_the_machine_is():
    before = {"memory": {"a": [100.0], "b": [100.0]}, "yardsticks": {"x": [1.0]}}
    now = {"memory": {"a": [110.0], "b": [104.0]}, "yardsticks": {"x": [2.0]}}
    assert [(one.name, one.times) for one in compared(now, before).worse] == [("a", 1.1)]


def test_only_what_both_have_is_compared_and_the_worst_comes_first():
    before = times(a=[1.0, 1.0], b=[1.0, 1.0], gone=[1.0, 1.0])
    now = times(a=[2.0, 2.0], b=[3.0, 3.0], new=[9.0, 9.0])
    found = compared(now, before)
    assert [one.name for one in found.worse] == ["b", "a"]
    assert found.compared == 2

"""Means and intervals worked out by hand."""

import doctest
import math

import pandas as pd
import pytest

from fedsim_analysis import statistics, style
from fedsim_analysis.statistics import estimate, saving_percent


def test_the_t_interval_of_one_two_three():
    # deviation 1, standard error 1/sqrt(3), t(0.975, 2) = 4.302653 from any table of Student's t
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.deviation == 1.0
    assert found.count == 3
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)


def test_one_seed_has_a_mean_and_no_interval():
    found = estimate([5.0])
    assert found.mean == 5.0
    assert all(math.isnan(value) for value in (found.low, found.high, found.deviation))


def test_no_seed_has_not_even_a_mean():
    found = estimate([])
    assert found.count == 0
    assert math.isnan(found.mean)


def test_a_nan_is_not_left_out_silently():
    assert math.isnan(estimate([1.0, math.nan, 3.0]).mean)


def test_columns_carry_the_name():
    cells = estimate([1.0, 1.0]).columns("time_h")
    assert cells == {"time_h": 1.0, "time_h_low": 1.0, "time_h_high": 1.0}


def test_savings_are_paired_by_seed_whatever_the_order():
    method = pd.Series([5.0, 9.0, 1.0], index=[2, 1, 7])
    baseline = pd.Series([10.0, 10.0, 10.0], index=[1, 2, 3])
    savings = saving_percent(method, baseline)
    # seed 1: 9 instead of 10; seed 2: 5 instead of 10; seeds 3 and 7 have no partner
    assert savings.sort_index().to_dict() == {1: 10.0, 2: 50.0}


def test_a_slower_method_saves_less_than_nothing():
    assert saving_percent(pd.Series([15.0]), pd.Series([10.0])).tolist() == [-50.0]


def test_nothing_can_be_saved_of_nothing():
    savings = saving_percent(pd.Series([3.0, 0.0, 5.0]), pd.Series([0.0, 0.0, 10.0]))
    assert savings.isna().tolist() == [True, True, False]


@pytest.mark.parametrize("module", [statistics, style])
def test_examples_in_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0

"""Intervals by resampling: against enumeration by hand, slow twins, and how often they hold the truth."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm, skewnorm

from fedsim.errors import InputError
from fedsim_analysis import bootstrap
from fedsim_analysis.bootstrap import bootstrap_interval, interquartile_mean, probability_of_improvement


def bounds(found):
    return (found.low, found.high)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    # 1 to 8: 1, 2 and 7, 8 go, (3 + 4 + 5 + 6) / 4 stays; of 1 to 5 one goes at each end.
    assert interquartile_mean([8, 1, 7, 2, 6, 3, 5, 4]).value == 4.5
    assert interquartile_mean([1, 2, 3, 4, 1000]).value == 3.0


def test_resampling_three_values_by_hand():
    # Too few to leave any out: the mean of 3 draws of {0, 0, 3}. All draws are 0 in 8/27 of the cases and all
    # are 3 in 1/27, both more than 2.5 %.
    assert bounds(interquartile_mean([0.0, 0.0, 3.0])) == (0.0, 3.0)


def test_tasks_keep_their_number_of_seeds():
    # Of the four values one goes at each end: (larger of the first task + smaller of the second) / 2, which
    # is 50 or 51 with 3/16 each, else 50.5.
    found = interquartile_mean([0, 1, 100, 101], ["a", "a", "b", "b"])
    assert found.value == 50.5
    assert bounds(found) == (50.0, 51.0)
    # As one task, all four draws are of the first two values in 1/16 of the cases.
    assert interquartile_mean([0, 1, 100, 101]).low < 2


def test_a_task_with_one_seed_leaves_no_interval():
    found = interquartile_mean([1.0, 2.0, 3.0], ["a", "a", "b"])
    assert found.value == 2.0
    assert all(map(math.isnan, bounds(found)))


def bca_reference(sample, resamples):
    """Return Efron's BCa interval of the mean, by loops."""
    generator = np.random.default_rng(7)
    means = [np.mean(generator.choice(sample, len(sample))) for _ in range(resamples)]
    below = np.mean(np.less(means, np.mean(sample))) + np.mean(np.equal(means, np.mean(sample))) / 2
    left_out = [np.mean([v for j, v in enumerate(sample) if j != i]) for i in range(len(sample))]
    away = np.mean(left_out) - left_out
    skew = sum(away**3) / (6 * sum(away**2) ** 1.5)
    z0 = norm.ppf(below)
    levels = [norm.cdf(z0 + (z0 + z) / (1 - skew * (z0 + z))) for z in norm.ppf([0.025, 0.975])]
    return tuple(np.quantile(means, levels))


def test_bca_agrees_with_a_slow_twin():
    sample = skewnorm(8).rvs(15, random_state=3)
    found = bootstrap_interval(sample)
    low, high = bca_reference(sample, 6000)
    width = high - low
    assert found.value == pytest.approx(np.mean(sample))
    assert found.low == pytest.approx(low, abs=0.04 * width)
    assert found.high == pytest.approx(high, abs=0.04 * width)
    # A long tail to the right makes it longer on that side, which percentiles alone hardly see.
    assert found.high - found.value > 1.1 * (found.value - found.low)


def test_the_same_values_have_the_same_interval():
    sample = np.random.default_rng(0).normal(size=8)
    assert bootstrap_interval(sample) == bootstrap_interval(sample)


def test_degenerate_samples():
    assert bootstrap_interval([]).count == 0
    assert math.isnan(bootstrap_interval([]).value)
    alone = bootstrap_interval([5.0])
    assert alone.value == 5.0
    assert all(map(math.isnan, bounds(alone)))
    equal = bootstrap_interval([2.0, 2.0, 2.0])
    assert (equal.value, *bounds(equal)) == (2.0, 2.0, 2.0)
    assert math.isnan(bootstrap_interval([1.0, math.nan, 3.0]).value)


def test_where_no_left_out_value_moves_the_number_the_percentiles_stand():
    # The median of these is 1 whichever value is left out, so that BCa is 0 / 0. Of 7 draws at least four are
    # 9, with probability 2/7 each, in 0.107 of the cases: above 2.5 %.
    found = bootstrap_interval([1, 1, 1, 1, 1, 9, 9], np.median)
    assert (found.value, *bounds(found)) == (1.0, 1.0, 9.0)


def test_any_statistic_of_a_sample():
    found = bootstrap_interval([1.0, 5.0, 3.0, 4.0, 2.0], np.max)
    assert found.value == 5.0
    assert found.low < 5.0


def covered(make, truth, times, interval):
    """Return how many of so many samples have an interval that holds the truth."""
    generator = np.random.default_rng(11)
    found = [interval(make(generator)) for _ in range(times)]
    return sum(one.low <= truth <= one.high for one in found)


def test_the_interval_of_thirty_values_holds_the_mean_as_often_as_it_says():
    # Of 300, 285 are expected; 4 standard errors are 15.1. BCa of 30 is a little short of its level.
    assert 268 <= covered(lambda draw: draw.normal(size=30), 0.0, 300, bootstrap_interval) <= 298


def test_of_five_values_it_holds_less_often_as_the_module_says():
    share = covered(lambda draw: draw.normal(size=5), 0.0, 400, bootstrap_interval) / 400
    assert 0.77 < share < 0.88
    assert "83 of 100" in bootstrap.__doc__


def test_the_interquartile_mean_is_covered():
    # Symmetric values have their interquartile mean at 0.
    # 95 of 100 are expected; 4 standard errors are 8.7.
    assert 87 <= covered(lambda draw: draw.normal(size=24), 0.0, 100, interquartile_mean) <= 100


def test_probability_of_improvement_by_hand():
    # 1 > 0, 3 > 2 and 3 > 0 of four comparisons
    assert probability_of_improvement(pd.Series([1.0, 3.0]), pd.Series([2.0, 0.0])).value == 0.75
    # a tie counts half
    assert probability_of_improvement(pd.Series([1.0]), pd.Series([1.0, 0.0])).value == 0.75
    # Two draws of {0, 2} against 1: none is larger in 1/4 of the cases, both are in 1/4.
    found = probability_of_improvement(pd.Series([0.0, 2.0]), pd.Series([1.0, 1.0]))
    assert (found.value, *bounds(found)) == (0.5, 0.0, 1.0)


def test_it_is_u_over_its_largest_value():
    generator = np.random.default_rng(5)
    ours, theirs = (pd.Series(generator.integers(0, 8, size).astype(float)) for size in (9, 6))
    u = mannwhitneyu(ours, theirs).statistic
    assert probability_of_improvement(ours, theirs).value == pytest.approx(u / (9 * 6))


def test_paired_runs_are_compared_within_their_seed():
    ours = pd.Series([2.0, 4.0, 1.0, 5.0, 9.0], [1, 2, 3, 4, 7])
    theirs = pd.Series([5.0, 3.0, 3.0, 1.0], [4, 3, 2, 1])
    # seeds 1 and 2 are larger, 3 is smaller, 4 is a tie, 7 has no partner: (1 + 1 + 0 + 1/2) / 4
    found = probability_of_improvement(ours, theirs, pair=True)
    assert found.value == 0.625
    assert found.count == 4
    with pytest.raises(InputError, match="seed 1: there are several runs of one side"):
        probability_of_improvement(pd.Series([1.0, 2.0], [1, 1]), theirs, pair=True)


def test_ours_better_in_all_runs_has_no_width():
    found = probability_of_improvement(pd.Series([3.0, 4.0]), pd.Series([1.0, 2.0]), pair=True)
    assert (found.value, *bounds(found)) == (1.0, 1.0, 1.0)


def test_columns_carry_the_name():
    assert bootstrap_interval([1.0, 1.0]).columns("loss") == {"loss": 1.0, "loss_low": 1.0, "loss_high": 1.0}

"""Kaplan and Meier: by hand, against a textbook's trial, and how often the intervals hold the truth."""

import math

import numpy as np
import pandas as pd
import pytest

from fedsim.errors import InputError
from fedsim_analysis.statistics import estimate
from fedsim_analysis.survival import survival, time_to_target

# Remission (weeks) of 21 leukaemia patients on 6-MP; censored: 0 below. Freireich et al.,
# Blood 21, 1963; the numbers below are those of Klein and Moeschberger, "Survival analysis", 2nd ed. 2003,
# chapter 4.
WEEKS = [10, 7, 32, 23, 22, 6, 16, 34, 32, 25, 11, 20, 19, 6, 17, 35, 6, 13, 9, 6, 10]
RELAPSED = [1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0]


def runs(*ends):
    """Return when runs reached the target and when they ended; a negative end did not reach it."""
    times = pd.Series([float(abs(end)) for end in ends])
    return times.where(pd.Series(ends) > 0), times


def trial():
    return runs(*(week if relapsed else -week for week, relapsed in zip(WEEKS, RELAPSED, strict=True)))


def test_the_trial_of_the_textbook():
    curve = survival(*trial())
    expected = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    relapses = curve.reached > 0
    assert list(curve.times_s[relapses]) == list(expected)
    assert list(curve.shares[relapses]) == pytest.approx(list(expected.values()), abs=5e-4)
    assert list(curve.at_risk[relapses]) == [21, 17, 15, 12, 11, 7, 6]
    # log(-log S) at 6: S = 18/21, Greenwood's sum 3 / (21 x 18), so that the exponent is
    # exp(1.96 sqrt(1/126) / -log(6/7)) = 3.104, and the bounds are (6/7) to the power of it and its inverse.
    assert curve.low[0] == pytest.approx((6 / 7) ** 3.104, abs=1e-3)
    assert curve.high[0] == pytest.approx((6 / 7) ** (1 / 3.104), abs=1e-3)


def test_median_and_restricted_mean_of_the_textbook():
    found = time_to_target(*trial())
    assert (found.runs, found.reached, found.censored) == (21, 9, 12)
    assert math.isinf(found.median_s)  # in the textbook 23: its patients are lost from sight, runs are not
    assert found.horizon_s == 35
    # The mean restricted to 35 weeks is 23.287 with variance 7.993; D / (D - 1) = 9/8 and
    # t(0.975, 8) = 2.306004.
    assert found.mean_s == pytest.approx(23.287, abs=1e-3)
    assert found.mean_high_s - found.mean_s == pytest.approx(2.306004 * math.sqrt(7.993 * 9 / 8), abs=2e-3)
    assert found.mean_s - found.mean_low_s == pytest.approx(found.mean_high_s - found.mean_s)


def test_three_runs_by_hand():
    # Reached at 10 and 30, given up at 20: from 10 on 2/3 are not there, and from 30 on none, as the last
    # run stands for the one that was given up too. 10 + 2/3 x 20 = 23 1/3; leaving it out would say 20.
    found = time_to_target(*runs(10, -20, 30))
    assert found.mean_s == pytest.approx(70 / 3)
    # The area beyond 10 is 40/3, so the variance (40/3)^2 / (3 x 2), times D / (D - 1) = 2;
    # t(0.975, 1) = 12.7062.
    assert found.mean_high_s - found.mean_s == pytest.approx(12.7062 * (40 / 3) / math.sqrt(3), rel=1e-4)
    assert found.median_s == 30
    assert found.reached == 2


@pytest.mark.parametrize("early", [(-265, -268), (-265, -300), (-1, -2), (-270.1, -270.1)])
def test_what_two_of_three_never_reach_is_not_reached_by_half(early):
    found = time_to_target(*runs(*early, 270.1))
    assert math.isinf(found.median_s)
    assert math.isinf(found.median_high_s)
    # Beyond the end of the last one that was given up the third would stand for all.
    assert found.horizon_s == max(map(abs, early))
    assert found.mean_s <= found.horizon_s


def test_runs_that_are_given_up_early_do_not_bring_the_median_forward():
    # Two of four are there by 270; by 100 it is one, and half of those still under way.
    assert time_to_target(*runs(-50, -60, 100, 270)).median_s == 270
    assert time_to_target(*runs(-50, 60, 100, 270)).median_s == 100


def test_a_horizon_cuts_the_mean():
    found = time_to_target(*runs(10, -20, 30), horizon_s=15.0)
    assert found.mean_s == pytest.approx(10 + 2 / 3 * 5)
    assert found.horizon_s == 15.0
    assert math.isnan(found.mean_low_s)  # one run alone is there by then
    # Nobody knows what became of the others after the last run was given up.
    assert time_to_target(*runs(10, -20), horizon_s=100.0).horizon_s == 20.0


def test_without_censoring_it_is_the_mean_with_its_t_interval():
    times = [4.0, 9.0, 9.0, 25.0, 31.0]
    found, plain = time_to_target(*runs(*times)), estimate(times)
    assert (found.mean_s, found.mean_low_s, found.mean_high_s) == pytest.approx(
        (plain.mean, plain.low, plain.high)
    )
    assert found.median_s == 9.0
    assert found.censored == 0


def test_a_half_reached_exactly():
    # (8/10)(6/8)(5/6) is a half, but in floating point a little more.
    assert time_to_target(*runs(2, 2, 4, 4, 5, 6, 7, 7, 9, -10)).median_s == 5


def test_nobody_gets_there():
    found = time_to_target(*runs(-50, -60))
    assert found.reached == 0
    assert found.mean_s == 60.0  # at least
    assert math.isinf(found.median_s)
    assert math.isinf(found.median_high_s)
    assert all(map(math.isnan, (found.mean_low_s, found.mean_high_s, found.median_low_s)))


def test_one_run():
    found = time_to_target(*runs(7))
    assert (found.median_s, found.mean_s) == (7.0, 7.0)
    assert math.isnan(found.mean_low_s)


def test_what_is_refused():
    with pytest.raises(InputError, match="found 0 runs, expected at least one"):
        time_to_target(pd.Series([], dtype=float), pd.Series([], dtype=float))
    with pytest.raises(InputError, match="expected at least one, each with an end"):
        time_to_target(pd.Series([math.nan]), pd.Series([math.nan]))


def product_limit(times, reached, at):
    """Return the share not there at a time, by the definition of Kaplan and Meier."""
    share = 1.0
    for moment in sorted({time for time, there in zip(times, reached, strict=True) if there and time <= at}):
        at_risk = sum(time >= moment for time in times)
        share *= (
            1 - sum(time == moment and there for time, there in zip(times, reached, strict=True)) / at_risk
        )
    return share


def test_it_agrees_with_the_definition():
    generator = np.random.default_rng(9)
    for _ in range(20):
        times, there = generator.integers(1, 9, 12), generator.random(12) < 0.6
        curve = survival(*runs(*np.where(there, times, -times)))
        slow = [product_limit(times, there, at) for at in curve.times_s]
        assert list(curve.shares) == pytest.approx(slow)
        # All times are whole, so that the area is a sum of columns of width 1.
        found = time_to_target(*runs(*np.where(there, times, -times)))
        last = int(min(found.horizon_s, curve.times_s[-1]))
        assert found.mean_s == pytest.approx(sum(product_limit(times, there, at) for at in range(last)))


@pytest.mark.parametrize(("size", "least"), [(20, 364), (6, 352)])
def test_intervals_hold_the_truth_as_often_as_they_say(size, least):
    # Exponential times of mean 1 that are given up at 2: the mean up to 2 is 1 - exp(-2), the median log 2.
    generator = np.random.default_rng(4)
    mean, median = 0, 0
    for _ in range(400):
        times = generator.exponential(size=size)
        found = time_to_target(*runs(*np.where(times < 2, times, -2.0)), horizon_s=2.0)
        mean += found.mean_low_s <= 1 - math.exp(-2) <= found.mean_high_s
        median += found.median_low_s <= math.log(2) <= found.median_high_s
    assert least <= mean <= 397  # 380 expected; 4 standard errors are 17.4
    assert 364 <= median <= 400

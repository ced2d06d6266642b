"""Paired differences by hand, and how often their interval holds the truth."""

import math

import numpy as np
import pandas as pd
import pytest

from fedsim.errors import InputError
from fedsim_analysis.statistics import estimate, paired_differences


def test_differences_by_hand():
    ours = pd.Series([5.0, 9.0, 4.0, 1.0], [2, 1, 3, 7])
    theirs = pd.Series([7.0, 4.0, 3.0, 8.0], [1, 2, 3, 5])
    # Seeds 1, 2, 3: 2, 1, 1; the mean is 4/3, the deviation sqrt(1/3), the standard error 1/3. 5 and 7 are
    # alone.
    found = paired_differences(ours, theirs)
    assert found.mean == pytest.approx(4 / 3)
    assert found.low == pytest.approx(4 / 3 - 4.302653 / 3, abs=1e-6)
    assert found.high == pytest.approx(4 / 3 + 4.302653 / 3, abs=1e-6)
    assert (found.pairs, found.left_out) == (3, 2)


def test_a_run_without_a_value_is_left_out_and_counted():
    found = paired_differences(pd.Series([1.0, math.nan, 4.0]), pd.Series([0.0, 0.0, 0.0]))
    assert (found.mean, found.pairs, found.left_out) == (2.5, 2, 1)


def test_one_pair_and_none():
    alone = paired_differences(pd.Series([3.0]), pd.Series([1.0]))
    assert alone.mean == 2.0
    assert math.isnan(alone.low)
    none = paired_differences(pd.Series([3.0], [1]), pd.Series([1.0], [2]))
    assert math.isnan(none.mean)
    assert (none.pairs, none.left_out) == (0, 2)


def test_two_runs_of_one_seed_are_refused():
    with pytest.raises(InputError, match="seed 4: there are several runs of one side, expected one to pair"):
        paired_differences(pd.Series([1.0, 2.0], [4, 4]), pd.Series([1.0], [4]))


def test_pairing_narrows_the_interval_and_keeps_its_level():
    generator = np.random.default_rng(2)
    held, narrower = 0, 0
    for _ in range(400):
        luck = generator.normal(size=6)  # what two runs of one seed share
        ours = pd.Series(luck + 0.5 + 0.2 * generator.normal(size=6))
        theirs = pd.Series(luck + 0.2 * generator.normal(size=6))
        found = paired_differences(ours, theirs)
        held += found.low <= 0.5 <= found.high
        alone = estimate(ours)
        narrower += found.high - found.low < alone.high - alone.low
    assert 362 <= held <= 397  # 380 expected; 4 standard errors are 17.4
    assert narrower > 380


def test_columns_carry_the_name():
    cells = paired_differences(pd.Series([2.0, 2.0]), pd.Series([1.0, 1.0])).columns("gain")
    assert cells == {"gain": 1.0, "gain_low": 1.0, "gain_high": 1.0}

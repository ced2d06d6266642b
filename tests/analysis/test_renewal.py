"""The law of how many of unlike workers have reported, against all outcomes one by one."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from fedsim_analysis.advice import renewal
from fedsim_analysis.advice.renewal import Alike, longest_s


def chances(reported: float, need_not: float) -> renewal.Chances:
    """Return the chances of a worker at one time."""
    return np.array([reported]), np.array([need_not])


def one_by_one(enough: int, workers: list[tuple[float, float]]) -> float:
    """Return the chance of so many reports, where nobody else must be waited for, over all outcomes."""
    return math.fsum(
        math.prod(chances[outcome] for chances, outcome in zip(workers, outcomes, strict=True))
        for outcomes in product((0, 1), repeat=len(workers))
        if outcomes.count(0) >= enough
    )


BEGUN, OTHER, MUST, SLOW = (0.2, 0.8), (0.6, 0.4), (0.5, 0.3), (0.1, 0.9)
"""Chances to have reported, and not to have to; of the third, two in ten must and have not."""


@pytest.mark.parametrize("enough", [1, 2, 4])
def test_reports_of_unlike_workers(enough: int) -> None:
    """Two who have begun and one other, and one of another kind who begins half of the time."""
    sizes = [renewal._Headcount(3, 2), renewal._Headcount(1, 0.5)]
    laws = [(chances(*BEGUN), chances(*OTHER)), (chances(*SLOW), chances(*MUST))]
    found = renewal._at_least(enough, sizes, laws)
    first = [BEGUN, BEGUN, OTHER]
    expected = (one_by_one(enough, [*first, SLOW]) + one_by_one(enough, [*first, MUST])) / 2
    assert found[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("enough", [3, 7, 10])
def test_many_workers_are_near_to_it(enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [renewal._Headcount(12, 5), renewal._Headcount(4, 2)]
    laws = [(chances(*BEGUN), chances(*OTHER)), (chances(*SLOW), chances(*OTHER))]
    found = renewal._at_least(enough, sizes, laws)
    monkeypatch.setattr(renewal, "FEW", 16)
    assert found[0] == pytest.approx(renewal._at_least(enough, sizes, laws)[0], abs=0.01)


def test_who_is_left_without_one() -> None:
    assert renewal._Headcount(5, 2).without_one(begun=True) == (4, 1)
    assert renewal._Headcount(5, 2).without_one(begun=False) == (4, 2)
    assert renewal._Headcount(1, 0.3).without_one(begun=True) == (0, 0)


def test_the_longest_job_by_hand() -> None:
    """One job of 1 or 3 s, and two of 2 s: 2 or 3 s."""
    assert longest_s([Alike(1, np.array([1.0, 3.0])), Alike(2, np.array([2.0]))]) == pytest.approx(2.5)

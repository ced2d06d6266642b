"""Norm clipping and bucketing: values by hand and slow twins. `test_aggregator_contracts` has the rest."""

from __future__ import annotations

import math
import statistics
from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from fedsim.learning.preaggregators import PREAGGREGATORS
from fedsim.streams import Stream, Streams


def stage(kind, **settings):
    return PREAGGREGATORS[kind](**settings)


def some_rows(m, d, seed=0):
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Norm clipping.


@pytest.mark.parametrize(
    ("radius", "expected"),
    [
        (2.5, [[2.5, 3], [1, 2], [1, 1]]),
        (None, [[1.6, 1.8], [1, 2], [1, 1]]),  # the lengths are 5, 1 and 0
        (6.0, [[4, 5], [1, 2], [1, 1]]),
    ],
)
def test_norm_clipping_by_hand(radius, expected):
    rows = torch.tensor([[4.0, 5.0], [1.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    found = stage("norm_clipping", radius=radius).apply(rows, torch.ones(2, dtype=torch.float64))
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-14)


def test_of_an_even_number_the_radius_is_between_the_middle_lengths():
    rows = torch.tensor([[5.0], [-1.0]])
    assert stage("norm_clipping").apply(rows, torch.zeros(1)).tolist() == [[3], [-1]]


@pytest.mark.parametrize("radius", [None, 0.7, 3.0])
def test_the_norm_clipping_twin_agrees(radius):
    rows, previous = some_rows(7, 5), some_rows(1, 5, seed=1)[0]
    found = stage("norm_clipping", radius=radius).apply(rows, previous)
    differences = [[x - v for x, v in zip(row, previous.tolist(), strict=True)] for row in rows.tolist()]
    norms = [math.hypot(*difference) for difference in differences]
    limit = statistics.median(norms) if radius is None else radius
    for row, difference, norm in zip(found.tolist(), differences, norms, strict=True):
        factor = min(1, limit / norm)
        assert row == pytest.approx(
            [v + factor * x for v, x in zip(previous.tolist(), difference, strict=True)]
        )


def test_rows_within_the_radius_stay_as_they_are_bit_for_bit():
    rows, previous = some_rows(9, 5).float(), some_rows(1, 5, seed=1)[0].float()
    found = stage("norm_clipping").apply(rows, previous)
    kept = [torch.equal(row, other) for row, other in zip(rows, found, strict=True)]
    assert sum(kept) == 5  # of 9 the shorter half and the median itself


@pytest.mark.parametrize("factor", [1e30, -1e300])
def test_a_byzantine_minority_does_not_choose_the_radius(factor):
    honest = some_rows(4, 3)
    rows = torch.cat((honest, factor * some_rows(3, 3, seed=2)))
    found = stage("norm_clipping").apply(rows, torch.zeros(3, dtype=torch.float64))
    longest = torch.linalg.vector_norm(honest, dim=1).max()
    assert torch.linalg.vector_norm(found, dim=1).max() <= longest * (1 + 1e-12)
    # A row that is shortened keeps its direction.
    cosine = torch.nn.functional.cosine_similarity(found[4:], rows[4:] / abs(factor))
    assert torch.allclose(cosine, torch.ones(3).double())


# Bucketing.


def buckets(m, size, seed=0):
    """Return which rows are in which bucket, found out from the means of powers of two."""
    rows = torch.tensor([[2.0**row] for row in range(m)], dtype=torch.float64)
    found = stage("bucketing", size=size, permutation_seed=seed).apply(rows, torch.zeros(1))
    sizes = [min(size, m - start) for start in range(0, m, size)]
    sums = [round(mean * n) for mean, n in zip(found.flatten().tolist(), sizes, strict=True)]
    return [{row for row in range(m) if total >> row & 1} for total in sums]


@pytest.mark.parametrize(("m", "size"), [(1, 2), (4, 2), (5, 2), (7, 3), (6, 6), (5, 9), (5, 1)])
def test_every_row_is_in_one_bucket_and_only_the_last_is_smaller(m, size):
    found = buckets(m, size)
    assert sorted(row for bucket in found for row in bucket) == list(range(m))
    assert [len(bucket) for bucket in found] == [size] * (m // size) + [m % size] * (m % size > 0)
    assert stage("bucketing", size=size).rows_left(m) == len(found)


def test_the_bucketing_twin_agrees():
    rows = some_rows(7, 4)
    order = Streams(3).generator(Stream.BUCKETS, worker=7).permutation(7).tolist()
    expected = []
    for start in range(0, 7, 3):
        members = [rows[row].tolist() for row in order[start : start + 3]]
        expected.append([statistics.fmean(values) for values in zip(*members, strict=True)])
    found = stage("bucketing", size=3, permutation_seed=3).apply(rows, torch.zeros(4))
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-14)


def test_buckets_are_part_of_every_result():
    assert buckets(5, 2) == [{1, 4}, {2, 3}, {0}]


def test_company_is_drawn_fairly():
    n = 900
    company = Counter()
    for seed in range(n):
        company.update(other for bucket in buckets(4, 2, seed) if 0 in bucket for other in bucket - {0})
    spread = math.sqrt(n * (1 / 3) * (2 / 3))
    assert all(abs(company[other] - n / 3) < 4 * spread for other in (1, 2, 3))


def test_means_of_halves_do_not_overflow():
    rows = torch.full((4, 3), 60000.0, dtype=torch.float16)
    found = stage("bucketing", size=4).apply(rows, rows[0])
    assert found.dtype == torch.float16
    assert torch.equal(found, rows[:1])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("norm_clipping", {"radius": 0.0}, "greater than 0"),
        ("bucketing", {"size": 0}, "greater than or equal to 1"),
        ("bucketing", {"permutation_seed": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings(kind, settings, message):
    with pytest.raises(ValidationError, match=message):
        stage(kind, **settings)

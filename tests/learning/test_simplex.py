"""Projection on the simplex: by hand, against two independent methods, and its known properties (P15)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fedsim.learning import simplex
from fedsim.learning.simplex import is_distribution, project

rows = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=12)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def project_by_sorting(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row, after Held, Wolfe and Crowder, Mathematical Programming 6, 1974."""
    descending = np.sort(y)[::-1]
    taus = (np.cumsum(descending) - 1) / np.arange(1, len(y) + 1)
    tau = taus[np.flatnonzero(descending > taus)[-1]]
    return np.maximum(y - tau, 0)


def project_by_enumeration(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row: the nearest of the best points of every support."""
    best, best_distance = y, np.inf
    for size in range(1, len(y) + 1):
        for support in map(list, itertools.combinations(range(len(y)), size)):
            point = np.zeros_like(y)
            point[support] = y[support] - (y[support].sum() - 1) / size
            distance = float(((point - y) ** 2).sum())
            if point.min() >= 0 and distance < best_distance:
                best, best_distance = point, distance
    return best


def project_by_published_bisection(y: Tensor) -> Tensor:
    """One row, with v searched in [0, max y] as in the released code of BDPL."""
    low, high = 0.0, float(y.max())
    for _ in range(100):
        v = (low + high) / 2
        if (y - v).clamp(0, 1).sum() > 1:
            low = v
        else:
            high = v
    return (y - v).clamp(0, 1)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2]),  # a distribution stays
        ([0.6, 0.5, 0.2], [0.5, 0.4, 0.1]),  # tau = 0.1, all active
        ([1.0, 0.8, -0.4], [0.6, 0.4, 0.0]),  # tau = 0.4
        ([2.0, 0.5, 0.5], [1.0, 0.0, 0.0]),  # tau = 1, a corner
        ([0.1, 0.2, 0.1], [0.3, 0.4, 0.3]),  # sum below 1: tau = -0.2
        ([-1.0, -2.0, -1.5], [0.75, 0.0, 0.25]),  # all negative: tau = -1.75
        ([0.0, 0.0], [0.5, 0.5]),
        ([-7.0], [1.0]),
        ([1e15, 1e15, 0.0], [0.5, 0.5, 0.0]),
        ([-1e15, -1e15 + 1, -1e15 - 9], [0.0, 1.0, 0.0]),
        ([1e308, -1e308, 0.0], [1.0, 0.0, 0.0]),
        ([0.3, -torch.inf, 0.3], [0.5, 0.0, 0.5]),
    ],
)
def test_values_by_hand(row: list[float], expected: list[float]) -> None:
    torch.testing.assert_close(project(f64(row)), f64(expected), atol=1e-15, rtol=0)


def test_float32_by_hand() -> None:
    projected = project(torch.tensor([[1.0, 0.8, -0.4], [1e15, 0.0, 1e15]]))
    torch.testing.assert_close(projected, torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.0, 0.5]]), atol=2e-7, rtol=0)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_agrees_with_sorting(row: list[float]) -> None:
    np.testing.assert_allclose(project(f64(row)).numpy(), project_by_sorting(np.array(row)), atol=1e-9)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_agrees_with_enumeration_of_supports(row: list[float]) -> None:
    np.testing.assert_allclose(project(f64(row)).numpy(), project_by_enumeration(np.array(row)), atol=1e-9)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_a_distribution_and_idempotent(row: list[float]) -> None:
    once = project(f64(row))
    assert once.min() >= 0
    assert abs(float(once.sum()) - 1) < 1e-12
    torch.testing.assert_close(project(once), once, atol=1e-12, rtol=0)


@given(rows)
@settings(max_examples=100, deadline=None)
def test_order_preserving(row: list[float]) -> None:
    order = np.argsort(row)
    assert (project(f64(row))[order].diff() >= 0).all()


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_permutation_equivariant(row: list[float], random: object) -> None:
    order = list(range(len(row)))
    random.shuffle(order)  # type: ignore[attr-defined]  # hypothesis does not type its randoms()
    torch.testing.assert_close(project(f64(row)[order]), project(f64(row))[order], atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0, 1e6])
def test_a_batch_of_chunks_equals_row_by_row(scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    batch = scale * torch.randn(5, 3, 75, 40, generator=generator, dtype=torch.float64)
    assert batch.numel() > simplex.CHUNK_ELEMENTS
    expected = np.stack([project_by_sorting(row) for row in batch.reshape(-1, 40).numpy()])
    np.testing.assert_allclose(project(batch).reshape(-1, 40).numpy(), expected, atol=1e-12 * max(1, scale))
    assert project(batch).shape == batch.shape
    assert ((project(batch).sum(-1) - 1).abs() < 1e-12).all()


def test_input_is_untouched_and_any_layout_serves() -> None:
    batch = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    copy = batch.clone()
    turned = project(batch.transpose(0, 1))
    torch.testing.assert_close(turned, project(batch).transpose(0, 1), atol=0, rtol=0)
    assert torch.equal(batch, copy)


def test_a_removed_word_does_not_return_by_rounding() -> None:
    generator = torch.Generator().manual_seed(3)
    once = project(torch.randn(500, 100, generator=generator, dtype=torch.float64))
    assert (once.sum(-1) < 1).any(), "without such rows this test shows nothing"
    assert torch.equal(project(once) > 0, once > 0)


def test_ends_with_many_entries_near_the_rounding_unit() -> None:
    row = f64([1.0] + [3.3e-16] * 999 + [-1e6])  # a tau that could also shrink would never settle here
    torch.testing.assert_close(project(row), f64([1.0] + [0.0] * 1000), atol=1e-15, rtol=0)


def test_empty_batch() -> None:
    assert project(torch.empty(0, 75, 3)).shape == (0, 75, 3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_bad_values_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        project(f64([[0.5, 0.5], [bad, 0.5]]))


def test_rows_without_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one entry"):
        project(torch.empty(3, 0))


def test_published_bisection_fails_when_the_clipped_sum_is_below_one() -> None:
    row = torch.full((100,), 0.01, dtype=torch.float64) - 0.006
    # tau must be -0.006, outside [0, max]: the search ends at v = 0 and returns a row that sums to 0.4.
    assert float(project_by_published_bisection(row).sum()) == pytest.approx(0.4)
    torch.testing.assert_close(
        project(row), torch.full((100,), 0.01, dtype=torch.float64), atol=1e-15, rtol=0
    )
    above = row + 0.02
    torch.testing.assert_close(project_by_published_bisection(above), project(above), atol=1e-12, rtol=0)


def test_is_distribution_by_hand() -> None:
    table = f64([[0.5, 0.5], [0.5, 0.6], [0.5, 0.4], [1.1, -0.1], [1 + 5e-10, -5e-10], [torch.nan, 1.0]])
    assert is_distribution(table).tolist() == [True, False, False, False, True, False]
    assert is_distribution(table, tolerance=0.2).tolist() == [True, True, True, True, True, False]
    assert is_distribution(table.expand(3, 6, 2)).shape == (3, 6)

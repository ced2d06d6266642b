"""Drawing by inversion: by hand, at the edges of [0, 1), against a loop, and by its frequencies."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from fedsim.learning.categorical import draw

JUST_BELOW_ONE = math.nextafter(1.0, 0.0)


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def draw_one(probabilities: list[float], uniform: float) -> int:
    """The first index at which the running sum passes the uniform's share of the total."""
    total = 0.0
    for p in probabilities:
        total += p
    running = 0.0
    for index, p in enumerate(probabilities):
        running += p
        if running > uniform * total:
            return index
    raise AssertionError("a uniform of 1 or more")


def random_rows(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def test_by_hand() -> None:
    indices = draw(f64([0.25, 0.5, 0.25]), f64([0.0, 0.24, 0.25, 0.74, 0.75, 0.99]))
    assert indices.tolist() == [0, 0, 1, 1, 2, 2]
    assert indices.dtype == torch.int64


def test_rows_are_scaled_by_their_total() -> None:
    assert draw(f64([1.0, 3.0]), f64([0.24, 0.26])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("row", "at_zero", "just_below_one"),
    [
        ([0.0, 0.0, 1.0], 2, 2),
        ([1.0, 0.0, 0.0], 0, 0),
        ([0.0, 0.3, 0.0, 0.7, 0.0], 1, 3),
        ([0.1] * 10 + [0.0], 0, 9),  # sums to 1 - 1e-16
        ([0.7, 0.2, 0.1, 0.0], 0, 2),
        ([1e-300, 0.0], 0, 0),
    ],
)
def test_an_impossible_index_is_never_drawn(row: list[float], at_zero: int, just_below_one: int) -> None:
    assert draw(f64(row), f64([0.0, JUST_BELOW_ONE])).tolist() == [at_zero, just_below_one]


def test_the_largest_uniform_stays_below_every_total() -> None:
    rows = torch.cat([random_rows(2000, 7), torch.zeros(2000, 1, dtype=torch.float64)], dim=1)
    assert (draw(rows, f64([[JUST_BELOW_ONE]]).expand(2000, 1)) == 6).all()
    below_in_float32 = torch.nextafter(torch.ones(2000, 1), torch.zeros(1))
    assert (draw(rows.float(), below_in_float32) == 6).all()


def test_agrees_with_a_loop() -> None:
    probabilities = random_rows(4, 3, 9)
    probabilities[probabilities < 0.3] = 0.0
    uniforms = torch.rand(4, 3, 50, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    expected = [
        [[draw_one(row.tolist(), u) for u in us] for row, us in zip(rows, uss.tolist(), strict=True)]
        for rows, uss in zip(probabilities, uniforms, strict=True)
    ]
    assert draw(probabilities, uniforms).tolist() == expected


def test_any_memory_layout_serves() -> None:
    probabilities, uniforms = random_rows(3, 8, 5), random_rows(3, 20, 5)
    turned = draw(probabilities.transpose(1, 2), uniforms.transpose(1, 2))  # a warning here would be an error
    expected = draw(probabilities.transpose(1, 2).contiguous(), uniforms.transpose(1, 2).contiguous())
    assert torch.equal(turned, expected)


def test_frequencies() -> None:
    probabilities = f64([0.02, 0.18, 0.0, 0.5, 0.3])
    size = 20_000
    uniforms = torch.rand(size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    counts = draw(probabilities, uniforms).bincount(minlength=5).double()
    possible = probabilities > 0
    assert not counts[~possible].any()
    p_value = stats.chisquare(counts[possible], size * probabilities[possible]).pvalue
    assert p_value > 0.01


@pytest.mark.parametrize("row", [[0.0, 0.0], [torch.nan, 1.0]])
def test_a_row_without_mass_is_refused(row: list[float]) -> None:
    with pytest.raises(ValueError, match="no positive sum"):
        draw(f64([[0.5, 0.5], row]), f64([[0.1], [0.1]]))

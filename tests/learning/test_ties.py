"""What ties, by hand; and that all that take a sign or an argmax of a difference by rounding tie it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedsim.algorithms.dbt.polyhedron import subgradient as of_h
from fedsim.algorithms.dbt.robust import outer_pull
from fedsim.icl.loss import accuracy
from fedsim.learning import ties
from fedsim.learning.aggregators.dp_rsa import DpRsa
from fedsim.learning.aggregators.rsa import Rsa
from fedsim.learning.attacks.worst_word import WorstWord
from fedsim.learning.forging import away

ROUNDING = 1e-15


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_signs_by_hand() -> None:
    assert ties.sign(f64([2e-12, 1e-12, 0.0, -5e-13, -3.0])).tolist() == [1, 0, 0, 0, -1]
    assert ties.sign(torch.tensor([2.0, 0.0])).dtype == torch.float32


def test_the_largest_by_hand() -> None:
    values = f64([[0.2, 0.4, 0.4 + ROUNDING], [0.5, 0.1, 0.5 - 1e-11]])
    assert ties.argmax(values).tolist() == [1, 0]
    assert ties.argmax(values.T, 0).tolist() == [1, 0]
    assert ties.argmin(values).tolist() == [0, 1]
    assert ties.argmin(f64([0.3 + ROUNDING, 0.3])) == 0


@pytest.mark.parametrize(("uniform", "place"), [(0.0, 1), (0.32, 1), (0.34, 2), (0.67, 4), (0.999, 4)])
def test_tied_places_are_equally_likely(uniform: float, place: int) -> None:
    values = f64([0.1, 0.3, 0.3, 0.0, 0.3 - ROUNDING])
    assert ties.argmax(values, uniforms=f64(uniform)) == place


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_draws_go_along_any_dimension(dim: int) -> None:
    values, uniforms = torch.zeros(3, 3, dtype=torch.float64), f64([0.0, 0.5, 0.9])
    assert ties.argmax(values, dim, uniforms).tolist() == [0, 1, 2]


# Two workers who should be where the consensus is, and are beside it by rounding.
Z = f64([[0.25, 0.25, 0.5]])
BESIDE = Z + f64([[[ROUNDING, -ROUNDING, 0]], [[0, ROUNDING, -ROUNDING]]])
ROWS = BESIDE.flatten(1)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: outer_pull(Z, BESIDE, 1.0, "l1"), 0 * Z),
        (lambda: outer_pull(Z, BESIDE, 1.0, "linf"), 0 * Z),
        (lambda: of_h(BESIDE, Z, "l1"), 0 * BESIDE),
        (lambda: Rsa(step=0.1).aggregate(ROWS, Z.flatten()) - Z.flatten(), f64([0, 0, 0])),
        (lambda: DpRsa(step=0.1).aggregate(ROWS, Z.flatten()) - Z.flatten(), f64([0, 0, 0])),
        (lambda: DpRsa(step=0.1).encode(ROWS, Z.expand(2, 3).flatten(1), []) - Z, f64([[0] * 3] * 2)),
        (lambda: away("sign", ROWS[0], ROWS, Z.flatten()), f64([0, 0, 0])),
        # The second word is less likely than the first by rounding alone: they tie, and the first is taken.
        (lambda: WorstWord().forge(ROWS[:1], ROWS, Z.flatten()), f64([[1, 0, 0]])),
        (lambda: accuracy(f64([[[[0.5], [0.5 + ROUNDING]]]]), torch.tensor([[0]])), f64([[1]])),
    ],
    ids=["psi", "psi linf", "cut", "rsa", "dp_rsa", "dp_rsa sent", "attack", "worst word", "accuracy"],
)
def test_a_difference_by_rounding_is_none(found: Callable[[], Tensor], expected: Tensor) -> None:
    torch.testing.assert_close(found().double(), expected.double(), rtol=0, atol=1e-9)

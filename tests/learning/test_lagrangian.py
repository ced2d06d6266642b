"""The regularised Lagrangian (18), its gradients (25) and (26), and the multipliers' step (22)."""

from __future__ import annotations

import pytest
import torch
from learning_cases import distributions
from torch import Tensor

from fedsim.algorithms.dbt.lagrangian import Multipliers, ascend, regularised, values, z_gradient
from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.algorithms.dbt.settings import MultiplierSettings


def by_hand() -> tuple[Polyhedron, Tensor, Tensor]:
    """Return one word's two cuts for two workers, the workers' p, and z."""
    a = torch.tensor([[[[1, -1], [0, 1]]], [[[1, 0], [-1, 0]]]], dtype=torch.int8)
    b = torch.tensor([[[2.0, 0.0], [0.0, -1.0]]], dtype=torch.float64)
    c = torch.tensor([[-1.0, 0.5]], dtype=torch.float64)
    p = torch.tensor([[[0.75, 0.25]], [[0.5, 0.5]]], dtype=torch.float64)
    z = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    return Polyhedron(a, b, c, torch.ones(1, 2, dtype=torch.bool)), p, z


def multipliers(polyhedron: Polyhedron, p: Tensor, now: list[list[float]]) -> Multipliers:
    current = torch.tensor(now, dtype=torch.float64)
    return Multipliers(current, current, polyhedron.along(torch.arange(len(p)), p))


def test_left_hand_sides_by_hand() -> None:
    polyhedron, p, z = by_hand()
    weighed = polyhedron.along(torch.tensor([0, 1]), p)
    assert weighed.tolist() == [[0.5 + 0.5, 0.25 - 0.5]]
    # + b.z = (1, -0.5), + c = (-1, 0.5)
    assert values(polyhedron, weighed, z).tolist() == [[1.0, -0.25]]


def test_regularised_lagrangian_by_hand() -> None:
    polyhedron, p, z = by_hand()
    state = multipliers(polyhedron, p, [[0.5, 2.0]])
    # 10 + 0.5 x 1 + 2 x (-0.25) - 0.02 x (0.25 + 4)
    found = regularised(10.0, state.now, values(polyhedron, state.weighed, z), 0.04)
    assert found == pytest.approx(10 + 0.5 - 0.5 - 0.02 * 4.25)


def test_z_gradient_by_hand() -> None:
    polyhedron, _, _ = by_hand()
    now = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    assert z_gradient(polyhedron, now).tolist() == [[1.0, -2.0]]


def test_ascent_by_hand() -> None:
    polyhedron, p, z = by_hand()
    after = ascend(polyhedron, multipliers(polyhedron, p, [[0.5, 0.01]]), z, rate=0.1, c1=0.4)
    # 0.5 + 0.1 (1 - 0.4 x 0.5); 0.01 + 0.1 (-0.25 - 0.004) is negative
    torch.testing.assert_close(after.now, torch.tensor([[0.58, 0.0]], dtype=torch.float64))
    assert after.before.tolist() == [[0.5, 0.01]]


def test_gradients_agree_with_finite_differences_of_the_lagrangian() -> None:
    polyhedron, p, z = by_hand()
    c1, step = 0.3, 1e-6
    state = multipliers(polyhedron, p, [[0.7, 0.4]])

    def value(now: Tensor, z: Tensor) -> float:
        return regularised(0.0, now, values(polyhedron, state.weighed, z), c1)

    for n in range(2):
        shift = torch.zeros(1, 2, dtype=torch.float64)
        shift[0, n] = step
        by_z = (value(state.now, z + shift) - value(state.now, z - shift)) / (2 * step)
        assert by_z == pytest.approx(float(z_gradient(polyhedron, state.now)[0, n]), abs=1e-8)
        by_multiplier = (value(state.now + shift, z) - value(state.now - shift, z)) / (2 * step)
        ascended = ascend(polyhedron, state, z, rate=1e-3, c1=c1).now - state.now
        assert by_multiplier == pytest.approx(float(ascended[0, n]) / 1e-3, abs=1e-8)


def test_a_word_without_a_cut_keeps_multiplier_zero() -> None:
    polyhedron, _, _ = by_hand()
    two_words = Polyhedron(
        torch.cat([polyhedron.a, torch.zeros_like(polyhedron.a)], 1),
        torch.cat([polyhedron.b, torch.zeros_like(polyhedron.b)]),
        torch.cat([polyhedron.c, torch.zeros_like(polyhedron.c)]),
        torch.tensor([[True, True], [False, False]]),
    )
    zero = torch.zeros(2, 2, dtype=torch.float64)
    weighed = two_words.along(torch.arange(2), distributions(2, 2, 2))
    after = ascend(two_words, Multipliers(zero, zero, weighed), distributions(2, 2, seed=1), 0.1, 0.04)
    assert after.now[1].tolist() == [0.0, 0.0]


def test_regulariser_by_hand() -> None:
    constant = MultiplierSettings(rate=0.1, c1=0.04, schedule="constant")
    assert [constant.regulariser(t) for t in (0, 15, 10**9)] == [0.04] * 3
    falling = MultiplierSettings(rate=0.1, c1=0.04, schedule="decreasing")
    # 1 / (0.1 (t + 1)^(1/4)): 10 at t = 0, 5 at t = 15, and below the floor in the end
    assert falling.regulariser(0) == pytest.approx(10)
    assert falling.regulariser(15) == pytest.approx(5)
    assert falling.regulariser(10**12) == 0.04

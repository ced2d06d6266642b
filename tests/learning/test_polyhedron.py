"""Gap, cuts and their dropping: values by hand, and properties P3 to P6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_cases import distributions
from scipy.optimize import linprog
from torch import Tensor

from fedsim.algorithms.dbt.lagrangian import values
from fedsim.algorithms.dbt.polyhedron import (
    NewCuts,
    Polyhedron,
    extended,
    gap,
    new_cuts,
    subgradient,
    without,
)
from fedsim.algorithms.dbt.settings import PolyhedronSettings

NORMS = pytest.mark.parametrize("norm", ["l1", "squared_l2"])


def rows(*numbers: list[list[float]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# One word of two candidates, two workers; the differences to phi are (.25,-.25), (0,0) and, for z, (-.5,.5).
P = rows([[0.75, 0.25]], [[0.5, 0.5]])
PHI_P = rows([[0.5, 0.5]], [[0.5, 0.5]])
Z, PHI_Z = rows([[0.25, 0.75]])[0], rows([[0.75, 0.25]])[0]


@pytest.mark.parametrize(
    ("norm", "consensus", "expected"),
    [
        ("l1", True, 0.5 + 0.0 + 1.0),
        ("l1", False, 0.5),
        ("squared_l2", True, 0.125 + 0.5),
        ("squared_l2", False, 0.125),
    ],
)
def test_gap_by_hand(norm: str, consensus: bool, expected: float) -> None:
    torch.testing.assert_close(gap(P, Z, PHI_P, PHI_Z, norm, consensus), rows([[expected]])[0, 0])


def test_l1_cut_by_hand() -> None:
    new = new_cuts(P, Z, PHI_P, PHI_Z, PolyhedronSettings(norm="l1", epsilon=0.05))
    assert new.a.tolist() == [[[1, -1]], [[0, 0]]]
    assert new.b.tolist() == [[-1, 1]]
    # h - epsilon - a.p - b.z = 1.5 - 0.05 - (0.75 - 0.25) - (-0.25 + 0.75)
    torch.testing.assert_close(new.c, rows([[0.45]])[0, 0])
    assert new.alive.tolist() == [True]


def test_squared_l2_cut_by_hand() -> None:
    new = new_cuts(P, Z, PHI_P, PHI_Z, PolyhedronSettings(norm="squared_l2", epsilon=0.05))
    assert new.a.tolist() == [[[0.5, -0.5]], [[0, 0]]]
    assert new.b.tolist() == [[-1, 1]]
    # 0.625 - 0.05 - (0.375 - 0.125) - (-0.25 + 0.75)
    torch.testing.assert_close(new.c, rows([[-0.175]])[0, 0])


def test_cut_without_epsilon_is_as_printed() -> None:
    new = new_cuts(P, Z, PHI_P, PHI_Z, PolyhedronSettings(epsilon_in_cut=False))
    torch.testing.assert_close(new.c, rows([[0.5]])[0, 0])


def test_centralised_cut_leaves_z_out() -> None:
    new = new_cuts(P, Z, PHI_P, PHI_Z, PolyhedronSettings(), consensus=False)
    assert new.b.tolist() == [[0, 0]]
    torch.testing.assert_close(new.c, rows([[0.5 - 0.05 - 0.5]])[0, 0])


def test_a_cut_only_where_the_gap_exceeds_epsilon() -> None:
    held = PolyhedronSettings(epsilon=1.5)
    assert not new_cuts(P, Z, PHI_P, PHI_Z, held).alive.any()
    assert new_cuts(P, Z, PHI_P, PHI_Z, held.model_copy(update={"epsilon": 1.4})).alive.all()
    assert new_cuts(P, Z, PHI_P, PHI_Z, held.model_copy(update={"only_if_violated": False})).alive.all()


def test_rounding_has_no_sign() -> None:
    assert subgradient(rows([[0.1 + 0.2, 0.7]]), rows([[0.3, 0.0]]), "l1").tolist() == [[[0.0, 1.0]]]


def drawn_point(n_workers: int, seed: int) -> tuple[Tensor, Tensor]:
    return distributions(n_workers, 2, 3, seed=seed), distributions(2, 3, seed=seed + 1_000_000)


def drawn_cuts(seed: int, settings: PolyhedronSettings) -> tuple[Tensor, Tensor, NewCuts]:
    """Return phi and the cuts made from it at another random point."""
    phi_p, phi_z = drawn_point(2, seed)
    p, z = drawn_point(2, seed + 500_000)
    return phi_p, phi_z, new_cuts(p, z, phi_p, phi_z, settings)


def left_side(new: NewCuts, p: Tensor, z: Tensor) -> Tensor:
    return (new.a * p).sum((0, 2)) + (new.b * z).sum(1) + new.c


def near(phi: Tensor, share: float, seed: int) -> Tensor:
    """Return a point of the simplex a `share` of the way from phi to a random one."""
    return (1 - share) * phi + share * distributions(*phi.shape, seed=seed)


@NORMS
@given(seed=st.integers(0, 99_999), share=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_p3_every_point_within_epsilon_satisfies_the_cut(norm: str, seed: int, share: float) -> None:
    epsilon = 0.3
    phi_p, phi_z, new = drawn_cuts(seed, PolyhedronSettings(norm=norm, epsilon=epsilon))
    p, z = near(phi_p, share, seed + 1), near(phi_z, share, seed + 2)
    inside = gap(p, z, phi_p, phi_z, norm, True) <= epsilon
    assert (left_side(new, p, z)[inside & new.alive] <= 1e-12).all()


@pytest.mark.parametrize(("in_cut", "least", "most"), [(True, 0, 0), (False, 200, 2_000)])
def test_p3_without_epsilon_the_cut_takes_off_feasible_points(in_cut: bool, least: int, most: int) -> None:
    epsilon, n_inside, n_violated = 0.3, 0, 0
    for seed in range(1_000):
        settings = PolyhedronSettings(epsilon=epsilon, epsilon_in_cut=in_cut)
        phi_p, phi_z, new = drawn_cuts(seed, settings)
        p, z = near(phi_p, 0.1, seed + 1), near(phi_z, 0.1, seed + 2)
        inside = (gap(p, z, phi_p, phi_z, "l1", True) <= epsilon) & new.alive
        n_inside += int(inside.sum())
        n_violated += int((left_side(new, p, z)[inside] > 1e-12).sum())
    assert n_inside > 1_000
    assert least <= n_violated <= most, f"{n_violated} of {n_inside} points"


@NORMS
@given(seed=st.integers(0, 99_999))
@settings(max_examples=100, deadline=None)
def test_p4_the_cut_takes_off_the_point_it_was_made_at(norm: str, seed: int) -> None:
    phi_p, phi_z = drawn_point(2, seed)
    p, z = drawn_point(2, seed + 500_000)
    new = new_cuts(p, z, phi_p, phi_z, PolyhedronSettings(norm=norm, epsilon=0.01))
    value = left_side(new, p, z)[new.alive]
    torch.testing.assert_close(value, (new.h - 0.01)[new.alive], rtol=0, atol=1e-12)
    assert (value > 0).all()


def accumulated(norm: str, n_cuts: int, m_words: int = 2) -> tuple[Tensor, Tensor, list[Polyhedron]]:
    """Return phi and the polyhedra after 0, 1, ... cuts at random points, phi frozen."""
    phi_p, phi_z = distributions(2, m_words, 3, seed=1), distributions(m_words, 3, seed=2)
    growing = [Polyhedron.empty(2, m_words, 3, norm)]
    for seed in range(n_cuts):
        p, z = distributions(2, m_words, 3, seed=10 + seed), distributions(m_words, 3, seed=100 + seed)
        new = new_cuts(p, z, phi_p, phi_z, PolyhedronSettings(norm=norm, epsilon=0.2))
        growing.append(extended(growing[-1], new, torch.arange(2)))
    return phi_p, phi_z, growing


def feasible(polyhedron: Polyhedron, p: Tensor, z: Tensor) -> Tensor:
    weighed = polyhedron.along(torch.arange(2), p)
    return (values(polyhedron, weighed, z) <= 1e-12).all(1)


@NORMS
def test_p5_nested_polyhedra_hold_the_feasible_set(norm: str) -> None:
    phi_p, phi_z, growing = accumulated(norm, 6)
    left = [0] * len(growing)
    for seed in range(400):
        p, z = near(phi_p, seed / 400, 1_000 + seed), near(phi_z, seed / 400, 2_000 + seed)
        before = torch.ones(2, dtype=torch.bool)
        within = gap(p, z, phi_p, phi_z, norm, True) <= 0.2
        for n, polyhedron in enumerate(growing):
            now = feasible(polyhedron, p, z)
            assert not (now & ~before).any()
            assert (now | ~within).all()
            left[n] += int(now.sum())
            before = now
    assert left[0] == 800
    assert left == sorted(left, reverse=True)
    assert left[1] < 800
    assert left[-1] < left[1]


def lower_bound(polyhedron: Polyhedron, cost: np.ndarray) -> float:
    """Return the smallest cost . (p, z) of one word over simplices and cuts, by linear programming."""
    a = polyhedron.a[:, 0].double().permute(1, 0, 2).flatten(1)  # (L, 2 N)
    sides = torch.cat([a, polyhedron.b[0]], 1).numpy()
    sums = np.kron(np.eye(3), np.ones(3))
    found = linprog(
        cost,
        A_ub=sides if len(sides) else None,
        b_ub=-polyhedron.c[0].numpy() if len(sides) else None,
        A_eq=sums,
        b_eq=np.ones(3),
        bounds=(0, 1),
    )
    assert found.status == 0
    return float(found.fun)


@NORMS
def test_p6_the_optimum_of_the_relaxation_never_falls(norm: str) -> None:
    cost = np.random.default_rng(3).random(9)
    phi_p, phi_z, growing = accumulated(norm, 8, m_words=1)
    bounds = np.array([lower_bound(polyhedron, cost) for polyhedron in growing])
    assert (np.diff(bounds) >= -1e-9).all()
    assert bounds[-1] > bounds[0] + 0.05
    # The bilevel optimum with epsilon 0 is feasible for all of them.
    assert bounds[-1] <= cost @ torch.cat([phi_p.flatten(), phi_z.flatten()]).numpy() + 1e-9


def test_dropping_keeps_columns_that_still_hold_a_cut() -> None:
    _, _, growing = accumulated("l1", 3)
    full = growing[-1]
    assert full.alive.all()
    dropped = torch.tensor([[True, True, False], [True, False, False]])
    rest, kept = without(full, dropped)
    assert kept.tolist() == [1, 2]
    assert rest.alive.tolist() == [[False, True], [True, True]]
    assert rest.count() == 3
    assert not rest.a[:, 0, 0].any()
    assert not rest.b[0, 0].any()
    assert rest.c[0, 0] == 0
    assert torch.equal(rest.a[:, 1], full.a[:, 1, 1:])
    assert torch.equal(rest.c[:, 1], full.c[:, 2])


def test_workers_outside_the_update_get_no_coefficients() -> None:
    _, _, new = drawn_cuts(1, PolyhedronSettings())
    grown = extended(Polyhedron.empty(4, 2, 3, "l1"), new, torch.tensor([3, 1]))
    assert not grown.a[[0, 2]].any()
    assert torch.equal(grown.a[3, :, 0].double(), new.a[0])
    assert torch.equal(grown.a[1, :, 0].double(), new.a[1])


@NORMS
def test_pull_and_along_equal_plain_loops(norm: str) -> None:
    _, _, growing = accumulated(norm, 4)
    polyhedron = growing[-1]
    workers = torch.tensor([1, 0])
    multipliers = torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    change = distributions(2, 2, 3, seed=7)
    pull = torch.zeros(2, 2, 3, dtype=torch.float64)
    along = torch.zeros(2, 4, dtype=torch.float64)
    for place, worker in enumerate(workers.tolist()):
        for i in range(2):
            for cut in range(4):
                a = polyhedron.a[worker, i, cut].double()
                pull[place, i] += multipliers[place, i, cut] * a
                along[i, cut] += a @ change[place, i]
    torch.testing.assert_close(polyhedron.pull(workers, multipliers), pull)
    torch.testing.assert_close(polyhedron.along(workers, change), along)
    each = polyhedron.weights(workers, change)
    for place, worker in enumerate(workers.tolist()):
        alone = polyhedron.a[worker].double() @ change[place, :, :, None]
        torch.testing.assert_close(each[place], alone.squeeze(2))

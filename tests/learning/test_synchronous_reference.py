"""P10: the Tuner with S = R against an independent slow form of the algorithm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, toy_settings
from synchronous_reference import Array, Reference, project_row

from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.problems.quadratic import Quadratic
from fedsim.streams import Streams

STEPS, EVERY, ROUNDS = 60, 6, 5


def toy_reference(oracle: ToyOracle, norm: str, epsilon: float, psi: float) -> Reference:
    L = oracle.L.numpy()

    def grad_f(v: int, p: Array, q: Array) -> tuple[Array, Array]:
        by_p, by_q = np.zeros((2, 3)), np.zeros((2, 2))
        for j1 in range(3):
            for j2 in range(3):
                for k1 in range(2):
                    for k2 in range(2):
                        loss = L[v, j1, j2, k1, k2]
                        by_p[0, j1] += loss * p[1, j2] * q[0, k1] * q[1, k2]
                        by_p[1, j2] += loss * p[0, j1] * q[0, k1] * q[1, k2]
                        by_q[0, k1] += loss * p[0, j1] * p[1, j2] * q[1, k2]
                        by_q[1, k2] += loss * p[0, j1] * p[1, j2] * q[0, k1]
        return by_p, by_q

    def grad_g(v: int, p: Array, realised: Array) -> Array:
        k1, k2 = realised.astype(int)
        by_p = np.zeros((2, 3))
        for j1 in range(3):
            for j2 in range(3):
                by_p[0, j1] += L[v, j1, j2, k1, k2] * p[1, j2]
                by_p[1, j2] += L[v, j1, j2, k1, k2] * p[0, j1]
        return by_p

    P, Q, z = np.full((3, 2, 3), 1 / 3), np.full((3, 2, 2), 1 / 2), np.full((2, 3), 1 / 3)
    return Reference(
        grad_f, grad_g, project_row, P, Q, z, 0.05, 0.05, 0.5, 0.1, 0.05, 1.0, norm, epsilon, psi
    )  # fmt: skip


MULTIPLIERS = {"rate": 0.5, "c1": 0.1, "schedule": "constant"}


@pytest.mark.parametrize(("norm", "epsilon"), [("l1", 0.05), ("squared_l2", 1e-3)])
@pytest.mark.parametrize("psi", [0.0, 0.1])
def test_p10_toy_equals_the_reference(norm: str, epsilon: float, psi: float) -> None:
    oracle = ToyOracle(own=0.6)
    settings = toy_settings(
        multipliers=MULTIPLIERS,
        polyhedron={"norm": norm, "epsilon": epsilon},
        robust={"psi": psi} if psi else None,
    )
    tuner = Tuner(GivenBench(oracle, 3), settings)
    drive, slow = Drive(tuner, 3), toy_reference(oracle, norm, epsilon, psi)
    for t in range(STEPS):
        drive.step([0, 1, 2], ROUNDS if t % EVERY == 0 else 0)
        slow.step()
        if t % EVERY == 0:
            slow.update_polyhedron(slow.Q.argmax(-1).astype(float), ROUNDS)
    assert slow.dropped > 0
    assert tuner.state.polyhedron.count() == sum(map(len, slow.cuts)) > 0
    compare(tuner, slow)


def test_p10_quadratic_equals_the_reference() -> None:
    problem = Quadratic(dimension=4, upper_weight=0.2, coupling=0.3)
    oracle = problem.prepare(Streams(5), 3)
    h, c, b, t = (getattr(oracle, name).numpy() for name in ("_h", "_c", "_b", "_t"))

    def grad_f(v: int, p: Array, q: Array) -> tuple[Array, Array]:
        residual = q[0] - p[0] - b[v]
        return (0.2 * (p[0] - t[v]) - residual)[None], residual[None]

    def grad_g(v: int, p: Array, realised: Array) -> Array:
        return (h[v] * (p[0] - c[v] - 0.3 * realised[0]))[None]

    zero = np.zeros((3, 1, 4))
    slow = Reference(
        grad_f, grad_g, np.copy, zero.copy(), zero.copy(), zero[0].copy(),
        0.05, 0.05, 0.5, 0.1, 0.05, 1.0, "l1", 0.05,
    )  # fmt: skip
    tuner = Tuner(GivenBench(oracle, 3), toy_settings(multipliers=MULTIPLIERS))
    drive = Drive(tuner, 3)
    for step in range(STEPS):
        drive.step([0, 1, 2], ROUNDS if step % EVERY == 0 else 0)
        slow.step()
        if step % EVERY == 0:
            slow.update_polyhedron(slow.Q, ROUNDS)
    assert sum(map(len, slow.cuts)) > 0
    compare(tuner, slow)


def compare(tuner: Tuner, slow: Reference) -> None:
    np.testing.assert_allclose(tuner.tables.P.numpy(), slow.P, rtol=0, atol=1e-9)
    np.testing.assert_allclose(tuner.tables.Q.numpy(), slow.Q, rtol=0, atol=1e-9)
    np.testing.assert_allclose(tuner.state.z.numpy(), slow.z, rtol=0, atol=1e-9)
    multipliers, alive = tuner.state.multipliers.now, tuner.state.polyhedron.alive
    for i, cuts in enumerate(slow.cuts):
        slow_multipliers = torch.tensor([cut.multiplier for cut in cuts], dtype=torch.float64)
        torch.testing.assert_close(multipliers[i, alive[i]], slow_multipliers, rtol=0, atol=1e-9)

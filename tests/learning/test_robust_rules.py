"""RSA's penalty with p = 1, 2 and infinity, in the outer step, in (8) and in the options of (9)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, distributions, toy_settings
from torch import Tensor

from fedsim.algorithms.dbt.robust import inner_z_gradient, outer_pull, penalty_slope, worker_pull
from fedsim.algorithms.dbt.settings import RobustSettings, Rules
from fedsim.algorithms.dbt.tuner import Tuner

NORMS = ("l1", "l2", "linf")
EACH_NORM = pytest.mark.parametrize("norm", NORMS)


def tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# A message of two words: its length is 5, its largest number -4. Word by word l2 would give 1 and -1.
DIFFERENCE = tensor([[3.0, 0.0], [0.0, -4.0]])


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("l1", [[1.0, 0.0], [0.0, -1.0]]),
        ("l2", [[0.6, 0.0], [0.0, -0.8]]),
        ("linf", [[0.0, 0.0], [0.0, -1.0]]),
    ],
)
def test_slopes_are_of_the_norm_of_a_whole_message(norm: Any, expected: list[Any]) -> None:
    torch.testing.assert_close(penalty_slope(DIFFERENCE, norm), tensor(expected))
    # Each message has a norm of its own.
    both = penalty_slope(torch.stack([DIFFERENCE, -2 * DIFFERENCE]), norm)
    torch.testing.assert_close(both, torch.stack([tensor(expected), -tensor(expected)]))


def test_equally_large_coordinates_share_the_slope_of_linf() -> None:
    slope = penalty_slope(tensor([[2.0, -2.0], [1.0, 0.0]]), "linf")
    assert slope.tolist() == [[0.5, -0.5], [0.0, 0.0]]


def size(difference: Tensor, norm: str) -> Tensor:
    return torch.linalg.vector_norm(difference.flatten(), {"l1": 1, "l2": 2, "linf": math.inf}[norm])


@EACH_NORM
def test_slopes_are_subgradients(norm: Any) -> None:
    """The norm lies above its tangent everywhere: ``||y|| >= ||x|| + s(x) . (y - x)``, equal at 2 x."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        x, y = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
        slope = penalty_slope(x, norm)
        assert size(y, norm) >= size(x, norm) + (slope * (y - x)).sum() - 1e-12
        torch.testing.assert_close(size(2 * x, norm), size(x, norm) + (slope * x).sum())


@pytest.mark.parametrize(
    ("norm", "at_server", "at_worker"),
    [
        # z - p is (-3, 4) and (-4, -3): (-1, 1) + (-1, -1)
        ("l1", [-1.0, 0.0], [0.5, -0.5]),
        # (-.6, .8) + (-.8, -.6)
        ("l2", [-0.7, 0.1], [0.3, -0.4]),
        # (0, 1) + (-1, 0)
        ("linf", [-0.5, 0.5], [0.0, -0.5]),
    ],
)
def test_pulls_by_hand(norm: Any, at_server: list[float], at_worker: list[float]) -> None:
    """psi = 0.5; a third message, at z, says nothing."""
    z = tensor([[1.0, 2.0]])
    received = tensor([[[4.0, -2.0]], [[5.0, 5.0]], [[1.0, 2.0]]])
    torch.testing.assert_close(outer_pull(z, received, 0.5, norm), tensor([at_server]))
    for sign, towards in ((1.0, "rsa"), (-1.0, "printed")):
        settings = RobustSettings(psi=0.5, norm=norm, worker_sign=towards)  # type: ignore[arg-type]
        torch.testing.assert_close(worker_pull(received[:1], z, settings), sign * tensor([[at_worker]]))


def slow_slope(d: list[list[float]], norm: str) -> list[list[float]]:
    """Return the slope of a message's norm, number by number."""
    numbers = [x for word in d for x in word]
    largest = max(abs(x) for x in numbers)
    length = math.sqrt(sum(x * x for x in numbers))
    shares = sum(abs(x) == largest for x in numbers)
    slopes = []
    for word in d:
        row = []
        for x in word:
            sign = (x > 0) - (x < 0)
            if norm == "l2":
                row.append(x / length if length else 0.0)
            else:
                row.append(float(sign) if norm == "l1" else sign / shares if abs(x) == largest else 0.0)
        slopes.append(row)
    return slopes


@EACH_NORM
@pytest.mark.parametrize("option", [None, "R2", "R3", "R4"])
def test_the_bracket_of_9_equals_its_slow_twin(option: Any, norm: Any) -> None:
    psi, mu = 0.1, 0.7
    z, p = distributions(2, 3), distributions(4, 2, 3, seed=1)
    rho = 0.2 * (distributions(4, 2, 3, seed=2) - 1 / 3)
    p[3] = z  # a message that agrees
    robust = None if option is None else RobustSettings(psi=psi, inner=option, norm=norm)
    found = inner_z_gradient(z, p, rho, mu, robust)
    for i in range(2):
        for n in range(3):
            expected = 0.0
            for v in range(4):
                part = mu * float(z[i, n] - p[v, i, n]) - float(rho[v, i, n])
                slope = psi * slow_slope((z - p[v]).tolist(), norm)[i][n]
                if option == "R3":  # its clip is a coordinate's own, whatever the norm
                    expected += min(max(part, -psi), psi)
                elif option == "R4":
                    expected += slope
                else:
                    expected += part + (slope if option == "R2" else 0.0)
            assert float(found[i, n]) == pytest.approx(expected, abs=1e-12)


@EACH_NORM
def test_an_outer_step_with_each_norm(norm: Any) -> None:
    """(19) pulls p towards z, (21) z towards all p, each with the slope of the whole message."""
    tuner = Tuner(GivenBench(ToyOracle(2), 2), toy_settings(z_rate=0.1, robust={"psi": 0.2, "norm": norm}))
    oracle = tuner._oracle
    assert isinstance(oracle, ToyOracle)
    oracle.L[:] = 1.0  # constant losses: no gradient but the pull
    start = distributions(2, 2, 3)
    tuner.tables.P[:] = tuner.received[:] = start
    z = tuner.state.z
    Drive(tuner, 2).step([0, 1])
    for v in range(2):
        slope = tensor(slow_slope((start[v] - z).tolist(), norm))
        expected = tuner._project(start[v] - 0.05 * 0.2 * slope)
        torch.testing.assert_close(tuner.received[v], expected, rtol=0, atol=1e-12)
    pulls = [tensor(slow_slope((z - tuner.received[v]).tolist(), norm)) for v in range(2)]
    torch.testing.assert_close(
        tuner.state.z, tuner._project(z - 0.1 * 0.2 * (pulls[0] + pulls[1])), rtol=0, atol=1e-12
    )


@EACH_NORM
def test_the_penalty_ties_workers_together(norm: Any) -> None:
    """With a large psi workers that differ end at one consensus; without, they do not."""
    gaps = []
    for psi in (None, 2.0):
        settings = toy_settings(
            z_rate=0.02,
            optimizer={"kind": "sgd", "learning_rate": 0.02},
            robust=None if psi is None else {"psi": psi, "norm": norm},
        )
        tuner = Tuner(GivenBench(ToyOracle(3, own=1.0), 3), settings)
        drive = Drive(tuner, 3)
        for _ in range(300):
            drive.step([0, 1, 2])
        gaps.append(tuner.evaluate([0, 1, 2])["consensus_gap"])
    assert gaps[0] > 0.5
    assert gaps[1] < 0.2


def test_l1_is_the_default_and_an_unknown_norm_is_refused() -> None:
    assert Rules.model_validate({"robust": {}}).robust == RobustSettings(norm="l1")
    with pytest.raises(ValueError, match="'l1', 'l2' or 'linf'"):
        RobustSettings(norm="l3")  # type: ignore[arg-type]

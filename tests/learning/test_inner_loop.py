"""The inner loop (7)-(13): one round by hand, its limit in closed form (P7), bounds on attacks (P13, P2)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from learning_cases import ToyOracle, distributions, toy_settings
from torch import Tensor

from fedsim.algorithms.dbt.inner_loop import InnerLoop, server_round, start_loop, worker_round
from fedsim.algorithms.dbt.robust import inner_z_gradient, outer_pull, worker_pull
from fedsim.algorithms.dbt.settings import InnerSettings, RobustSettings
from fedsim.learning import simplex


def tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# Two workers, one word, two candidates; free variables (no projection), so that every number stays visible.
LOOP = InnerLoop(
    workers=(0, 1),
    p=tensor([[[0.5, 0.5]], [[0.25, 0.75]]]),
    z=tensor([[0.5, 0.25]]),
    rho=tensor([[[0.1, -0.1]], [[0.0, 0.2]]]),
    realised=torch.zeros(2, 1),
)
GRADIENT = tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
SETTINGS = InnerSettings(p_rate=0.1, z_rate=0.1, rho_rate=0.5, mu=2.0)


@pytest.mark.parametrize(
    ("psi_sign", "expected"),
    [
        # gradient + rho + mu (p - z): worker 0 (1 + .1 + 0, 2 - .1 + .5), worker 1 (3 + 0 - .5, 4 + .2 + 1)
        (None, [[[0.5 - 0.11, 0.5 - 0.24]], [[0.25 - 0.25, 0.75 - 0.52]]]),
        # and psi = 0.5 times the signs of p - z: (0, 1) and (-1, 1)
        ("rsa", [[[0.39, 0.26 - 0.05]], [[0.0 + 0.05, 0.23 - 0.05]]]),
        ("printed", [[[0.39, 0.26 + 0.05]], [[0.0 - 0.05, 0.23 + 0.05]]]),
    ],
)
def test_worker_round_by_hand(psi_sign: str | None, expected: list[Any]) -> None:
    robust = None if psi_sign is None else RobustSettings(psi=0.5, worker_sign=psi_sign)  # type: ignore[arg-type]
    p = worker_round(LOOP, slice(0, 2), GRADIENT, SETTINGS, robust, torch.clone)
    torch.testing.assert_close(p, tensor(expected))


NEW_P = tensor([[[0.4, 0.2]], [[0.0, 0.3]]])
# mu (z - p') - rho: worker 0 (2 x .1 - .1, 2 x .05 + .1) = (.1, .2); worker 1 (2 x .5 - 0, 2 x -.05 - .2)
# = (1, -.3). The signs of z - p' are (1, 1) and (1, -1).


@pytest.mark.parametrize(
    ("option", "z_gradient"),
    [
        (None, [1.1, -0.1]),
        ("R2", [1.1 + 0.25 * 2, -0.1 + 0.25 * 0]),
        ("R3", [0.1 + 0.25, 0.2 - 0.25]),
        ("R4", [0.25 * 2, 0.0]),
    ],
)
def test_server_round_by_hand(option: str | None, z_gradient: list[float]) -> None:
    robust = None if option is None else RobustSettings(psi=0.25, inner=option)  # type: ignore[arg-type]
    done = server_round(LOOP, NEW_P, SETTINGS, robust, torch.clone)
    z = tensor([[0.5 - 0.1 * z_gradient[0], 0.25 - 0.1 * z_gradient[1]]])
    torch.testing.assert_close(done.z, z)
    torch.testing.assert_close(done.p, NEW_P)
    # rho with the new p and the new z, (10) and (13); clipped only where the option says so
    rho = LOOP.rho + 0.5 * (NEW_P - z)
    torch.testing.assert_close(done.rho, rho.clamp(-0.25, 0.25) if option == "R3" else rho)


def test_rho_by_hand() -> None:
    # z' = (0.5 - 0.11, 0.25 + 0.01); rho' = rho + (p' - z') / 2
    done = server_round(LOOP, NEW_P, SETTINGS, None, torch.clone)
    torch.testing.assert_close(done.rho, tensor([[[0.105, -0.13]], [[-0.195, 0.22]]]))


def test_p2_clipped_rho_stays_within_psi() -> None:
    robust = RobustSettings(psi=0.05, inner="R3")
    loop, largest = LOOP, 0.0
    for round_number in range(20):
        loop = server_round(
            loop, distributions(2, 1, 2, seed=round_number), SETTINGS, robust, simplex.project
        )
        largest = max(largest, float(loop.rho.abs().max()))
    assert largest == 0.05


@pytest.mark.parametrize(("start", "p_is", "z_is"), [("current", "p", "z"), ("consensus", "z", "z")])
def test_start(start: Any, p_is: str, z_is: str) -> None:
    p, z, first = distributions(2, 1, 3), distributions(1, 3, seed=1), torch.full((1, 3), 1 / 3).double()
    loop = start_loop([4, 7], p, z, first, torch.zeros(2, 1), InnerSettings(start=start))
    places = {"p": p, "z": z.expand(2, 1, 3)}
    assert torch.equal(loop.p, places[p_is])
    assert torch.equal(loop.z, z)
    assert not loop.rho.any()
    assert loop.workers == (4, 7)


def test_start_uniform() -> None:
    p, z, first = distributions(2, 1, 3), distributions(1, 3, seed=1), torch.full((1, 3), 1 / 3).double()
    loop = start_loop([4, 7], p, z, first, torch.zeros(2, 1), InnerSettings(start="uniform"))
    assert torch.equal(loop.p, first.expand(2, 1, 3))
    assert torch.equal(loop.z, first)


def test_leaving_workers_take_their_rows_along() -> None:
    left = LOOP.kept([1])
    assert left.workers == (1,)
    assert torch.equal(left.p, LOOP.p[1:])
    assert torch.equal(left.rho, LOOP.rho[1:])
    # The loop's own order counts, not that of the tickets.
    assert LOOP.kept([1, 0]).workers == (0, 1)


def converged(oracle: ToyOracle, start: Any, rounds: int) -> InnerLoop:
    """Return the loop after many rounds of exact gradients, without psi."""
    inner = toy_settings(inner={"p_rate": 0.1, "z_rate": 0.1, "rho_rate": 0.1, "start": start}).inner
    realised = torch.zeros(3, 2, dtype=torch.long)
    loop = start_loop([0, 1, 2], distributions(3, 2, 3), oracle.start_p, oracle.start_p, realised, inner)
    for _ in range(rounds):
        gradient = oracle.lower([0, 1, 2], [0, 0, 0], loop.p, realised)
        p = worker_round(loop, slice(0, 3), gradient, inner, None, simplex.project)
        loop = server_round(loop, p, inner, None, simplex.project)
    return loop


@pytest.mark.parametrize("start", ["consensus", "uniform"])
@pytest.mark.parametrize("seed", range(2))
def test_p7_many_rounds_reach_the_vertex_of_the_closed_form(seed: int, start: Any) -> None:
    """All p and z of word i end at the vertex ``argmin_j sum_v G_ij^(v)``.

    The losses are sums of one part per word, so that G_ij does not depend on the other word.
    """
    oracle = ToyOracle(3, seed)
    table = oracle.L[:, :, :, 0, 0]
    separable = table[:, :, :1] + table[:, :1, :]
    oracle.L[:] = separable[..., None, None]
    loop = converged(oracle, start, 1_500)
    best = torch.stack([separable[:, :, 0].sum(0).argmin(), separable[:, 0, :].sum(0).argmin()])
    vertex = torch.nn.functional.one_hot(best, 3).double()
    torch.testing.assert_close(loop.z, vertex, rtol=0, atol=1e-6)
    torch.testing.assert_close(loop.p, vertex.expand(3, 2, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(2, 6))
def test_p7_each_word_ends_at_the_best_answer_to_the_other(seed: int) -> None:
    """With any losses, ``G_ij = E[L | j_i = j]`` at the other word's limit: both limits are vertices."""
    oracle = ToyOracle(3, seed)
    loop = converged(oracle, "uniform", 1_500)
    losses = oracle.L[:, :, :, 0, 0].sum(0)
    best = torch.stack([(losses @ loop.z[1]).argmin(), (loop.z[0] @ losses).argmin()])
    vertex = torch.nn.functional.one_hot(best, 3).double()
    torch.testing.assert_close(loop.z, vertex, rtol=0, atol=1e-6)
    torch.testing.assert_close(loop.p, vertex.expand(3, 2, 3), rtol=0, atol=1e-6)


FINITE = st.floats(-1e300, 1e300)
OPTIONS = pytest.mark.parametrize("option", ["R3", "R4"])


@OPTIONS
@given(payload=st.lists(FINITE, min_size=3, max_size=3), dual=st.floats(-0.2, 0.2))
@hypothesis_settings(max_examples=100, deadline=None)
def test_p13_a_malicious_worker_moves_the_inner_z_by_psi_at_most(
    option: Any, payload: list[float], dual: float
) -> None:
    robust = RobustSettings(psi=0.2, inner=option)
    z, malicious = distributions(1, 3), tensor([[payload]])
    rho = torch.full_like(malicious, dual)
    alone = inner_z_gradient(z, malicious, rho, 1.0, robust)
    assert (alone.abs() <= 0.2).all()
    honest, honest_rho = distributions(2, 1, 3, seed=1), torch.zeros(2, 1, 3, dtype=torch.float64)
    together = inner_z_gradient(z, torch.cat([honest, malicious]), torch.cat([honest_rho, rho]), 1.0, robust)
    without = inner_z_gradient(z, honest, honest_rho, 1.0, robust)
    torch.testing.assert_close(together - without, alone, rtol=0, atol=1e-15)


@given(payload=st.lists(FINITE, min_size=3, max_size=3))
@hypothesis_settings(max_examples=100, deadline=None)
def test_p13_a_malicious_worker_moves_the_outer_z_by_psi_at_most(payload: list[float]) -> None:
    z = distributions(1, 3)
    moved = outer_pull(z, tensor([[payload]]), 0.2)
    assert set(moved.abs().flatten().tolist()) <= {0.0, 0.2}


def test_p13_option_r2_has_no_bound() -> None:
    malicious = tensor([[[1e6, 0.0, 0.0]]])
    robust = RobustSettings(psi=0.2, inner="R2")
    assert (
        inner_z_gradient(distributions(1, 3), malicious, torch.zeros_like(malicious), 1.0, robust).abs().max()
        > 1e5
    )


def test_signs_by_hand() -> None:
    z = tensor([[0.5, 0.3, 0.2]])
    received = tensor([[[0.6, 0.3, 0.1]], [[0.1, 0.8, 0.1]], [[0.0, 0.0, 1.0]]])
    # z - p has the signs (-1, 0, 1), (1, -1, 1), (1, 1, -1)
    torch.testing.assert_close(outer_pull(z, received, 0.5), tensor([[0.5, 0.0, 0.5]]))
    rsa = worker_pull(received[0], z, RobustSettings(psi=0.5))
    assert rsa.tolist() == [[0.5, 0.0, -0.5]]

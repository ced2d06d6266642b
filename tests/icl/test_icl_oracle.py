"""The oracle's gradients and choices: unbiased, addressed, ablated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from icl_cases import plain_loss, tiny_oracle, tiny_task
from torch import Tensor

from fedsim.problems.icl.oracle import JOBS_AT_ONCE, IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams

P = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]], dtype=torch.float64)
Q = torch.tensor([[[0.7, 0.3], [0.4, 0.6]]], dtype=torch.float64)
N_JOBS = 4000


def exact_gradients(oracle: IclOracle, realised: list[int] | None) -> tuple[Tensor, Tensor]:
    """Return the gradients of the expected loss by p and q, by enumeration of all prompts."""
    p_gradient, q_gradient = torch.zeros_like(P[0]), torch.zeros_like(Q[0])
    demonstrations = [tuple(realised)] if realised else list(itertools.product(range(2), repeat=2))
    for j in itertools.product(range(3), repeat=2):
        for k in demonstrations:
            loss = plain_loss(oracle.data, 0, list(j), list(k))
            words = [float(P[0, i, j[i]]) for i in range(2)]
            shown = [1.0, 1.0] if realised else [float(Q[0, u, k[u]]) for u in range(2)]
            for i in range(2):
                p_gradient[i, j[i]] += loss * words[1 - i] * shown[0] * shown[1]
                q_gradient[i, k[i]] += loss * words[0] * words[1] * shown[1 - i]
    return p_gradient, q_gradient


def assert_unbiased(estimates: Tensor, exact: Tensor, slope: float) -> None:
    """Compare means with exact values, both less their row means, in standard errors."""
    centred = estimates - estimates.mean(-1, keepdim=True)
    error = centred.std(0) / len(centred) ** 0.5
    expected = slope * (exact - exact.mean(-1, keepdim=True))
    assert ((centred.mean(0) - expected).abs() < 4 * error).all()
    # The comparison has teeth: at least one entry is far from zero.
    assert (expected.abs() > 10 * error).any()


@pytest.mark.parametrize(("estimator", "slope"), [("zero", 1), ("code", 2), ("paper", 2)])
def test_upper_gradients_are_unbiased(estimator: str, slope: float) -> None:
    oracle = tiny_oracle(estimator=estimator, n_samples=10)
    tables = P.expand(N_JOBS, -1, -1), Q.expand(N_JOBS, -1, -1)
    estimates = oracle.upper([0] * N_JOBS, list(range(N_JOBS)), *tables)
    for estimate, exact in zip(estimates, exact_gradients(oracle, None), strict=True):
        assert_unbiased(estimate, exact, slope)


def test_lower_gradient_is_unbiased_given_the_demonstrations() -> None:
    oracle = tiny_oracle(n_samples=10)
    realised = torch.tensor([[1, 0]]).expand(N_JOBS, -1)
    estimate = oracle.lower([0] * N_JOBS, list(range(N_JOBS)), P.expand(N_JOBS, -1, -1), realised)
    assert_unbiased(estimate, exact_gradients(oracle, [1, 0])[0], 1)


def test_upper_equals_losses_of_the_drawn_prompts_by_plain_loops() -> None:
    """The draws come from the job's own address, demonstrations first."""
    oracle = tiny_oracle(n_workers=2, n_samples=3)
    p_gradient, q_gradient = oracle.upper([1], [6], P, Q)
    uniforms = Streams(0).uniforms(6, [1], [6], 3 * (2 + 2))[0].reshape(4, 3)  # type: ignore[arg-type] # by number
    tables = [*Q[0], *P[0]]
    drawn = [[int((t.cumsum(0) <= u).sum()) for u in row] for t, row in zip(tables, uniforms, strict=True)]
    losses = [
        plain_loss(oracle.data, 1, [r[i] for r in drawn[2:]], [r[i] for r in drawn[:2]]) for i in range(3)
    ]
    expected = [torch.zeros_like(table) for table in tables]
    for row, table, out in zip(drawn, tables, expected, strict=True):
        for i in range(3):
            out[row[i]] += (losses[i] - sum(losses) / 3) / 2 / table[row[i]]
    np.testing.assert_allclose(torch.cat([*q_gradient[0], *p_gradient[0]]), torch.cat(expected), atol=1e-12)


def problem_of_paper_sizes(**settings: Any) -> IclProblem:
    return IclProblem(task={"kind": "calibrated", "name": "sst2"}, **settings)


def start(oracle: IclOracle, n: int) -> tuple[Tensor, Tensor]:
    return oracle.start_p.expand(n, -1, -1), oracle.start_q.expand(n, -1, -1)


def test_starting_point_is_uniform_and_of_the_papers_sizes() -> None:
    oracle = problem_of_paper_sizes().prepare(Streams(0), 1)
    assert oracle.start_p.shape == (75, 100)
    assert oracle.start_q.shape == (2, 50)
    np.testing.assert_allclose(oracle.start_p, 0.01)
    np.testing.assert_allclose(oracle.start_q, 0.02)


@pytest.mark.parametrize("settings", [{}, {"batch": 7}, {"upper_split": True}])
def test_the_composition_of_a_batch_does_not_matter(settings: dict[str, Any]) -> None:
    n = JOBS_AT_ONCE + 5
    oracle = tiny_oracle(n, task=tiny_task(train_per_class=8), **settings)
    tables = P.expand(n, -1, -1), Q.expand(n, -1, -1)
    workers, jobs = list(range(n))[::-1], [3 * worker for worker in range(n)][::-1]
    together = oracle.upper(workers, jobs, *tables)
    realised = oracle.realise(workers, tables[1], "sampled", 4)
    lower = oracle.lower(workers, jobs, tables[0], realised)
    for row in (0, JOBS_AT_ONCE - 1, JOBS_AT_ONCE, n - 1):
        one = slice(row, row + 1)
        alone = oracle.upper(workers[one], jobs[one], P, Q)
        np.testing.assert_allclose(alone[0], together[0][one], atol=1e-12)
        np.testing.assert_allclose(alone[1], together[1][one], atol=1e-12)
        assert torch.equal(oracle.realise(workers[one], Q, "sampled", 4), realised[one])
        np.testing.assert_allclose(
            oracle.lower(workers[one], jobs[one], P, realised[one]), lower[one], atol=1e-12
        )


def test_ablations_have_zero_gradient_and_leave_the_other_part_s_draws_alone() -> None:
    streams = Streams(3)
    full, words_only, shown_only = (
        problem_of_paper_sizes(**settings).prepare(streams, 1)
        for settings in ({}, {"use_demonstrations": False}, {"use_fragment": False})
    )
    tables = [table[None] for table in (full.start_p, full.start_q)]
    p_full, q_full = full.upper([0], [5], *tables)
    p_words, q_words = words_only.upper([0], [5], *tables)
    p_shown, q_shown = shown_only.upper([0], [5], *tables)
    assert not q_words.any()
    assert not p_shown.any()
    # What was drawn is what has a gradient.
    assert torch.equal(p_words != 0, p_full != 0)
    assert torch.equal(q_shown != 0, q_full != 0)
    assert not torch.allclose(p_words, p_full)
    assert not shown_only.lower([0], [5], tables[0], torch.tensor([[0, 0]])).any()
    assert words_only.lower([0], [5], tables[0], torch.tensor([[0, 0]])).any()


def test_the_number_of_words_does_not_change_the_demonstrations_drawn() -> None:
    drawn = []
    for n_words in (2, 9):
        oracle = tiny_oracle(task=tiny_task(n_words=n_words, n_demonstrations=50))
        tables = start(oracle, 1)
        drawn.append(oracle.upper([0], [1], *tables)[1] != 0)
    assert torch.equal(*drawn)


def test_realise() -> None:
    oracle = tiny_oracle(2, task=tiny_task(n_demonstrations=40))
    table = torch.full((2, 2, 40), 0.5 / 39, dtype=torch.float64)
    table[:, 0, 7] = table[:, 1, 3] = 0.5
    assert oracle.realise([0, 1], table, "modal", 0).tolist() == [[7, 3], [7, 3]]
    # Ties go to the lowest number.
    assert oracle.realise([0], oracle.start_q[None], "modal", 0).tolist() == [[0, 0]]
    fixed = [oracle.realise([0, 1], table, "fixed", update) for update in (0, 1)]
    assert torch.equal(*fixed)
    assert torch.equal(fixed[0], oracle.realise([0, 1], oracle.start_q.expand(2, -1, -1), "fixed", 5))
    sampled = torch.stack([oracle.realise([0, 1], table, "sampled", update) for update in range(400)])
    hits = (sampled == torch.tensor([7, 3])).double().mean()
    # 1600 draws of probability 1/2: standard error 0.0125.
    assert abs(float(hits) - 0.5) < 4 * 0.0125


def test_batches_are_drawn_without_replacement_and_evenly() -> None:
    oracle = tiny_oracle(2, task=tiny_task(train_per_class=5), batch=4)
    queries = oracle.level_queries("upper", [1] * 2000, list(range(2000)))
    assert queries is not None
    assert queries.shape == (2000, 4)
    assert all(len(set(row)) == 4 for row in queries.tolist())
    share = queries.flatten().bincount(minlength=10) / 2000
    # Each of ten queries is in a batch with probability 0.4: standard error 0.011.
    assert (share - 0.4).abs().max() < 4 * 0.011


def test_a_batch_uses_the_labels_of_its_own_queries() -> None:
    oracle = tiny_oracle(task=tiny_task(train_per_class=5), batch=1, n_samples=2)
    oracle.data.train.y[:] = np.arange(10) % 2
    exact = [plain_loss(one_query(oracle, q), 0, [0, 1], [1, 0]) for q in range(10)]
    queries = oracle.level_queries("upper", [0], [3])
    assert queries is not None
    words, shown = torch.tensor([[[0, 0], [1, 1]]]), torch.tensor([[[1, 1], [0, 0]]])
    losses = oracle._losses("upper", [0], [3], words, shown)
    np.testing.assert_allclose(losses, [[exact[int(queries[0, 0])]] * 2], atol=1e-12)


def one_query(oracle: IclOracle, query: int) -> Any:
    train = oracle.data.train
    return oracle.data._replace(
        train=train._replace(x=train.x[:, query : query + 1], y=train.y[:, query : query + 1])
    )


@pytest.mark.parametrize("batch", [None, 3])
def test_split_levels_see_disjoint_halves_with_both_classes(batch: int | None) -> None:
    oracle = tiny_oracle(2, 2, task=tiny_task(train_per_class=4), upper_split=True, batch=batch)
    seen: dict[str, set[int]] = {}
    choices: list[Callable[[], Tensor | None]] = [
        lambda: oracle.level_queries("upper", [0] * 50, list(range(50))),
        lambda: oracle.level_queries("lower", [0] * 50, list(range(50))),
    ]
    for name, choose in zip(("upper", "lower"), choices, strict=True):
        queries = choose()
        assert queries is not None
        assert queries.shape == (50, 8 if batch is None else 6)
        seen[name] = set(queries.flatten().tolist())
        assert sorted(oracle.data.train.y[0, list(seen[name])]) == [0] * 4 + [1] * 4
    assert not seen["upper"] & seen["lower"]
    assert seen["upper"] | seen["lower"] == set(range(16))


def test_levels_share_all_queries_by_default() -> None:
    assert tiny_oracle().level_queries("lower", [0], [0]) is None

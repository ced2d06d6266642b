"""Fed-ICL on a linear self-attention model: each round, and where rounds end, in closed form.

A linear self-attention layer that is shown examples (x_j, y_j), j = 1..n, answers a question x with one step
of gradient descent on them, ``(1/n) sum_j y_j x' G x_j``, where G is its matrix. Let X be the server's M
questions, a row each, y_k its answers, X_i the N_i texts of client i and t_i their labels. All are shown, so
C plays no part. A client relabels its texts by the server's answers,

    r_i = X_i G (X' y_k) / M,

and answers the questions, shown its texts with both labels, 2 N_i examples in all:

    a_i = X G X_i' (t_i + r_i) / (2 N_i).

The server takes the mean over its R clients. It is linear in the questions: from the second round on
``y_k = X w_k``, and so with ``S = (1/R) sum_i X_i' X_i / N_i`` and ``Q = X' X / M``

    w_{k+1} = 1/2 H_cont w_k + 1/2 w_limit,   H_cont = G S G Q,   w_limit = (1/R) sum_i G X_i' t_i / N_i,

from w_1 = 0. A round is a contraction where ||H_cont|| < 2, and rounds then end where w = (2 I - H_cont)^-1
w_limit. The paper's condition, ||H_cont|| <= 2, is wider by its border, where 2 I - H_cont may have no
inverse: the last test has such a case, in which w grows for ever.

Source: Wang et al., "Federated in-context learning", ICML 2025 (arXiv 2506.07440), Theorem 4.1 and Corollary
4.2; H_cont and w_limit are derived here, and have the corollary's limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from question_cases import Server
from torch import Tensor

from fedsim.algorithms.fedicl.fedicl import Fedicl
from fedsim.messages import JobCost
from fedsim.problems.questions.base import Answered, QuestionProblem, Shown
from fedsim.streams import Streams

M, D, R = 6, 3, 4
SIZES = (5, 7, 4, 6)
"""Questions, features where not said otherwise, clients, and the texts of each client."""


class LinearQuestions(QuestionProblem):
    """Numbers that answer questions, by a linear self-attention model.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["linear_questions"] = "linear_questions"
    norm: float
    """Of H_cont, to which the model's matrix is scaled."""
    features: int = D

    @property
    def question_bytes(self) -> int:
        return 0

    def job_cost(self, shown: Shown) -> JobCost:
        return JobCost(0, 0, 0, 8 * M, 8 * M)

    def prepare(self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Any = ()) -> Any:
        return LinearAttentionAnswerer(self.norm, self.features)


class LinearAttentionAnswerer:
    """`LinearQuestions` with its numbers in place, example by example."""

    on_simplex = False
    questions = None
    start = torch.zeros(M, 1, dtype=torch.float64)

    def __init__(self, norm: float, d: int = D) -> None:
        rng = np.random.default_rng(3)
        self.X, self.clients = rng.normal(size=(M, d)), [rng.normal(size=(n, d)) for n in SIZES]
        self.labels = [x.sum(1) + 0.1 * rng.normal(size=len(x)) for x in self.clients]
        G = rng.normal(size=(d, d))
        self.G = G * (norm / np.linalg.norm(h_cont(self.X, self.clients, G), 2)) ** 0.5

    def attend(self, examples: list[tuple[np.ndarray, float]], x: np.ndarray) -> float:
        """Return the model's answer to x, shown these examples."""
        return sum(float(y * (x @ self.G @ x_j)) for x_j, y in examples) / len(examples)

    def settled(self, z: Tensor, step: int) -> Tensor:
        return z

    def answer(
        self, workers: Sequence[int], y: Sequence[Tensor], starts_s: Sequence[float], shown: Shown
    ) -> list[Answered]:
        found = []
        for worker, read in zip(workers, y, strict=True):
            texts, labels = self.clients[worker], self.labels[worker]
            server = list(zip(self.X, read[:, 0].tolist(), strict=True))
            again = [self.attend(server, x) for x in texts] if shown.relabelled else []
            examples = [*zip(texts, again, strict=False)]
            examples += [*zip(texts, labels, strict=True)] if shown.own else []
            answers = torch.tensor([[self.attend(examples, x)] for x in self.X], dtype=torch.float64)
            found.append(Answered(answers, torch.tensor(again), float("nan"), 0))
        return found


def h_cont(X: np.ndarray, clients: Sequence[np.ndarray], G: np.ndarray) -> np.ndarray:
    S = sum(x.T @ x / len(x) for x in clients) / len(clients)
    return G @ S @ G @ (X.T @ X / len(X))


def w_limit(model: LinearAttentionAnswerer) -> np.ndarray:
    each = [x.T @ t / len(x) for x, t in zip(model.clients, model.labels, strict=True)]
    return model.G @ sum(each) / len(each)


def rounds(
    form: str, norm: float, count: int, d: int = D
) -> tuple[list[np.ndarray], LinearAttentionAnswerer]:
    """Return w before the first round and after each, and the model."""
    settings = Fedicl(form=form, aggregation={"outer": {"kind": "mean"}})
    server = Server(settings, LinearQuestions(norm=norm, features=d), R)
    answers = [y[:, 0].numpy() for y in server.rounds(count, R)]
    model = LinearAttentionAnswerer(norm, d)
    found = [np.linalg.lstsq(model.X, y, rcond=None)[0] for y in answers]
    # The answers are linear in the questions, as the recursion says.
    assert all(np.allclose(model.X @ w, y, rtol=1e-9) for w, y in zip(found, answers, strict=True))
    return found, model


@pytest.mark.parametrize("norm", [0.5, 1.5, 1.99, 3.0])
def test_each_round_is_that_of_the_theorem(norm) -> None:
    found, model = rounds("full", norm, 8)
    H, limit = h_cont(model.X, model.clients, model.G), w_limit(model)
    assert np.linalg.norm(H, 2) == pytest.approx(norm)
    assert not found[0].any()
    for before, after in pairwise(found):
        np.testing.assert_allclose(after, H @ before / 2 + limit / 2, rtol=1e-9, atol=1e-12)


def test_rounds_end_where_the_corollary_says() -> None:
    found, model = rounds("full", 1.5, 60)
    H, limit = h_cont(model.X, model.clients, model.G), w_limit(model)
    end = np.linalg.solve(2 * np.eye(D) - H, limit)
    np.testing.assert_allclose(found[-1], end, rtol=1e-6)
    # No slower than the contraction that the norm promises.
    for k, w in enumerate(found):
        assert np.linalg.norm(w - end) <= (1.5 / 2) ** k * np.linalg.norm(end) * (1 + 1e-9)


def test_own_labels_alone_are_there_after_one_round_and_new_labels_alone_stay_at_zero() -> None:
    found, model = rounds("gt", 1.5, 3)
    for w in found[1:]:
        np.testing.assert_allclose(w, w_limit(model), rtol=1e-9)
    free, _ = rounds("free", 1.5, 3)
    assert not np.any(free)


def test_at_a_norm_of_two_rounds_need_not_end() -> None:
    """Of one feature H_cont is the number 2, and each round adds half of w_limit."""
    found, model = rounds("full", 2.0, 20, d=1)
    np.testing.assert_allclose(found, [k / 2 * w_limit(model) for k in range(21)], rtol=1e-9)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.solve(2 - np.round(h_cont(model.X, model.clients, model.G), 12), w_limit(model))

"""The in-context-learning problem with its data in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from fedsim.attack import Assigned
from fedsim.icl.attacks import Access
from fedsim.icl.loss import cross_entropy
from fedsim.icl.models.base import Attached, Prompts
from fedsim.icl.phases import over_time, stacked, with_tests
from fedsim.learning.categorical import draw
from fedsim.learning.device import from_numpy
from fedsim.learning.policy_gradient import gradient
from fedsim.learning.ties import argmax
from fedsim.problems.icl import measure
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.problems.base import RealisationRule
    from fedsim.problems.icl.problem import IclProblem

JOBS_AT_ONCE = 32
"""Jobs computed together: enough to spread the cost of a call, few enough to bound the temporaries."""


class IclOracle:
    """Sampled gradients and measurements of an `IclProblem`; see `fedsim.problems.base.Oracle`.

    A job draws from one address the uniforms of its demonstrations, then those of its words: neither the
    number of words nor an ablation changes the demonstrations drawn.
    """

    on_simplex = True

    def __init__(
        self,
        problem: IclProblem,
        streams: Streams,
        n_workers: int,
        pooled: int,
        attacks: Sequence[Assigned] = (),
    ) -> None:
        task = problem.drawn_task
        self.problem = problem
        self.pooled = pooled
        self.streams = streams
        clean = task.draw(streams, n_workers, pooled, problem.dirichlet_alpha)
        model = Attached(problem.model)
        phases = over_time(clean, attacks, streams, pooled, Access(model.to, problem.loss_floor))
        # Attackers act on the pools that they hold, before other workers and the slots get their shares.
        sizes = task.n_demonstrations, problem.pool.offered_per_class
        joined = (problem.pool.joined(data) for data in phases.data)
        in_slots = tuple(problem.shots.shared_out(data, streams, *sizes) for data in joined)
        self._phases = phases._replace(data=in_slots)
        data, self._rows = stacked(self._phases)
        self.data = with_tests(data, attacks)
        """Row w holds the data of worker w at the start; others may follow, see `rows`."""
        self.scorer = model.to(self.data)
        self.questions = self.scorer.questions
        self.start_p = torch.full(
            (task.n_words, task.n_candidates), 1 / task.n_candidates, dtype=torch.float64
        )
        _, self._n_slots, n_shown = self.data.demonstrations.y.shape
        self.start_q = torch.full((self._n_slots, n_shown), 1 / n_shown, dtype=torch.float64)
        self._train_y = from_numpy(self.data.train.y)

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return estimates (27) of the gradients of f_v by p, (J, M, N), and by q, (J, S, V / s).

        The part that a prompt does not use has gradient zero.
        """
        p_parts, q_parts = [], []
        for part in _parts(len(workers)):
            u_demonstrations, u_words = self._uniforms(workers[part], jobs[part])
            words = draw(P[part], u_words) if self.problem.use_fragment else None
            demonstrations = draw(Q[part], u_demonstrations) if self.problem.use_demonstrations else None
            rows = self.rows(workers[part], starts_s[part])
            losses = self._losses("upper", workers[part], jobs[part], words, demonstrations, rows)
            p_parts.append(self._gradient(losses, words, P[part]))
            q_parts.append(self._gradient(losses, demonstrations, Q[part]))
        return torch.cat(p_parts), torch.cat(q_parts)

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        """Return estimates of the gradient of g_v by p, (J, M, N), given demonstrations (J, S)."""
        if not self.problem.use_fragment:
            return torch.zeros_like(P)
        parts = []
        for part in _parts(len(workers)):
            _, u_words = self._uniforms(workers[part], jobs[part])
            words = draw(P[part], u_words)
            demonstrations = None
            if self.problem.use_demonstrations:
                demonstrations = realised[part, :, None].expand(-1, -1, self.problem.n_samples)
            rows = self.rows(workers[part], starts_s[part])
            losses = self._losses("lower", workers[part], jobs[part], words, demonstrations, rows)
            parts.append(self._gradient(losses, words, P[part]))
        return torch.cat(parts)

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        """Return one demonstration a slot, (J, S).

        ``modal``: the likeliest (ties: lowest number). ``sampled``: drawn from Q, anew for each `update`.
        ``fixed``: drawn once from the uniform distribution, whatever Q and `update` are.
        """
        if rule == "modal":
            return argmax(Q)
        # Job 0 of the address is the draw for the whole run, job 1 + t that of polyhedron update t.
        job = 0 if rule == "fixed" else 1 + update
        table = self.start_q.expand_as(Q) if rule == "fixed" else Q
        uniforms = self.streams.uniforms(Stream.REALISATION, workers, [job] * len(workers), self._n_slots)
        return draw(table, from_numpy(uniforms)[:, :, None]).squeeze(-1)

    def rows(self, workers: list[int], starts_s: Sequence[float] = ()) -> list[int]:
        """Return the row of `data` that each worker has in a job that starts then (s; none: at 0)."""
        if self._rows is None or not starts_s:
            return workers
        phases = [self._phases.number(start_s) for start_s in starts_s]
        return self._rows[phases, workers].tolist()

    def level_queries(
        self, level: Literal["upper", "lower"], workers: list[int], jobs: list[int]
    ) -> Tensor | None:
        """Return the numbers of the training queries of each job, (J, b); None for all of them, in order."""
        problem, n_all = self.problem, self._train_y.shape[1]
        # Queries stand in the order of their classes: every second one is half of each class.
        mine = torch.arange(int(level == "lower"), n_all, 2) if problem.upper_split else torch.arange(n_all)
        if problem.batch is None:
            return mine.expand(len(workers), -1) if problem.upper_split else None
        # The numbers of the b smallest of independent uniforms are a draw without replacement.
        uniforms = self.streams.uniforms(Stream.QUERIES, workers, jobs, len(mine))
        return mine[from_numpy(uniforms).argsort(-1)[:, : problem.batch * self.pooled]]

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        """Measure test loss and accuracy, averaged over `workers`.

        ``accuracy`` and ``loss`` use each worker's own p and q, ``accuracy_consensus`` and
        ``loss_consensus`` the words of z; ``validation_loss`` is on each worker's own validation queries;
        ``p_max`` and ``q_max`` are the mean largest probability of a word and of a demonstration, where these
        are tuned. ``accuracy_sampled`` and ``loss_sampled`` are means over prompts drawn from each worker's
        own p and q, ``accuracy_sampled_std`` and ``loss_sampled_std`` the standard deviation over the prompts
        of a worker, averaged over workers.

        With an attack on demonstrations that others than the attacker may show (shared pools, or one
        machine for all), ``poison_mass`` is the mean probability that q puts on poisoned candidates, over
        workers and slots, and ``poison_share`` the part of the candidates that is poisoned at `time_s`: what
        the uniform q would give. With a backdoor, ``backdoor_success`` and ``backdoor_base`` are the parts of
        the test queries of other classes that are answered with its target, with and without its trigger.
        """
        return measure.evaluate(self, workers, P, Q, z, time_s)

    def likeliest(self, workers: list[int], P: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the words, (J, M), and demonstrations, (J, S), of the prompts that `evaluate` measures."""
        return measure.likeliest(self, workers, P, Q)

    def _uniforms(self, workers: list[int], jobs: list[int]) -> tuple[Tensor, Tensor]:
        """Return the uniforms of the jobs' demonstrations, (J, S, I), and words, (J, M, I)."""
        task, n_samples = self.problem.task, self.problem.n_samples
        split = self._n_slots * n_samples
        size = split + (task.n_words * n_samples if self.problem.use_fragment else 0)
        uniforms = from_numpy(self.streams.uniforms(Stream.PROMPTS, workers, jobs, size))
        shape = (len(workers), -1, n_samples)
        return uniforms[:, :split].reshape(shape), uniforms[:, split:].reshape(shape)

    def _gradient(self, losses: Tensor, drawn: Tensor | None, probabilities: Tensor) -> Tensor:
        if drawn is None:
            return torch.zeros_like(probabilities)
        return gradient(losses, drawn, probabilities, self.problem.estimator)

    def _losses(
        self,
        level: Literal["upper", "lower"],
        workers: list[int],
        jobs: list[int],
        words: Tensor | None,
        demonstrations: Tensor | None,
        data_rows: list[int] | None = None,
    ) -> Tensor:
        """Return the loss of each sampled prompt on its job's queries, (J, I)."""
        rows = torch.tensor(workers if data_rows is None else data_rows)
        queries = self.level_queries(level, workers, jobs)
        labels = self._train_y[rows]
        labels = labels if queries is None else labels.gather(1, queries)
        scores = self.scorer.scores(Prompts(rows, words, demonstrations, "train", queries))
        return cross_entropy(scores, labels, self.problem.loss_floor)


def _parts(n_jobs: int) -> list[slice]:
    return [slice(first, first + JOBS_AT_ONCE) for first in range(0, n_jobs, JOBS_AT_ONCE)]

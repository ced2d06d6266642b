"""The injection problem with its data in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.attack import Assigned
from fedsim.icl.attacks import Access
from fedsim.icl.loss import accuracy, cross_entropy
from fedsim.icl.models.base import Attached
from fedsim.icl.models.open_weights import OpenWeights
from fedsim.icl.phases import Phases, over_time, with_tests
from fedsim.icl.tasks.base import Demonstrations, Longs, TaskData, Texts
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.problems.base import Questions
    from fedsim.problems.injection.problem import InjectionProblem

PROMPTS_AT_ONCE = 80
"""Prompts computed together: enough to spread the cost of a call, few enough to bound the memory."""


class Labelled(NamedTuple):
    """The texts of one worker while no attack starts or stops."""

    rows: Longs
    """Numbers of texts, (n,)."""
    shown: Longs
    """The label with which each is written as a demonstration, (n,)."""
    expected: Longs
    """The label that calibration expects, (n,); another one only where queries are attacked."""


class InjectionOracle:
    """Vectors, gradients by coefficients, and measurements of an `InjectionProblem`.

    Everything is batched over J jobs of distinct workers. Vectors are (L, 2, d), attention before MLP;
    coefficients (L, 2, 2), lambda before beta. The model computes in single precision, all else is double.
    """

    def __init__(
        self,
        problem: InjectionProblem,
        streams: Streams,
        n_workers: int,
        attacks: Sequence[Assigned] = (),
    ) -> None:
        assert isinstance(problem.model, OpenWeights)
        self.problem = problem
        drawn = problem.drawn_task.draw(streams, n_workers, 1, problem.dirichlet_alpha)
        # All of a worker's texts are in the place of its pools, its queries first.
        shape = (n_workers, problem.task.n_classes, problem.drawn_task.train_per_class)
        tables = ((getattr(drawn.train, name), getattr(drawn.demonstrations, name)) for name in ("x", "y"))
        own = (np.concatenate([queries.reshape(shape), pools], 2) for queries, pools in tables)
        drawn = drawn._replace(demonstrations=Demonstrations(*own))
        answering = Attached(problem.model)
        phases = over_time(drawn, attacks, streams, 1, Access(answering.to, problem.loss_floor))
        self._clean_y = drawn.train.y
        self._phases = Phases(phases.changes_s, tuple(with_tests(data, attacks) for data in phases.data))
        self.data: TaskData[Texts] = self._phases.data[0]
        """As they are at the start."""
        self.shape = problem.shape
        self._streams = streams
        self._box = problem.model.white_box()
        self.questions: Questions | None = None
        self._vectors: dict[tuple[int, int], Tensor] = {}
        self._plain: dict[str, float] | None = None

    def labelled(self, worker: int, start_s: float = 0.0) -> Labelled:
        """Return the texts that a worker has in a job that starts then (s)."""
        data = self._phases.at(start_s)
        shown = data.demonstrations.y[worker]
        expected = shown.copy()
        queries = data.train.y[worker].reshape(len(shown), -1)
        attacked = queries != self._clean_y[worker].reshape(queries.shape)
        expected[:, : queries.shape[1]][attacked] = queries[attacked]
        return Labelled(data.demonstrations.x[worker].ravel(), shown.ravel(), expected.ravel())

    def extract(self, workers: list[int], starts_s: Sequence[float] = ()) -> Tensor:
        """Return the mean over each worker's texts of what modules add to the residual stream, (J, L, 2, d).

        The sum goes over a worker's texts in their order, so that it depends on nobody else.
        """
        return torch.stack(
            [
                self._extracted(worker, start_s)
                for worker, start_s in zip(workers, starts_s or [0.0] * len(workers), strict=True)
            ]
        )

    def gradients(
        self,
        workers: list[int],
        steps: list[int],
        vectors: Tensor,
        coefficients: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        """Return the gradients of the mean loss on a drawn batch by the coefficients, (J, L, 2, 2).

        A worker may be there several times, with the same texts and noise in the same step.

        Args:
            workers: whose texts.
            steps: the number of each local step, the address of its batch and its noise.
            vectors: (J, L, 2, d).
            coefficients: (J, L, 2, 2).
            starts_s: when each job started (s); none: at 0.
        """
        size = max(1, PROMPTS_AT_ONCE // self.problem.batch)
        parts = [slice(first, first + size) for first in range(0, len(workers), size)]
        found = []
        for part in parts:
            own = coefficients[part].detach().clone()
            with torch.enable_grad():
                own.requires_grad_()
                losses = self.losses(workers[part], steps[part], vectors[part], own, starts_s[part])
                # A job's loss depends on its own coefficients alone, so that the sum has all their gradients.
                losses.sum().backward()  # type: ignore[no-untyped-call]  # torch's own
            assert own.grad is not None
            found.append(own.grad)
        return torch.cat(found)

    def losses(
        self,
        workers: list[int],
        steps: list[int],
        vectors: Tensor,
        coefficients: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        """Return the mean loss of each job on its drawn batch, (J,); arguments as of `gradients`."""
        batch, n_jobs = self.problem.batch, len(workers)
        chosen = self._streams.uniforms(Stream.QUERIES, workers, steps, self.problem.n_texts).argsort(-1)
        prompts: list[str] = []
        targets = []
        for worker, start_s, places in zip(workers, starts_s or [0.0] * n_jobs, chosen, strict=True):
            own, data = self.labelled(worker, start_s), self._phases.at(start_s)
            prompts += self._prompts(own.rows[places[:batch]], data)
            targets.append(own.expected[places[:batch]])
        noise = None
        if self.problem.noise:
            draws = [
                self._streams.generator(Stream.NOISE, worker, step * batch + place)
                for worker, step in zip(workers, steps, strict=True)
                for place in range(batch)
            ]
            noise = (self.problem.noise, draws)
        found = self._box.label_scores(
            prompts,
            self.data.source.template.labels,
            vectors.repeat_interleave(batch, 0),
            coefficients.repeat_interleave(batch, 0),
            at=self.problem.at,
            noise=noise,
        )
        right = found.logits.gather(1, torch.from_numpy(np.concatenate(targets))[:, None])[:, 0]
        total = found.logits.logsumexp(1) if self.problem.loss == "labels" else found.log_total
        return (total - right).view(n_jobs, batch).mean(1)

    def logits(
        self, vectors: Tensor, coefficients: Tensor, split: Literal["test", "triggered"] = "test"
    ) -> Tensor:
        """Return the label scores of one injection on the test queries, (B, U)."""
        queries = self.data.test if split == "test" else self.data.triggered
        assert queries is not None
        prompts = self._prompts(queries.x[0], self.data)
        labels = self.data.source.template.labels
        parts = [
            prompts[first : first + PROMPTS_AT_ONCE] for first in range(0, len(prompts), PROMPTS_AT_ONCE)
        ]
        v, c = vectors, coefficients
        return torch.cat(
            [
                self._box.label_scores(
                    part, labels, v, c.expand(len(part), *c.shape), at=self.problem.at
                ).logits.double()
                for part in parts
            ]
        )

    def evaluate(self, vectors: Tensor, coefficients: Tensor) -> dict[str, float]:
        """Measure one injection on the test queries: ``loss`` and ``accuracy`` among the label words.

        With a backdoor also ``backdoor_success`` and ``backdoor_base``, as in the problem `icl`.
        """
        found = self.logits(vectors, coefficients)
        measured = self._measured(found)
        if self.data.triggered is not None:
            _, wanted, rows = self.data.triggered
            answered = self.logits(vectors, coefficients, "triggered")
            y = torch.from_numpy(wanted)
            measured["backdoor_success"] = _accuracy(answered, y)
            measured["backdoor_base"] = _accuracy(found[torch.from_numpy(rows)], y)
        return measured

    def without_injection(self) -> dict[str, float]:
        """Measure the model as it is, and as it would be without its bias for some labels.

        ``accuracy_zero_shot``: the prompt alone. ``accuracy_unbiased``: the same, each label's mean score
        over the test queries taken away, all classes counting alike. That needs the test queries: no method
        can know it, it is an oracle to compare with.
        """
        if self._plain is None:
            n_layers, width = self.shape.n_layers, self.shape.width
            nothing = torch.zeros(n_layers, 2, width)
            found = self.logits(nothing, torch.tensor([0.0, 1.0]).expand(n_layers, 2, 2))
            y = torch.from_numpy(self.data.test.y[0])
            by_class = [
                found[y == label].mean(0) for label in range(found.shape[1]) if bool((y == label).any())
            ]
            self._plain = {
                "accuracy_zero_shot": _accuracy(found, y[None]),
                "accuracy_unbiased": _accuracy(found - torch.stack(by_class).mean(0), y[None]),
            }
        return self._plain

    def _measured(self, logits: Tensor) -> dict[str, float]:
        y = torch.from_numpy(self.data.test.y)
        scores = logits.softmax(-1).T[None, None]
        loss = cross_entropy(scores, y, self.problem.loss_floor)
        return {"loss": float(loss), "accuracy": _accuracy(logits, y)}

    def _extracted(self, worker: int, start_s: float) -> Tensor:
        phase = self._phases.number(start_s)
        if (phase, worker) not in self._vectors:
            texts = self._demonstrations(worker, start_s)
            total = self._box.extract(texts).double().sum(0)
            self._vectors[phase, worker] = total / len(texts)
        return self._vectors[phase, worker]

    def _demonstrations(self, worker: int, start_s: float) -> list[str]:
        """Return a worker's texts as demonstrations, up to the token at which vectors are taken."""
        data, own = self._phases.at(start_s), self.labelled(worker, start_s)
        if self.problem.extraction == "predicting":
            return self._prompts(own.rows, data)
        template, rows = data.source.template, data.source.rows
        return [
            template.head([(rows[row], label)], "")
            for row, label in zip(own.rows.tolist(), own.shown.tolist(), strict=True)
        ]

    def _prompts(self, rows: Longs, data: TaskData[Texts]) -> list[str]:
        """Return texts as queries, which end where the label is to follow."""
        return [data.source.template.tail(data.source.rows[row], "") for row in rows.tolist()]


def _accuracy(logits: Tensor, y: Tensor) -> float:
    """Return the share of rows, (B, U), whose right label, (1, B), scores highest."""
    return float(accuracy(logits.T[None, None], y))

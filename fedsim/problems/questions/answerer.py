"""Clients that answer questions: which of their texts they show, what they relabel, what they answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedsim.attack import Assigned
from fedsim.icl.answers.asking import Asking
from fedsim.icl.attacks import Access
from fedsim.icl.baselines.base import Desk, Labelled
from fedsim.icl.baselines.retrieval import nearest_last
from fedsim.icl.encoders.base import Floats
from fedsim.icl.loss import accuracy, cross_entropy
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.models.text_scorer import TextScorer
from fedsim.icl.phases import over_time
from fedsim.icl.tasks.base import TaskData, Text, Texts
from fedsim.learning.ties import argmax
from fedsim.problems.base import Questions
from fedsim.problems.questions.base import Answered, Shown
from fedsim.problems.questions.problem import QuestionsProblem
from fedsim.streams import Stream, Streams

Places = NDArray[np.int64]


class Selection(NamedTuple):
    """What a client has chosen of its labelled texts, once and for all while its data stay the same."""

    texts: list[Labelled]
    """D_i: those among the C nearest to some question, in the order in which the client holds them."""
    truth: list[int]
    """Their classes, whatever label an attacker wrote on them."""
    before_question: Places
    """The places in D_i of the C nearest to each question, the nearest last, (M, C)."""
    before_text: Places
    """The numbers of the C questions nearest to each text of D_i, the nearest last, (N_i, C)."""


class TextAnswerer:
    """The clients' language model with all texts in place; see `fedsim.problems.questions.base.Answerer`.

    Where a text of D_i stands before a question with both labels, own and relabelled, all C relabelled ones
    come first and the C with their own labels last: the paper shows both sets and does not say in which
    order.

    Args:
        problem: its settings.
        streams: the randomness of the run.
        n_workers: how many clients there are.
        pooled: how many clients' data each of them holds.
        attacks: all attacks of the run; those on data act here.
    """

    on_simplex = True

    def __init__(
        self,
        problem: QuestionsProblem,
        streams: Streams,
        n_workers: int,
        pooled: int = 1,
        attacks: Sequence[Assigned] = (),
    ) -> None:
        assert isinstance(problem.model, LanguageModel)
        self.problem = problem
        self._streams = streams
        self._model = model = problem.model
        self._asking = asking = Asking(model)
        self.questions: Questions | None = asking
        task = problem.task.without_fragment()
        self._clean: TaskData[Texts] = task.draw(streams, n_workers, pooled, problem.dirichlet_alpha)
        self.template = self._clean.source.template
        access = Access(lambda data: TextScorer(model, data, asking), problem.loss_floor)
        self._phases = over_time(self._clean, attacks, streams, pooled, access)
        self._asked_about = self._desk(0, self._clean).test
        self._labels = torch.from_numpy(self._clean.test.y)
        shape = (problem.n_questions, task.n_classes)
        self.start = torch.full(shape, 1 / task.n_classes, dtype=torch.float64)
        self._selected: dict[tuple[int, int], Selection] = {}

    def settled(self, z: Tensor, step: int) -> Tensor:
        """Return the class with most votes for each question, one-hot, (M, U).

        Which of equal ones it is, is drawn at an address of the step and the question; before the first step
        all are equal.
        """
        uniforms = torch.from_numpy(self._streams.generator(Stream.ANSWERS, job=step).random(len(z)))
        return functional.one_hot(argmax(z, uniforms=uniforms), z.shape[1]).double()

    def answer(
        self, workers: Sequence[int], y: Sequence[Tensor], starts_s: Sequence[float], shows: Shown
    ) -> list[Answered]:
        """Return what jobs find; see `Answerer.answer`. The jobs' questions go to the model together."""
        chosen = [self.selection(worker, start_s) for worker, start_s in zip(workers, starts_s, strict=True)]
        relabelled = [torch.empty(0, dtype=torch.long) for _ in chosen]
        if shows.relabelled:
            heads = [self._before_texts(each, table) for each, table in zip(chosen, y, strict=True)]
            relabelled = self._classes(heads, [[text for text, _ in each.texts] for each in chosen])
        heads = [
            [self._before(each, row, labels.tolist(), shows) for row in each.before_question.tolist()]
            for each, labels in zip(chosen, relabelled, strict=True)
        ]
        answers = self._classes(heads, [self._asked_about] * len(chosen))
        n_classes, each_call = self.start.shape[1], 1 + self._model.calls_per_prompt
        return [
            Answered(
                answers=functional.one_hot(found, n_classes).double(),
                relabelled=labels,
                right=_share_right(labels.tolist(), each.truth),
                asked=each_call * (len(labels) + len(found)),
            )
            for each, labels, found in zip(chosen, relabelled, answers, strict=True)
        ]

    def evaluate(self, z: Tensor, y: Tensor, reported: Sequence[Answered]) -> dict[str, float]:
        """Measure loss and accuracy of the server's answers to its questions.

        The loss is that of the shares of votes. With reports also ``accuracy_own``, the mean accuracy of
        these clients' own answers, and ``relabelled_right``, the mean share of their own data that they
        labelled with the true class.
        """
        found = {
            "loss": float(cross_entropy(z.T[None, None], self._labels, self.problem.loss_floor)),
            "accuracy": float(accuracy(y.T[None, None], self._labels)),
        }
        if reported:
            answers = torch.stack([each.answers.T for each in reported])[:, None]
            found["accuracy_own"] = float(accuracy(answers, self._labels).mean())
            if not math.isnan(shares := sum(each.right for each in reported) / len(reported)):
                found["relabelled_right"] = shares
        return found

    def first_relabelling(self, worker: int) -> list[tuple[list[Labelled], Text]]:
        """Return what stands before each text that a client labels in its first round, and the text."""
        chosen = self.selection(worker)
        heads = self._before_texts(chosen, self.settled(self.start, 0))
        return [(head, text) for head, (text, _) in zip(heads, chosen.texts, strict=True)]

    def own_labels(self, worker: int) -> list[tuple[list[Labelled], Text]]:
        """Return what stands before each question at a client with own labels alone, and the question."""
        chosen = self.selection(worker)
        heads = [[chosen.texts[n] for n in row] for row in chosen.before_question.tolist()]
        return list(zip(heads, self._asked_about, strict=True))

    def selection(self, worker: int, start_s: float = 0.0) -> Selection:
        """Return what a client shows in a job that starts at this instant (s)."""
        phase = self._phases.number(start_s)
        if (worker, phase) not in self._selected:
            self._selected[worker, phase] = self._select(worker, self._phases.data[phase])
        return self._selected[worker, phase]

    def _select(self, worker: int, data: TaskData[Texts]) -> Selection:
        held, truth = self._held(worker, data), [label for _, label in self._held(worker, self._clean)]
        shown = self.problem.n_demonstrations
        if not shown:
            none = np.empty((len(self._asked_about), 0), dtype=np.int64)
            return Selection([], [], none, none[:0])
        points = self.problem.encoder.encode([text.joined() for text, _ in held])
        nearest = nearest_last(points, self._encoded_questions, shown)
        kept, before_question = np.unique(nearest, return_inverse=True)
        return Selection(
            texts=[held[place] for place in kept],
            truth=[truth[place] for place in kept],
            before_question=before_question.reshape(nearest.shape),
            before_text=nearest_last(self._encoded_questions, points[kept], shown),
        )

    @cached_property
    def _encoded_questions(self) -> Floats:
        return self.problem.encoder.encode([text.joined() for text in self._asked_about])

    def _held(self, worker: int, data: TaskData[Texts]) -> list[Labelled]:
        desk = self._desk(worker, data)
        return [*desk.train, *desk.pool]

    def _desk(self, worker: int, data: TaskData[Texts]) -> Desk:
        corrected = self._model.correction == "content_free"
        return Desk(worker, data, self._asking, corrected, self._streams)

    def _before_texts(self, chosen: Selection, y: Tensor) -> list[list[Labelled]]:
        """Return what stands before each text of D_i: questions, with these answers of the server, (M, U)."""
        label = y.argmax(1).tolist()
        return [[(self._asked_about[m], label[m]) for m in row] for row in chosen.before_text.tolist()]

    @staticmethod
    def _before(chosen: Selection, row: list[int], labels: list[int], shows: Shown) -> list[Labelled]:
        """Return what stands before a question: texts of D_i at these places."""
        again = [(chosen.texts[n][0], labels[n]) for n in row] if shows.relabelled else []
        return again + ([chosen.texts[n] for n in row] if shows.own else [])

    def _classes(
        self, shown: Sequence[Sequence[Sequence[Labelled]]], queries: Sequence[Sequence[Text]]
    ) -> list[Tensor]:
        """Return the model's answer to each query of each client, (n,) each: the likeliest class."""
        heads = [head for of_client in shown for head in of_client]
        asked = [query for of_client in queries for query in of_client]
        sizes = [len(of_client) for of_client in queries]
        if not asked:
            return [torch.empty(0, dtype=torch.long) for _ in sizes]
        scores = self._desk(0, self._clean).score(heads, asked)
        return list(torch.split(argmax(scores), sizes))


def _share_right(labels: list[int], truth: list[int]) -> float:
    """Return the share of labels that are true; NaN where there are none."""
    right = sum(label == true for label, true in zip(labels, truth, strict=True)) if labels else math.nan
    return right / max(1, len(labels))

"""What an algorithm may ask of a problem whose clients answer questions of the server's own.

Letters as in the paper: the server has M questions x_m and answers y to them, a table of one row for each
question: a distribution over U classes, or one number. Client i has labelled data D_i.

Source: Wang et al., "Federated in-context learning: iterative refinement for improved answer quality", ICML
2025 (arXiv 2506.07440), section 3.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from fedsim.messages import JobCost
from fedsim.problems.base import Offer, Problem, Questions, Sent

if TYPE_CHECKING:
    from torch import Tensor


class Shown(NamedTuple):
    """What a client shows before a question of the server."""

    own: bool
    """D_i, with the labels that the client's data have."""
    relabelled: bool
    """D_{k,i}, the same texts with the labels that they get by the server's answers."""


class Answered(NamedTuple):
    """What a client has found in one job."""

    answers: Tensor
    """Its answers to the server's questions, (M, U)."""
    relabelled: Tensor
    """The labels that it gave to its own data, classes or numbers, (N_i,); empty where it gave none."""
    right: float
    """The share of them that are the truth; NaN where there are none, or nothing is simply right."""
    asked: int
    """Questions put to the model for that."""


class Answerer(Protocol):
    """A problem of questions with its data in place, for a fixed number of workers."""

    start: Tensor
    """What the server holds before anybody has answered, (M, U)."""
    on_simplex: bool
    """Whether answers are classes, and rows of (M, U) distributions; otherwise they are numbers."""
    questions: Questions | None
    """What a real model was asked; none where answers are computed."""

    def settled(self, z: Tensor, step: int) -> Tensor:
        """Return the answers, (M, U), that a table of votes stands for after so many steps."""
        ...

    def answer(
        self, workers: Sequence[int], y: Sequence[Tensor], starts_s: Sequence[float], shows: Shown
    ) -> list[Answered]:
        """Return what jobs of distinct workers find.

        Args:
            workers: whose jobs.
            y: the server's answers that each of them read, (M, U).
            starts_s: when each job started, for data that are attacked for some time only.
            shows: what stands before a question.
        """
        ...

    def evaluate(self, z: Tensor, y: Tensor, reported: Sequence[Answered]) -> dict[str, float]:
        """Measure the server's answers, and what some workers last reported; at least ``loss``."""
        ...


class QuestionProblem(Problem):
    """The settings of a problem whose clients answer questions of the server's own."""

    offers: ClassVar[Offer] = "questions"

    @property
    def tunes_p(self) -> bool:
        return False

    @property
    def sends(self) -> Sent:
        return "answers"

    @property
    @abstractmethod
    def question_bytes(self) -> int:
        """The size of all questions together, which every client is sent once."""

    @abstractmethod
    def job_cost(self, shows: Shown) -> JobCost:
        """Return what a round costs a client, the answers sent both ways among it.

        What it costs is known before any data are drawn, so a client is taken to relabel as many texts as it
        ever could.
        """

    def cost(self, pooled: int = 1) -> JobCost:
        """Return what a round of the full method costs a client."""
        return self.job_cost(Shown(own=True, relabelled=True))

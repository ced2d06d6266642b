"""Fed-ICL and its two other forms: clients answer a server's questions, and the majority's answers count."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.algorithms.base import Algorithm, Bench, Setting, at_most
from fedsim.attack import Attack
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators import AnyAggregator
from fedsim.learning.aggregators.vote import Vote
from fedsim.problems.base import Offer
from fedsim.problems.questions.base import QuestionProblem, Shown
from fedsim.schedule import Schedule, Standing, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.fedicl.voter import Voter

SHOWS = {"full": Shown(True, True), "free": Shown(False, True), "gt": Shown(True, False)}
"""What stands before a question, by form."""


class VotingRules(Aggregation):
    """How the server puts the clients' answers together."""

    outer: AnyAggregator | None = Vote()

    @model_validator(mode="after")
    def _check_answers(self) -> VotingRules:
        if self.filter is not None:
            raise ValueError(
                f"filter: {self.filter.kind!r} judges what workers tune, but here they send answers"
            )
        if self.sends_signs and self.outer is not None:
            raise ValueError(
                f"outer: with {self.outer.kind!r} workers send signs, but here they send answers"
            )
        return self


class Fedicl(Algorithm):
    """Fed-ICL: clients relabel their own data by the server's answers, then answer the server's questions.

    The server starts from random answers, drawn from a seed that all know. In a round a client gets its
    answers, with the questions the first time; labels each of its texts that are near a question, shown the
    nearest questions with the server's answers; answers each question, shown its nearest texts; and sends
    its answers. The server takes the majority's answer to each question. `form`: "full" shows the client's
    texts twice, with their new labels and with their own; "free" with the new ones alone, for clients whose
    data have no labels; "gt" with their own labels alone: nothing is relabelled, nothing depends on the
    server's answers, and one round is all.

    The server holds a table of votes z, (M, U), even at the start, ``z <- z + outer_rate (A(rows, z) - z)``
    with A from the aggregation, or `vote`; its answers are the largest entry of each row, and which of equal
    ones is drawn at an address. Rows are the answers of the round. With `wait_for` the server does not wait
    for all, an extension of ours: rows are then the last known answers of every worker that still takes part
    and has answered at all, however old the answers are that it had read.

    Source: Wang et al., "Federated in-context learning: iterative refinement for improved answer quality",
    ICML 2025 (arXiv 2506.07440), Algorithms 1 and 2; its experiments take 6 rounds and 3 clients. Its server
    of free texts, which a model fuses, is left out.
    """

    kind: Literal["fedicl"] = "fedicl"
    asks: ClassVar[Offer] = "questions"
    counters: ClassVar[tuple[str, ...]] = ("rejected", "fallbacks", "asked")
    form: Literal["full", "free", "gt"] = "full"
    """What a client shows before a question: see above."""
    aggregation: VotingRules = VotingRules()
    """How answers are put together, if not by the majority of all."""
    wait_for: int | None = Field(default=None, ge=1)
    """S, how many workers must have reported (the asynchronous extension); none: all."""
    tau: int | None = Field(default=None, ge=1)
    """With `wait_for`: answers are at most tau - 1 steps old when they come in."""

    @model_validator(mode="after")
    def _check_steps(self) -> Fedicl:
        if (self.wait_for is None) != (self.tau is None):
            raise ValueError("expected both wait_for and tau (the asynchronous extension) or none of them")
        return self

    @property
    def shows(self) -> Shown:
        """What stands before a question."""
        return SHOWS[self.form]

    def schedule(self, setting: Setting) -> Schedule:
        problem = setting.problem
        assert isinstance(problem, QuestionProblem)
        kind = "relabel_and_answer" if self.shows.relabelled else "answer"
        return Schedule(
            self._rule(setting.n_workers),
            {kind: Work(problem.job_cost(self.shows))},
            kind,
            standing=Standing(problem.question_bytes, None),
        )

    def _rule(self, n_workers: int) -> Steps:
        if self.wait_for is None or self.tau is None:
            return Steps(n_workers, 1)
        return Steps(self.wait_for, self.tau)

    def check(self, setting: Setting) -> None:
        wait_for = self._rule(setting.n_workers).wait_for
        at_most("wait_for", wait_for, setting.n_workers)
        self.aggregation.check_steps(wait_for, setting.n_workers)

    def reveals(self, setting: Setting) -> str:
        return "answers"

    def check_attack(self, attack: Attack) -> None:
        """Messages come in by a `Door`, so all attacks are possible."""

    def open(self, bench: Bench) -> Voter:
        from fedsim.algorithms.fedicl.voter import Voter

        return Voter(bench, self.shows, self.aggregation)

"""The exact text of a call that a scenario would make, before anything is run or asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from fedsim.attack import Assigned, Attack
from fedsim.errors import InputError
from fedsim.icl.attacks import DataAttack
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.models.text_scorer import texts_of
from fedsim.problems.icl import measure
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.questions.base import Shown
from fedsim.problems.questions.problem import QuestionsProblem
from fedsim.streams import Streams

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.models.base import Prompts, Split
    from fedsim.problems.base import Problem, Questions

FIRST_JOB = 0
"""Number of the job that every worker starts with, at the uniform start."""


class PromptScenario(Protocol):
    """What has to be known of a scenario."""

    @property
    def algorithm(self) -> object: ...
    @property
    def problem(self) -> Problem: ...
    @property
    def seed(self) -> int: ...
    @property
    def n_workers(self) -> int: ...
    @property
    def n_machines(self) -> int: ...
    @property
    def attacks(self) -> tuple[Attack, ...]: ...


def answer_to(
    scenario: PromptScenario,
    worker: int = 0,
    query: int = 0,
    split: Split = "train",
    sample: int = 0,
    seed: int | None = None,
) -> tuple[str, list[str]]:
    """Return the exact text of one call, and what the model answers to it, in words, line by line.

    The model is asked now, whatever answers are kept, and the answer is not kept. Arguments and errors are
    those of `exact_prompt`.

    Raises:
        InputError: the model answers no texts, or cannot be connected.
        ModelError: nothing came.
    """
    from fedsim.icl.answers.look import lines, look_at

    prompt, labels = _call(scenario, worker, query, split, sample, seed)
    model = getattr(scenario.problem, "model", None)
    if not isinstance(model, LanguageModel):
        raise InputError("problem.model: expected a language model, which answers texts")
    session = model.connect()
    try:
        return prompt, list(lines(look_at(session, prompt, labels), labels))
    finally:
        session.close()


def exact_prompt(
    scenario: PromptScenario,
    worker: int = 0,
    query: int = 0,
    split: Split = "train",
    sample: int = 0,
    seed: int | None = None,
) -> str:
    """Return the exact text of one call.

    A model in chat layout wraps this text in its own marks; the content-free correction asks it once more
    with "N/A" for the query. What attacks make of the data is shown, except of those that ask the model for
    it.

    Args:
        scenario: a scenario whose task gives texts.
        worker: whose call; where one machine holds all data, there is worker 0 alone.
        query: place among the queries that the call's prompt is completed with.
        split: "train": a call of the worker's first job, with sampled words and demonstrations; "validation"
            and "test": a call of the first measurement, before the first step. Of questions, "train": a text
            that a client labels anew in its first round; "test", and where nothing is labelled anew "train"
            too: a question with the client's own labels before it, to which other forms than "gt" put those
            that the model has given in that round.
        sample: which of the prompts that are drawn.
        seed: instead of the scenario's.

    Raises:
        InputError: the task has no texts, or there is no such worker, query or sample.
    """
    return _call(scenario, worker, query, split, sample, seed)[0]


def _call(
    scenario: PromptScenario, worker: int, query: int, split: Split, sample: int, seed: int | None
) -> tuple[str, tuple[str, ...]]:
    """Return the text of a call, and the labels that it asks about."""
    problem = scenario.problem
    if isinstance(problem, QuestionsProblem):
        return _of_questions(scenario, problem, worker, query, split, sample, seed)
    if not isinstance(problem, IclProblem) or problem.task.gives != "text":
        kind = problem.task.kind if isinstance(problem, IclProblem) else problem.kind
        raise InputError(
            f'no prompt of {kind!r} can be shown; expected problem.kind = "icl" with problem.task.kind = '
            '"text", or "questions"'
        )
    holders, n_machines = scenario.n_workers, scenario.n_machines
    _check("worker", worker, n_machines)
    streams = Streams(scenario.seed if seed is None else seed)
    attacks = on_data(scenario, streams)
    oracle = IclOracle(problem, streams, n_machines, holders // n_machines, attacks)
    P, Q = oracle.start_p[None], oracle.start_q[None]
    with torch.no_grad():
        if split == "train":
            prompts = _of_first_job(oracle, worker, P, Q)
        else:
            prompts = measure.prompts(oracle, [worker], P, Q, split)
    drawn = list(texts_of(prompts, oracle.data))
    _check("sample", sample, len(drawn))
    head, tails, _ = drawn[sample]
    _check("query", query, len(tails))
    return head + tails[query], oracle.data.source.template.labels


def _of_questions(
    scenario: PromptScenario,
    problem: QuestionsProblem,
    worker: int,
    query: int,
    split: Split,
    sample: int,
    seed: int | None,
) -> tuple[str, tuple[str, ...]]:
    """Return the text of a call of a client's first round, and the labels that it asks about."""
    from fedsim.problems.questions.answerer import TextAnswerer

    if split not in ("train", "test"):
        raise InputError(f'split: found {split!r}, expected "train" or "test"')
    _check("worker", worker, scenario.n_workers)
    _check("sample", sample, 1)
    streams = Streams(scenario.seed if seed is None else seed)
    oracle = TextAnswerer(problem, streams, scenario.n_workers, 1, on_data(scenario, streams))
    shows = getattr(scenario.algorithm, "shows", None)
    relabels = isinstance(shows, Shown) and shows.relabelled
    relabelling = split == "train" and relabels
    calls = oracle.first_relabelling(worker) if relabelling else oracle.own_labels(worker)
    _check("query", query, len(calls))
    before, text = calls[query]
    return oracle.template.prompt(before, text, ""), oracle.template.labels


def on_data(scenario: PromptScenario, streams: Streams) -> list[Assigned]:
    """Return the attacks on data that ask no model."""
    on_data = [each for each in scenario.attacks if isinstance(each, DataAttack) and not each.asks_model]
    return [Assigned(attack, attack.members(scenario.n_workers, streams.seed)) for attack in on_data]


def _of_first_job(oracle: IclOracle, worker: int, P: Tensor, Q: Tensor) -> Prompts:
    """Return the prompts of the worker's first job, as its gradient estimate asks them."""
    listener = _Listener(oracle.problem.task.n_classes, oracle.data.train.y.shape[1])
    oracle.scorer = listener
    oracle.upper([worker], [FIRST_JOB], P, Q)
    return listener.heard


class _Listener:
    """A black box that keeps what it is asked and answers that nothing is known."""

    heard: Prompts
    questions: Questions | None = None

    def __init__(self, n_classes: int, n_queries: int) -> None:
        self._n_classes = n_classes
        self._n_queries = n_queries

    def scores(self, prompts: Prompts) -> Tensor:
        self.heard = prompts
        drawn = prompts.words if prompts.words is not None else prompts.demonstrations
        n_samples = 1 if drawn is None else drawn.shape[-1]
        n_queries = self._n_queries if prompts.queries is None else prompts.queries.shape[1]
        shape = (len(prompts.workers), n_samples, self._n_classes, n_queries)
        return torch.full(shape, 1 / self._n_classes, dtype=torch.float64)


def _check(name: str, found: int, count: int) -> None:
    if not 0 <= found < count:
        raise InputError(f"{name}: found {found}, expected 0 to {count - 1}")

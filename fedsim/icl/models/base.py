"""The interface of a black box: the scores of the label words for (fragment, demonstrations, query)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

from fedsim.answering import answers, count, of_type, opens, refuse, tensor
from fedsim.catalog import Part
from fedsim.icl.tasks.base import Form

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.tasks.base import TaskData
    from fedsim.problems.base import Questions

Split = Literal["train", "validation", "test", "triggered"]
"""Which queries: "triggered" are test queries with a backdoor's trigger."""
FOR_ALL: tuple[Split, ...] = ("test", "triggered")
"""The splits of which there is one for all workers."""


class Prompts(NamedTuple):
    """I prompts at each of J workers, each to be completed with every one of b queries.

    Only numbers of words, demonstrations and queries: who answers looks up the texts or features.
    """

    workers: Tensor
    """Whose demonstrations and queries, (J,)."""
    words: Tensor | None
    """Number of the candidate at each position of the fragment, (J, M, I); None for no fragment."""
    demonstrations: Tensor | None
    """Number of the demonstration in each slot, (J, S, I); None for no demonstrations."""
    split: Split
    """Where the queries are; those of `FOR_ALL` are the same for all workers."""
    queries: Tensor | None
    """Numbers of the queries, (J, b); None for all of the split, in order."""


class Scorer(Protocol):
    """A black box with a task's data in place."""

    questions: Questions | None
    """What a real model was asked; none where answers are computed."""

    def scores(self, prompts: Prompts) -> Tensor:
        """Return the probabilities of the label words, (J, I, U, b): over U they sum to one."""
        ...


ROUNDING = 1e-3
"""How far from one the probabilities of a stranger's black box may sum up."""


def _scores(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    prompts: Prompts = given[0]
    chosen = next((table for table in (prompts.words, prompts.demonstrations) if table is not None), None)
    n_prompts = chosen.shape[2] if chosen is not None else None
    n_queries = prompts.queries.shape[1] if prompts.queries is not None else None
    found: Tensor = tensor(name, answer, (len(prompts.workers), n_prompts, None, n_queries))
    if found.numel() and (float(found.min()) < 0 or float((found.sum(2) - 1).abs().max()) > ROUNDING):
        refuse(name, found.flatten()[:2].tolist(), "probabilities from 0 that sum up to one over the labels")
    return found


class BlackBox(Part):
    """The settings of a black box."""

    reads: ClassVar[Form] = "features"

    @property
    @answers(count())
    def calls_per_prompt(self) -> int:
        """Calls that a prompt costs besides one for each of its queries."""
        return 0

    @property
    @answers(of_type(bool))
    def reads_order(self) -> bool:
        """Whether it makes a difference in which order a prompt shows its demonstrations."""
        return True

    @abstractmethod
    @answers(opens({"scores": _scores}))
    def attach(self, data: TaskData[Any]) -> Scorer:
        """Return the black box with `data` in place."""

    @answers(opens({"scores": _scores}))
    def reattach(self, scorer: Scorer, data: TaskData[Any]) -> Scorer:
        """Return the black box with other data of the same run in place, the books of `scorer` going on."""
        return self.attach(data)


class Attached:
    """The black box of a run, whose data may still change before it begins."""

    def __init__(self, model: BlackBox) -> None:
        self._model = model
        self._scorer: Scorer | None = None

    def to(self, data: TaskData[Any]) -> Scorer:
        """Return the black box with `data` in place, with the same books each time."""
        before = self._scorer
        self._scorer = self._model.attach(data) if before is None else self._model.reattach(before, data)
        return self._scorer

"""The interface of a black box: the scores of the label words for (fragment, demonstrations, query)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

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
    """Number of the demonstration in each class's slot, (J, U, I); None for no demonstrations."""
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


class BlackBox(Part):
    """The settings of a black box."""

    reads: ClassVar[Form] = "features"

    @property
    def calls_per_prompt(self) -> int:
        """Calls that a prompt costs besides one for each of its queries."""
        return 0

    @abstractmethod
    def attach(self, data: TaskData[Any]) -> Scorer:
        """Return the black box with `data` in place."""

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

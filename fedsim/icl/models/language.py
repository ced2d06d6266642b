"""The interface of a language model: the probabilities of label words after a prompt's text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from fedsim.answering import answers, number
from fedsim.icl.answers.answer import Answer, Correction, Writing
from fedsim.icl.models.base import BlackBox, Scorer
from fedsim.icl.tasks.base import Form

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import TaskData, Texts


__all__ = ["Answer", "Correction", "LanguageModel", "Session", "Writing"]


class Session(Protocol):
    """A model that is ready to answer. Opening one may load weights or connect to a server."""

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        """Score the label words after each prompt.

        Args:
            prompts: the exact texts, all different; neighbours share long beginnings.
            labels: the label words, without a leading space.
            done: called with a prompt's place and its answer as soon as that is known, in any order and
                always from the calling thread, so that an answer is kept even when a later one fails.

        Raises:
            ModelError: a prompt could not be answered, or the budget is used up.
        """
        ...

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        """Continue each prompt greedily for at most `max_tokens`; otherwise as `ask`."""
        ...

    def close(self) -> None:
        """Free the weights or connections."""
        ...


class LanguageModel(BlackBox):
    """The settings of a language model that reads text."""

    reads: ClassVar[Form] = "text"

    correction: Correction = "none"
    """Whether the label bias is removed: "content_free" divides the label probabilities by those after the
    same prompt with "N/A" as the query, and normalises; one more call per prompt.

    Source: Zhao et al., "Calibrate before use", ICML 2021, section 4."""
    cache: bool = True
    """Whether answers are kept on disk and looked up there; see `fedsim.icl.answers.cache`."""

    warn_unnamed_share: float = Field(default=0.1, ge=0, le=1)
    """The share of answers that name none of the labels (no listed token begins one, the text starts with
    none) above which a run says so, wherever its results are shown."""
    max_unnamed_share: float = Field(default=0.5, ge=0, le=1)
    """The share above which a run ends with an error; 1 lets everything pass."""

    @property
    def calls_per_prompt(self) -> int:
        return int(self.correction == "content_free")

    @property
    def may_change(self) -> bool:
        """Whether answers that are kept are to be compared with one of the model that answers now."""
        return False

    @property
    def bounds(self) -> Mapping[str, float]:
        """What a run may use at most, by the name of the setting that says so: calls, tokens, money."""
        return {}

    @answers(number(0, or_none=True))
    def price(self, tokens_in: float, tokens_out: float) -> float | None:
        """Return what these tokens cost; None: nobody here can say."""
        return None

    @answers(number(0, or_none=True))
    def mean_tokens(self, prompts: Sequence[str]) -> float | None:
        """Return how many tokens these prompts are for it, on average; None: nobody here can say.

        Raises:
            InputError: what says it is missing.
            ModelError: it has died.
        """
        return None

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the prompt and the labels: model and decoding settings.

        Part of the address of a cached answer: holds no key, no address of a server that could be private,
        and no setting that does not change answers (concurrency, time-outs, budgets).
        """

    @abstractmethod
    def connect(self) -> Session:
        """Return a session; called when the first answer is needed that no cache holds."""

    def attach(self, data: TaskData[Texts]) -> Scorer:
        from fedsim.icl.models.text_scorer import TextScorer

        return TextScorer(self, data)

    def reattach(self, scorer: Scorer, data: TaskData[Texts]) -> Scorer:
        from fedsim.icl.models.text_scorer import TextScorer

        return TextScorer(self, data, scorer.asking) if isinstance(scorer, TextScorer) else self.attach(data)

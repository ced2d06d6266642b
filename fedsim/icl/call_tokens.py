"""How long a call is, in tokens: as a scenario says, or as it is known of the task, or as its texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import Field

from fedsim.catalog import Strict
from fedsim.errors import FedsimError, InputError
from fedsim.icl.models.base import BlackBox
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.tasks.base import Task

CHARACTERS_PER_TOKEN = 4.25
"""Of prompts that nobody here can cut into tokens. By Qwen's vocabulary those of the paper's five tasks of
English sentences have 4.12 to 4.43, and those of 5G's terms 6.0 (fedsim/icl/tasks/calibrated/tokens.csv)."""


class Tokens(Strict):
    """How long a call is, in tokens: only for its cost, the black box never sees them.

    What is not stated is measured where it can be: calibrated tasks have their means in a table, and of texts
    the mean over prompts like those of the run is counted. Where this table is stated, in whole or in part,
    it counts instead, and for other tasks with these defaults.
    """

    tokens_per_word: float = Field(default=1.3, gt=0)
    template_tokens: int = Field(default=30, ge=0)
    """Of the template around each demonstration and around the query."""
    text_tokens: int = Field(default=30, ge=0)
    """Of the text of a demonstration or query."""
    tokens_out: int = Field(default=1, ge=0)
    """Of an answer: one label word."""

    def tokens_in(self, n_words: int, n_demonstrations: int, in_demonstrations: bool = True) -> int:
        """Return the prompt tokens of one call.

        Args:
            n_words: of the fragment, which the query carries.
            n_demonstrations: shown before it.
            in_demonstrations: whether each of them carries the fragment too.
        """
        fragment = n_words * self.tokens_per_word
        each = fragment + self.template_tokens + self.text_tokens
        n_without = 0 if in_demonstrations else n_demonstrations
        return round((n_demonstrations + 1) * each - n_without * fragment)


class Charged(Protocol):
    """A problem whose calls have tokens."""

    @property
    def task(self) -> Task: ...
    @property
    def model(self) -> BlackBox: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def model_fields_set(self) -> set[str]: ...


def tokens_in(problem: Charged, n_words: int, n_demonstrations: int) -> int:
    """Return the prompt tokens of one call of a problem.

    Where texts are counted and the model that should count them is not there, it is an estimate by their
    characters: a scenario can be read without the weights of its model. `check_counted` refuses to run it.

    Args:
        problem: says how long a call is, or with which task and model.
        n_words: of the fragment, which the query carries; 0: none.
        n_demonstrations: shown before it.
    """
    if _is_stated(problem):
        carried = problem.task.demonstrations_carry_fragment
        return problem.tokens.tokens_in(n_words, n_demonstrations, carried)
    known = problem.task.known_tokens(n_words, n_demonstrations)
    if known is not None:
        return round(known)
    prompts = problem.task.likely_prompts(n_words, n_demonstrations)
    try:
        return round(_counted(problem.model, prompts))
    except FedsimError:
        return round(by_characters(prompts))


def check_counted(problem: Charged) -> None:
    """Check that the tokens of a problem are counted by its own model, where it has one in this process.

    Raises:
        InputError: they should be, but the model cannot be loaded.
    """
    if _is_stated(problem) or problem.task.known_tokens(0, 0) is not None:
        return
    try:
        _counted(problem.model, problem.task.likely_prompts(0, 0))
    except FedsimError as error:
        raise InputError(
            f"problem.tokens: the model itself counts how long prompts are, but {error}; or state the numbers"
        ) from error


def unstated(problem: Charged) -> Mapping[str, str]:
    """Return that the table of tokens is not read, where it is not stated and the task tells them."""
    return {} if _is_stated(problem) else {"tokens": "calls are as long as those of the task are"}


def by_characters(prompts: Sequence[str]) -> float:
    """Return an estimate of the mean number of tokens of some prompts."""
    return sum(map(len, prompts)) / len(prompts) / CHARACTERS_PER_TOKEN


def _is_stated(problem: Charged) -> bool:
    return "tokens" in problem.model_fields_set or not problem.task.tells_tokens


def _counted(model: BlackBox, prompts: Sequence[str]) -> float:
    counted = model.mean_tokens(prompts) if isinstance(model, LanguageModel) else None
    return by_characters(prompts) if counted is None else counted

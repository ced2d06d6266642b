"""A model's label margins under fragments: each fragment, in several contexts of a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.icl.prompts import PromptTemplate
from fedsim.icl.tasks.base import Text
from fedsim_analysis.fragments.designs import Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedsim.icl.answers.asking import Asking

Floats = NDArray[np.float64]


class Context(NamedTuple):
    """A query, and the demonstrations before it."""

    query: Text
    label: int
    """The query's class, 0 or 1."""
    number: int
    """Of the query among those of its class."""
    demonstrations: tuple[tuple[Text, int], ...]
    """Texts and the labels that they show."""


IN_FRONT = PromptTemplate.model_construct(
    question="{% if fragment %}{{ fragment }} {% endif %}{{ text_a }}",
    labels=("terrible", "great"),
    demonstration="{{ question }} It was {{ label }}.",
    query="{{ question }} It was",
    separator="\n",
)
"""The fragment before the text, as BDPL puts it, with the words of Gao et al., "Making pre-trained language
models better few-shot learners", ACL 2021, table 1 (SST-2)."""


class Condition(NamedTuple):
    """A template, with or without demonstrations, and how much is asked under it."""

    name: str
    template: PromptTemplate
    with_demonstrations: bool
    sizes: Sizes
    contexts_per_class: int


def conditions(shipped: PromptTemplate, sizes: Sizes, fewer: Sizes) -> list[Condition]:
    """Return what fragments are asked under.

    Args:
        shipped: the template of the scenario.
        sizes: how many fragments under the first condition.
        fewer: how many under the others.
    """
    return [
        Condition("after the text", shipped, False, sizes, 2),
        Condition("before the text", IN_FRONT, False, fewer, 2),
        # Each demonstration holds the fragment too: a prompt is several times as long.
        Condition("after the text, demonstrations", shipped, True, fewer, 1),
    ]


def margins(
    asking: Asking, condition: Condition, contexts: Sequence[Context], fragments: Sequence[str]
) -> Floats:
    """Return the log-odds of label 1 against label 0 under each fragment in each context, (F, Q).

    Args:
        asking: puts prompts to the model.
        condition: the template, and whether the demonstrations of the contexts are shown.
        contexts: Q of them.
        fragments: F texts; an empty one is a prompt without a fragment.

    Raises:
        ModelError: the model did not answer.
    """
    template = condition.template
    prompts = [
        template.prompt(one.demonstrations if condition.with_demonstrations else (), one.query, fragment)
        for fragment in fragments
        for one in contexts
    ]
    answers = asking.ask(prompts, template.labels)
    logprobs = np.array([answer.logprobs for answer in answers])
    return (logprobs[:, 1] - logprobs[:, 0]).reshape(len(fragments), len(contexts))

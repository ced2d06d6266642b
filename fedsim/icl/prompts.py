"""Prompt texts: the six templates of the paper's Table 1, and own ones in jinja2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from fedsim.catalog import Strict

if TYPE_CHECKING:
    from jinja2 import Template

    from fedsim.icl.tasks.base import Text


class PromptTemplate(Strict):
    """How a demonstration and a query are written; every one of them carries the fragment.

    The texts are jinja2 templates. `question` knows ``text_a``, ``text_b``, ``context`` and ``fragment``
    (empty without one); `demonstration` knows ``question`` and ``label``; `query` knows ``question``.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Table 1 and section 3.1.
    """

    question: str
    labels: tuple[str, ...] = Field(min_length=2)
    """The label word of each class."""
    demonstration: str = "Question: {{ question }} Answer: {{ label }}"
    query: str = "Question: {{ question }} Answer:"
    separator: str = "\n"
    """Between demonstrations, and before the query."""

    @field_validator("question", "demonstration", "query")
    @classmethod
    def _is_a_template(cls, text: str) -> str:
        from jinja2 import TemplateSyntaxError

        try:
            _compiled(text)
        except TemplateSyntaxError as error:
            raise ValueError(f"not a jinja2 template: {error.message} (line {error.lineno})") from error
        return text

    def head(self, demonstrations: Sequence[tuple[Text, int]], fragment: str) -> str:
        """Return all that stands before the query: each demonstration with its label's word."""
        return "".join(
            _compiled(self.demonstration).render(
                question=self._question(text, fragment), label=self.labels[label]
            )
            + self.separator
            for text, label in demonstrations
        )

    def tail(self, query: Text, fragment: str) -> str:
        """Return the query, ending where the label word is to follow."""
        return _compiled(self.query).render(question=self._question(query, fragment))

    def prompt(self, demonstrations: Sequence[tuple[Text, int]], query: Text, fragment: str) -> str:
        """Return the exact text of one call."""
        return self.head(demonstrations, fragment) + self.tail(query, fragment)

    def _question(self, text: Text, fragment: str) -> str:
        a, b, context = text
        return _compiled(self.question).render(text_a=a, text_b=b, context=context, fragment=fragment)


@cache
def _compiled(text: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # Sandboxed: a scenario file may come from a stranger. No escaping: this is no HTML.
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(
        text
    )


_NOTE = "{% if fragment %} Note: {{ fragment }}.{% endif %}"
_YES_NO = ' Respond ONLY with "Yes" or "No".' + _NOTE
_PAIR = "Whether sentence {{ text_a }} and sentence {{ text_b }} "

TEMPLATES = {
    "5g": PromptTemplate(
        question="In 5G network, Whether {{ text_a }} related to {{ text_b }}?"
        "{% if context %} Some contextual information: {{ context }}.{% endif %}" + _YES_NO,
        labels=("No", "Yes"),
    ),
    "cola": PromptTemplate(
        question="Is this sentence {{ text_a }} grammatically correct?" + _YES_NO, labels=("No", "Yes")
    ),
    "sst2": PromptTemplate(
        question="How is the sentiment of the sentence {{ text_a }}?"
        ' Respond ONLY with "Great" or "Terrible".' + _NOTE,
        labels=("Terrible", "Great"),
    ),
    "mrpc": PromptTemplate(question=_PAIR + "are semantically the same?" + _YES_NO, labels=("No", "Yes")),
    "qqp": PromptTemplate(
        question=_PAIR + "are paraphrased from each other?" + _YES_NO, labels=("No", "Yes")
    ),
    "qnli": PromptTemplate(
        question=_PAIR + "have semantic entailment relations?" + _YES_NO, labels=("No", "Yes")
    ),
}
"""Table 1 of the paper; class 1 is the positive, acceptable, equivalent, entailed or related one."""

"""Prompt texts: templates by name, the six of the paper's Table 1 among them, and own ones in jinja2."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from fedsim.catalog import Strict
from fedsim.errors import InputError, nearest
from fedsim.safety import is_safe

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.nodes import Node
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from fedsim.icl.tasks.base import Text

_OF_TEXT = ("text_a", "text_b", "context")
_OPTIONAL = ("text_b", "context", "fragment")
"""Fields that a text or prompt may lack: they are empty then."""


class PromptTemplate(Strict):
    """How a demonstration and a query are written; every one of them carries the fragment.

    The texts are jinja2 templates. `question` knows ``text_a``, ``text_b``, ``context`` and ``fragment``
    (empty without one); `demonstration` knows ``question`` and ``label``; `query` knows ``question``. Any
    other name is refused, and so are a question without ``text_a`` and a query without ``question``: they
    would ask the same of every text.

    A demonstration also knows the three fields of its text, and with them may be written without the
    fragment: prompts of all fragments then begin alike, and a model that keeps what it has read answers
    them much sooner.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Table 1 and section 3.1.
    """

    question: str
    labels: tuple[str, ...] = Field(min_length=2)
    """The label word of each class. None may begin another ("good", "goodness"): a label is told by the first
    token of the answer, and a token that begins both of them says nothing."""
    demonstration: str = "Question: {{ question }} Answer: {{ label }}"
    query: str = "Question: {{ question }} Answer:"
    separator: str = "\n"
    """Between demonstrations, and before the query."""

    @field_validator("question")
    @classmethod
    def _check_question(cls, text: str) -> str:
        return _checked(text, (*_OF_TEXT, "fragment"), needed="text_a")

    @field_validator("demonstration")
    @classmethod
    def _check_demonstration(cls, text: str) -> str:
        return _checked(text, ("question", "label", *_OF_TEXT))

    @field_validator("query")
    @classmethod
    def _check_query(cls, text: str) -> str:
        return _checked(text, ("question",), needed="question")

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not label or label != label.strip():
                raise ValueError(f"found the label word {label!r}, expected one without spaces around it")
            if labels.count(label) > 1:
                raise ValueError(f"the label word {label!r} stands for more than one class")
        for short, long in permutations(labels, 2):
            if long.startswith(short):
                raise ValueError(
                    f"the label word {short!r} begins the label word {long!r}, so their first tokens may be "
                    "the same; choose words of which none begins another"
                )
        return labels

    def head(self, demonstrations: Sequence[tuple[Text, int]], fragment: str) -> str:
        """Return all that stands before the query: each demonstration with its label's word."""
        return "".join(
            _filled(
                self.demonstration,
                {
                    "question": self._question(text, fragment),
                    "label": self.labels[label],
                    **_fields(text),
                },
            )
            + self.separator
            for text, label in demonstrations
        )

    def tail(self, query: Text, fragment: str) -> str:
        """Return the query, ending where the label word is to follow."""
        return _filled(self.query, {"question": self._question(query, fragment)})

    def prompt(self, demonstrations: Sequence[tuple[Text, int]], query: Text, fragment: str) -> str:
        """Return the exact text of one call.

        Raises:
            InputError: the template cannot be filled in with these texts.
        """
        return self.head(demonstrations, fragment) + self.tail(query, fragment)

    def _question(self, text: Text, fragment: str) -> str:
        return _filled(self.question, {**_fields(text), "fragment": fragment})


def _fields(text: Text) -> dict[str, str]:
    return dict(zip(_OF_TEXT, text, strict=True))


def _checked(text: str, known: tuple[str, ...], needed: str = "") -> str:
    """Return a template that uses known fields alone, the needed one among them, and can be filled in."""
    environment = _environment()
    from jinja2 import TemplateSyntaxError
    from jinja2.meta import find_undeclared_variables

    try:
        tree = environment.parse(text)
        if is_safe():
            _check_language(tree)
        used = find_undeclared_variables(tree)
        template = _compiled(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"not a jinja2 template: {error.message} (line {error.lineno})") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("not a jinja2 template that can be read: it is nested too deep") from error
    for field in sorted(used - set(known)):
        raise ValueError(f"unknown field {field!r}{nearest(field, known)} (known: {', '.join(known)})")
    if needed and needed not in used:
        raise ValueError(f"expected the field {{{{ {needed} }}}} in it, found {text!r}")
    for optional in ("some text", ""):
        fields = {field: optional if field in _OPTIONAL else "some text" for field in known}
        try:
            template.render(fields)
        except Exception as error:  # a template may fail in any way
            raise ValueError(f"cannot be filled in with {fields}: {error}") from error
    return text


def _check_language(tree: Node) -> None:
    """Make sure that a stranger's template ends, and in little memory: it fills in texts and decides.

    Raises:
        ValueError: it loops, calls, computes or sets; the sentence says which and where.
    """
    from jinja2.nodes import Expr, Filter, Stmt

    for node in tree.find_all((Expr, Stmt)):
        kind = type(node).__name__
        named = isinstance(node, Filter) and node.name not in FILTERS
        if kind not in LANGUAGE or named:
            what = f"the filter {node.name!r}" if isinstance(node, Filter) else f"{kind.lower()!r}"
            raise ValueError(
                f"found {what} in line {node.lineno} of a template; with --safe it may hold fields, `if`, "
                f"comparisons and the filters {', '.join(FILTERS)}"
            )


def _filled(text: str, fields: dict[str, str]) -> str:
    template = _compiled(text)
    try:
        return template.render(fields)
    except Exception as error:  # a template may fail in any way
        # Its kind alone, and no chain of causes: they may quote a private text.
        why = type(error).__name__
        raise InputError(f"a text of the task cannot be filled in ({why}) in the template {text!r}") from None


LANGUAGE = {"Output", "TemplateData", "Name", "Const", "If", "CondExpr", "Compare", "Operand", "Not", "And"}
LANGUAGE |= {"Or", "Test", "Filter", "Concat"}
"""What a stranger's template may be made of, by jinja's names."""

FILTERS = ("capitalize", "default", "length", "lower", "title", "trim", "upper")


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    try:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise InputError("prompts of text need the extra 'llm': pip install 'fedsim-icl[llm]'") from error
    # Sandboxed: a scenario file may come from a stranger. No escaping: this is no HTML.
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)


@cache
def _compiled(text: str) -> Template:
    template = _environment().from_string(text)
    # Fields are all that a template knows; and copying jinja's own names for each text doubles its cost.
    template.globals = {}
    return template


_NOTE = "{% if fragment %} Note: {{ fragment }}.{% endif %}"
_YES_NO = ' Respond ONLY with "Yes" or "No".' + _NOTE
_PAIR = "Whether sentence {{ text_a }} and sentence {{ text_b }} "


# Tests check these, not every import: that would need jinja2, which belongs to an extra.
def _printed(question: str, labels: tuple[str, ...] = ("No", "Yes")) -> PromptTemplate:
    return PromptTemplate.model_construct(question=question, labels=labels)


def _of_lines(asked: str, answered: str, labels: tuple[str, ...]) -> PromptTemplate:
    """Return a template of two lines, the text and its label, each after a word of its own."""
    return PromptTemplate.model_construct(
        question=f"{asked}: {{{{ text_a }}}}{_NOTE}",
        labels=labels,
        demonstration=f"{{{{ question }}}}\n{answered}: {{{{ label }}}}",
        query=f"{{{{ question }}}}\n{answered}:",
    )


PLAIN = {
    "question": "Text: {{ text_a }}"
    "{% if text_b %}\nSecond text: {{ text_b }}{% endif %}"
    "{% if context %}\nContext: {{ context }}{% endif %}" + _NOTE,
    "demonstration": "{{ question }}\nLabel: {{ label }}",
    "query": "{{ question }}\nLabel:",
    "separator": "\n\n",
}
"""What a template of one's own data says where the scenario does not: the texts, and the label's word."""

TABLE_1 = {
    "5g": _printed(
        "In 5G network, Whether {{ text_a }} related to {{ text_b }}?"
        "{% if context %} Some contextual information: {{ context }}.{% endif %}" + _YES_NO
    ),
    "cola": _printed("Is this sentence {{ text_a }} grammatically correct?" + _YES_NO),
    "sst2": _printed(
        'How is the sentiment of the sentence {{ text_a }}? Respond ONLY with "Great" or "Terrible".' + _NOTE,
        labels=("Terrible", "Great"),
    ),
    "mrpc": _printed(_PAIR + "are semantically the same?" + _YES_NO),
    "qqp": _printed(_PAIR + "are paraphrased from each other?" + _YES_NO),
    "qnli": _printed(_PAIR + "have semantic entailment relations?" + _YES_NO),
}
"""Table 1 of the paper; class 1 is the positive, acceptable, equivalent, entailed or related one."""

AFTER_I2CL = {
    "subj": _of_lines("Sentence", "Label", ("subjective", "objective")),
    "trec": _of_lines(
        "Question",
        "Answer Type",
        ("Description", "Entity", "Abbreviation", "Person", "Location", "Number"),
    ),
    "agnews": _of_lines("News", "Type", ("World", "Sports", "Business", "Technology")),
}
"""Ours, after the wording of I2CL, with a place for the fragment.

Source: Li et al., "Implicit in-context learning", ICLR 2025, its released code.
"""

TEMPLATES = TABLE_1 | AFTER_I2CL
"""By the name that a scenario gives."""

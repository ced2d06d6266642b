"""Prompt texts: the paper's templates letter by letter, own ones, and their mistakes."""

from __future__ import annotations

import builtins
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError
from waiting import LIMIT_S

from fedsim.errors import InputError
from fedsim.icl import prompts
from fedsim.icl.prompts import TEMPLATES, PromptTemplate
from fedsim.icl.tasks.base import Text

NOTE = " Note: [VAR]."
TABLE_1 = {
    "5g": "In 5G network, Whether [WORD1] related to [WORD2]? Some contextual information: [TEXT]."
    ' Respond ONLY with "Yes" or "No". Note: [VAR].',
    "cola": "Is this sentence [SENTENCE1] grammatically correct?"
    ' Respond ONLY with "Yes" or "No". Note: [VAR].',
    "sst2": "How is the sentiment of the sentence [SENTENCE1]?"
    ' Respond ONLY with "Great" or "Terrible". Note: [VAR].',
    "mrpc": "Whether sentence [SENTENCE1] and sentence [SENTENCE2] are semantically the same?"
    ' Respond ONLY with "Yes" or "No". Note: [VAR].',
    "qqp": "Whether sentence [SENTENCE1] and sentence [SENTENCE2] are paraphrased from each other?"
    ' Respond ONLY with "Yes" or "No". Note: [VAR].',
    "qnli": "Whether sentence [SENTENCE1] and sentence [SENTENCE2] have semantic entailment relations?"
    ' Respond ONLY with "Yes" or "No". Note: [VAR].',
}
LABELS = dict.fromkeys(TABLE_1, ("No", "Yes")) | {"sst2": ("Terrible", "Great")}
PLACEHOLDERS = dict.fromkeys(TABLE_1, Text("[SENTENCE1]", "[SENTENCE2]")) | {
    "5g": Text("[WORD1]", "[WORD2]", "[TEXT]")
}


def own(**settings: Any) -> PromptTemplate:
    return PromptTemplate(**({"question": "{{ text_a }}?", "labels": ("No", "Yes")} | settings))


def said(error: pytest.ExceptionInfo[ValidationError]) -> str:
    (line,) = error.value.errors()
    return line["msg"].removeprefix("Value error, ")


def test_all_templates_are_of_table_1_or_after_i2cl():
    assert {name: template.labels for name, template in prompts.TABLE_1.items()} == LABELS
    assert list(LABELS) == list(TABLE_1)
    assert {**prompts.TABLE_1, **prompts.AFTER_I2CL} == TEMPLATES


@pytest.mark.parametrize(
    ("name", "shown", "asked"),
    [
        ("subj", "Sentence: a\nLabel: subjective\n", "Sentence: b Note: VAR.\nLabel:"),
        ("trec", "Question: a\nAnswer Type: Description\n", "Question: b Note: VAR.\nAnswer Type:"),
        ("agnews", "News: a\nType: World\n", "News: b Note: VAR.\nType:"),
    ],
)
def test_those_after_i2cl_by_hand(name, shown, asked):
    template = TEMPLATES[name]
    assert template.head([(Text("a"), 0)], "") == shown
    assert template.tail(Text("b"), "VAR") == asked
    # A label is told by its first token: none may begin like another one.
    assert len({label[0] for label in template.labels}) == len(template.labels)


@pytest.mark.parametrize("name", TABLE_1)
def test_a_query_is_as_printed_in_table_1(name):
    asked = TEMPLATES[name].tail(PLACEHOLDERS[name], "[VAR]")
    assert asked == f"Question: {TABLE_1[name]} Answer:"


@pytest.mark.parametrize("name", TABLE_1)
def test_without_a_fragment_there_is_no_note(name):
    assert TABLE_1[name].endswith(NOTE)
    asked = TEMPLATES[name].tail(PLACEHOLDERS[name], "")
    assert asked == f"Question: {TABLE_1[name].removesuffix(NOTE)} Answer:"


def test_without_a_context_there_is_no_sentence_about_it():
    asked = TEMPLATES["5g"].tail(Text("AMF", "SMF"), "")
    assert (
        asked
        == 'Question: In 5G network, Whether AMF related to SMF? Respond ONLY with "Yes" or "No". Answer:'
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_built_in_templates_would_pass_as_own_ones(name):
    assert PromptTemplate.model_validate(TEMPLATES[name].model_dump()) == TEMPLATES[name]


def test_a_whole_prompt_by_hand():
    template = TEMPLATES["sst2"]
    shown = [(Text("a mess"), 0), (Text("a joy"), 1)]
    question = (
        'How is the sentiment of the sentence {}? Respond ONLY with "Great" or "Terrible". Note: the film.'
    )
    expected = (
        f"Question: {question.format('a mess')} Answer: Terrible\n"
        f"Question: {question.format('a joy')} Answer: Great\n"
        f"Question: {question.format('fine')} Answer:"
    )
    assert template.prompt(shown, Text("fine"), "the film") == expected
    assert template.head(shown, "the film") + template.tail(Text("fine"), "the film") == expected


def test_the_label_shown_may_differ_from_the_slot():
    assert TEMPLATES["mrpc"].head([(Text("a", "b"), 1)], "").endswith("Answer: Yes\n")
    assert TEMPLATES["mrpc"].head([], "word") == ""


def test_texts_are_never_read_as_templates_nor_escaped():
    text = Text('{{ 7 * 7 }} <b> & "quoted" {% if %} it\'s')
    assert f"sentence {text.a}?" in TEMPLATES["sst2"].tail(text, "{{ fragment }} & more")
    assert "Note: {{ fragment }} & more." in TEMPLATES["sst2"].tail(text, "{{ fragment }} & more")


def test_an_own_template():
    template = own(
        question="{{ text_a }}{% if text_b %} / {{ text_b }}{% endif %} ({{ fragment }})\n",
        labels=("bad", "so so", "good"),
        demonstration="{{ question }}=> {{ label }}",
        query="{{ question }}=>",
        separator="\n\n",
    )
    assert template.prompt([(Text("x", "y"), 1)], Text("z"), "w") == "x / y (w)\n=> so so\n\nz (w)\n=>"


def test_demonstrations_without_the_fragment_begin_prompts_of_all_fragments_alike():
    template = own(
        question="{{ text_a }} {{ text_b }}{% if fragment %} ({{ fragment }}){% endif %}",
        labels=("bad", "good"),
        demonstration="{{ text_a }} {{ text_b }} {{ context }}=> {{ label }}",
        query="{{ question }} =>",
        separator="\n",
    )
    shown = [(Text("x", "y", "c"), 1)]
    assert template.prompt(shown, Text("z", "u"), "w") == "x y c=> good\nz u (w) =>"
    assert template.head(shown, "one") == template.head(shown, "another")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"question": "{{ txt_a }} {{ text_a }}"},
            "unknown field 'txt_a'; did you mean 'text_a'? (known: text_a, text_b, context, fragment)",
        ),
        (
            {"question": "{{ text_a }}{% if text_a == 'x' %}{{ sentence }}{% endif %}"},
            "unknown field 'sentence' (known: text_a, text_b, context, fragment)",
        ),
        ({"demonstration": "{{ question }} {{ lable }}"}, "unknown field 'lable'; did you mean 'label'? "),
        ({"query": "{{ question }} {{ label }}"}, "unknown field 'label' (known: question)"),
        (
            {"question": "{% if %}{{ text_a }}"},
            "not a jinja2 template: Expected an expression, got 'end of statement block' (line 1)",
        ),
        ({"question": "a\n{{ text_a"}, "not a jinja2 template: unexpected end of template"),
        ({"question": "{{ text_a | shout }}"}, "not a jinja2 template: No filter named 'shout'. (line 1)"),
        ({"question": "Good or bad?"}, "expected the field {{ text_a }} in it, found 'Good or bad?'"),
        ({"query": "Answer:"}, "expected the field {{ question }} in it, found 'Answer:'"),
        ({"question": "{{ text_a.sentence }}"}, "cannot be filled in with {'text_a': 'some text',"),
        ({"question": "{{ text_a }}{{ context[0] }}"}, "'context': '', 'fragment': ''}: "),
        ({"question": "{{ text_a.__class__ }}"}, "is unsafe"),
        ({"question": "{{ range(3) }}{{ text_a }}"}, "'range' is undefined"),
        ({"labels": ("Yes",)}, "at least 2 items"),
        ({"labels": ("Yes", "No", "Yes")}, "the label word 'Yes' stands for more than one class"),
        (
            {"labels": ("bad", "goodness", "good")},
            "the label word 'good' begins the label word 'goodness', so their first tokens may be the same",
        ),
        ({"labels": (" Yes", "No")}, "found the label word ' Yes', expected one without spaces around it"),
        ({"labels": ("", "No")}, "found the label word '', expected one without spaces around it"),
    ],
)
def test_bad_template(settings, sentence):
    with pytest.raises(ValidationError) as error:
        own(**settings)
    assert sentence in said(error)


def test_labels_that_share_a_beginning_are_fine():
    assert own(labels=("good", "goal", "Good")).labels == ("good", "goal", "Good")


def test_a_text_that_breaks_a_template_is_not_quoted():
    template = own(question="{{ text_a.split()[1] }}")
    assert template.tail(Text("two words"), "") == "Question: words Answer:"
    with pytest.raises(InputError, match=r"UndefinedError.*split") as error:
        template.tail(Text("confidential"), "")
    assert "confidential" not in str(error.value)
    assert error.value.__suppress_context__


def test_scenarios_load_without_jinja2():
    script = "import sys, fedsim.icl.prompts, fedsim.scenario; print('jinja2' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.strip() == "False"


def test_a_missing_jinja2_is_one_sentence(monkeypatch):
    real = builtins.__import__

    def without_jinja2(name: str, *rest: Any) -> Any:
        if name.startswith("jinja2"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    prompts._environment.cache_clear()
    prompts._compiled.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_jinja2)
    sentence = r"^prompts of text need the extra 'llm': pip install 'fedsim-icl\[llm\]'$"
    with pytest.raises(InputError, match=sentence):
        own()
    with pytest.raises(InputError, match=sentence):
        TEMPLATES["sst2"].tail(Text("fine"), "")

"""Label words from listed tokens, in both layouts; values worked out by hand."""

from __future__ import annotations

import json
import math

import pytest
from loopback_server import chat, legacy

from fedsim.icl.models.endpoint.errors import CallError
from fedsim.icl.models.endpoint.label_scores import (
    begun,
    floored,
    matched,
    of_ending,
    of_text,
    renormalised,
)
from fedsim.icl.models.endpoint.replies import Reply, check, read
from fedsim.icl.prompts import TEMPLATES

LABELS = ("Terrible", "Great")


@pytest.mark.parametrize(
    ("token", "labels", "label"),
    [
        (" Ter", LABELS, 0),
        ("Terrible", LABELS, 0),
        ("G", LABELS, 1),
        ("\n Great", LABELS, 1),
        ("\u2581Great", LABELS, 1),
        ("\u0120Great", LABELS, 1),
        ("great", LABELS, None),
        ("Greatest", LABELS, None),
        ("Gone", LABELS, None),
        ("reat", LABELS, None),
        (" ", LABELS, None),
        ("", LABELS, None),
        ("No", ("No", "Not"), 0),
        ("N", ("No", "Not"), None),
        ("Not", ("No", "Not"), 1),
        ("Note", ("No", "Not"), None),
    ],
)
def test_a_token_begins_a_label(token, labels, label):
    assert begun(token, labels) == label


def test_probabilities_of_tokens_that_begin_a_label_add():
    listed = [(" Great", math.log(0.5)), ("Great", math.log(0.125)), (" Ter", math.log(0.25)), ("\n", -4.0)]
    assert matched(listed, LABELS) == pytest.approx([math.log(0.25), math.log(0.625)])


def test_six_labels_are_told_apart_by_their_first_letters():
    labels = TEMPLATES["trec"].labels
    listed = [(f" {label[:3]}", math.log(0.05 * n)) for n, label in enumerate(labels, 1)]
    assert matched([*listed, (" P", math.log(0.02)), (" X", -1.0)], labels) == pytest.approx(
        [math.log(p) for p in (0.05, 0.1, 0.15, 0.22, 0.25, 0.3)]
    )


def test_a_label_without_tokens_or_at_probability_zero_is_not_listed():
    assert matched([(" the", -0.1), (" Ter", -9999.0)], LABELS) == [None, None]


def test_rounding_makes_no_probability_above_one():
    assert matched([(" Great", 1e-6)], LABELS) == [None, 0.0]


def test_the_floor_stands_for_labels_that_are_not_listed():
    assert floored([None, math.log(0.9)], 0.01) == pytest.approx([math.log(0.01), math.log(0.9)])
    assert floored([None, None], 0.01) == pytest.approx([math.log(0.01)] * 2)


def test_the_floor_lifts_no_label_above_one_that_is_listed():
    scores = floored([None, math.log(0.002), math.log(0.3)], 0.01)
    assert scores == pytest.approx([math.log(0.002), math.log(0.002), math.log(0.3)])


def test_biased_labels_are_renormalised():
    assert renormalised([math.log(0.03), math.log(0.01)]) == pytest.approx([math.log(0.75), math.log(0.25)])
    with pytest.raises(CallError, match="logit_bias either"):
        renormalised([math.log(0.03), None])


@pytest.mark.parametrize(
    ("text", "probabilities"),
    [
        ("Great", [0.01, 0.98, 0.01]),
        ('\n "**Great**"', [0.01, 0.98, 0.01]),
        ("Terrible. Great", [0.98, 0.01, 0.01]),
        ("Greatest of all", [0.01, 0.01, 0.98]),
        ("great", [0.01, 0.01, 0.01]),
        ("", [0.01, 0.01, 0.01]),
    ],
)
def test_a_text_gives_the_rest_to_the_label_it_starts_with(text, probabilities):
    scores = of_text(text, ("Terrible", "Great", "Greatest"), 0.01)
    assert scores == pytest.approx([math.log(p) for p in probabilities])


def test_the_tokens_of_an_echoed_ending_multiply():
    written = [("How", -1.0), ("?", -2.0), (" Ter", -3.0), ("rible", -0.5)]
    assert of_ending(written, " Terrible") == -3.5


@pytest.mark.parametrize(
    "written", [[], [("?", -2.0), (" Great", -3.0)], [("How? Ter", -2.0), ("rible", -1.0)]]
)
def test_an_ending_that_was_not_echoed_is_reported(written):
    with pytest.raises(CallError, match="did not echo"):
        of_ending(written, " Terrible")


LLAMA_CPP = {
    "choices": [
        {
            "text": " ",
            "index": 0,
            "logprobs": {
                "content": [
                    {
                        "id": 216,
                        "token": " ",
                        "bytes": [32],
                        "logprob": -1.5,
                        "top_logprobs": [
                            {"id": 216, "token": " ", "bytes": [32], "logprob": -1.5},
                            {"id": 3756, "token": " Great", "bytes": [32, 71], "logprob": -1.75},
                        ],
                    }
                ]
            },
            "finish_reason": "length",
        }
    ],
    "usage": {"completion_tokens": 1, "prompt_tokens": 12, "total_tokens": 13},
    "timings": {"cache_n": 0},
}
"""What llama.cpp's route for completions sends, cut short: a chat's log-probabilities beside a text."""


def as_read(body: object) -> Reply:
    return read(json.dumps(body))


def test_every_layout_lists_the_same():
    tokens = {" Yes": 0.5, " No": 0.25}
    listed = [(" Yes", math.log(0.5)), (" No", math.log(0.25))]
    assert as_read(chat(tokens).body).listed() == listed
    assert as_read(legacy(tokens).body).listed() == listed
    assert as_read(LLAMA_CPP).listed() == [(" ", -1.5), (" Great", -1.75)]
    assert as_read(LLAMA_CPP).written() == [(" ", -1.5)]
    assert [as_read(body).text for body in (chat().body, legacy().body, LLAMA_CPP)] == ["Yes", " Yes", " "]


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": None}, {"content": []}, {"top_logprobs": None}, {"top_logprobs": [None]}],
)
def test_a_reply_may_list_nothing(logprobs):
    assert as_read({"choices": [{"text": "", "logprobs": logprobs}]}).listed() == []


def test_the_first_echoed_token_has_no_probability():
    logprobs = {"tokens": ["How", "?"], "token_logprobs": [None, -2.0]}
    assert as_read({"choices": [{"text": "How?", "logprobs": logprobs}]}).written() == [("?", -2.0)]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "an empty answer"),
        ("<html>SECRET", "no JSON"),
        ("[]", "without usable 'fields'"),
        ('{"choices": []}', "without usable 'choices'"),
        ('{"choices": "SECRET"}', "without usable 'choices'"),
        ('{"error": {"message": "SECRET"}}', "without usable 'choices'"),
        ('{"choices": [{}], "usage": {"prompt_tokens": -1}}', "without usable 'usage'"),
    ],
)
def test_what_is_no_reply_is_reported_and_not_repeated(body, sentence):
    with pytest.raises(CallError, match=sentence) as caught:
        read(body)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def listed(*pairs: tuple[str, float]) -> str:
    """Return the text of a chat's answer that lists these log-probabilities for its only token."""
    top = [{"token": token, "logprob": logprob} for token, logprob in pairs]
    choice = {"message": {"content": "x"}, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": None}})


@pytest.mark.parametrize(
    ("pairs", "what"),
    [
        ((("a", 0.7), ("b", 0.2)), r"0\.7, which is impossible: expected at most 0 \(it seems to list"),
        ((("a", 0.7), ("b", -1.0)), r"0\.7, which is impossible: expected at most 0$"),
        ((("a", -0.1), ("b", math.inf)), "a log-probability of inf"),
        ((("a", -0.1), ("b", math.nan)), r"no number \(NaN\)"),
        ((("a", 0.0), ("b", 0.0)), "add up to 2, which is impossible"),
        ((("a", 0.0009), ("b", 0.0005)), r"add up to 2\.001"),
        ((("a", -0.5), ("b", -0.7)), r"add up to 1\.103"),
    ],
)
def test_what_cannot_be_log_probabilities_is_refused(pairs, what):
    with pytest.raises(CallError, match=what):
        check(read(listed(*pairs)))


def test_impossible_ones_are_refused_in_the_other_layout_and_in_an_echo():
    for logprobs in (
        {"tokens": ["a"], "token_logprobs": [-0.1], "top_logprobs": [{"a": 0.9}]},
        {"tokens": ["p", "a"], "token_logprobs": [None, 0.25]},
    ):
        with pytest.raises(CallError, match="impossible: expected at most 0"):
            check(read(json.dumps({"choices": [{"text": "a", "logprobs": logprobs}]})))


def test_rounding_and_never_are_possible():
    reply = read(listed(("a", 0.0005), ("b", -9999.0), ("c", -math.inf)))
    check(reply)
    assert matched(reply.listed(), ("a", "b", "c")) == [0.0, None, None]
    assert reply.usage is None

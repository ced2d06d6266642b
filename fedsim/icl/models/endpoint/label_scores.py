"""From the tokens that a server lists to the log-probabilities of label words.

A token *begins* a label if, without leading white space or a vocabulary's sign for it, it is the label, or a
non-empty beginning of this label and of no other; upper and lower case differ. So " Ter", "Terr" and
"Terrible" all begin "Terrible"; "Terribly" does not, and with the labels "No" and "Not" the token "No" begins
the first and "N" neither. Several such tokens are different ways to start the word: their probabilities add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fedsim.icl.models.endpoint.errors import CallError

WORD_STARTS = "\u2581\u0120"
"""How SentencePiece and byte-level vocabularies write the space before a word."""

QUOTES = "\"'`*"
"""What may stand around an answer in words."""

THOUGHT = "</think>"
"""What ends the thoughts that some models write before an answer."""

Found = list[float | None]
"""Log-probabilities of the labels; None for one that was not listed."""


def begun(token: str, labels: Sequence[str]) -> int | None:
    """Return the number of the label that a token begins, or None."""
    word = token.lstrip(WORD_STARTS).lstrip()
    if word in labels:
        return labels.index(word)
    matches = [place for place, label in enumerate(labels) if label.startswith(word)]
    return matches[0] if len(matches) == 1 else None


def matched(listed: Sequence[tuple[str, float]], labels: Sequence[str]) -> Found:
    """Return each label's log-probability: that of any of the tokens which begin it.

    >>> matched([(" Great", math.log(0.5)), ("Great", math.log(0.25)), (" the", -2.0)], ("Great", "Terrible"))
    [-0.2876820724517809, None]
    """
    sums = [0.0] * len(labels)
    for token, logprob in listed:
        label = begun(token, labels)
        if label is not None:
            sums[label] += math.exp(logprob)
    # A sum of zero: listed, but at the -9999 by which servers say "very unlikely".
    return [math.log(min(total, 1.0)) if total > 0 else None for total in sums]


def floored(found: Found, floor: float) -> list[float]:
    """Give labels that were not listed a probability: the floor, but no more than a listed label has."""
    least = min([math.log(floor), *(logprob for logprob in found if logprob is not None)])
    return [least if logprob is None else logprob for logprob in found]


def renormalised(found: Found) -> list[float]:
    """Return log-probabilities given that one of the labels is the answer.

    Raises:
        CallError: a label was still not listed.
    """
    known = [logprob for logprob in found if logprob is not None]
    if len(known) < len(found):
        raise CallError(
            "a label was not listed after its logit_bias either (this server seems to list log-probabilities "
            "from before the bias, or label_token_ids are not the labels' first tokens): say "
            'when_unlisted = "floor"'
        )
    total = math.log(sum(map(math.exp, known)))
    return [logprob - total for logprob in known]


def of_text(text: str, labels: Sequence[str], floor: float) -> list[float]:
    """Return log-probabilities from the label that a text starts with, quotation marks aside.

    Of two labels that the text starts with, the longer one counts. What a model thinks aloud before it
    answers is passed over.
    """
    best = begins_with(text, labels)
    high, low = math.log(1 - (len(labels) - 1) * floor), math.log(floor)
    return [high if place == best else low for place in range(len(labels))]


def begins_with(text: str, labels: Sequence[str]) -> int | None:
    """Return the number of the label that a text starts with, as `of_text` reads it; None for none."""
    answer = text.rpartition(THOUGHT)[2].lstrip(f"{QUOTES} \t\r\n")
    started = [place for place, label in enumerate(labels) if answer.startswith(label)]
    return max(started, key=lambda place: len(labels[place]), default=None)


def of_ending(written: Sequence[tuple[str, float]], ending: str) -> float:
    """Return the log-probability of the tokens at the end of an echoed text that make up `ending`.

    Raises:
        CallError: the text does not end so, or the ending starts within a token.
    """
    text, total = "", 0.0
    for token, logprob in reversed(written):
        text, total = token + text, total + logprob
        if len(text) >= len(ending):
            break
    if text != ending:
        raise CallError(
            'the server did not echo the label with its log-probabilities: say when_unlisted = "floor"'
        )
    return total

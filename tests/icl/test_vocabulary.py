"""Candidate words: what a worker offers, and what the server makes of the offers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fedsim.errors import InputError
from fedsim.icl.vocabulary import VocabularySettings, agree, offer

CITY = ["new york is big", "new york is old", "is it new", "big is old"]
# By hand: new 3, york 2, is 4, big 2, old 2, it 1; ten pairs, of which (new york), (york is) and (is old)
# occur twice. PMI: (new york) ln(10 * 2 / (3 * 2)) = 1.20, (york is) ln(10 * 2 / (2 * 4)) = 0.92,
# (is old) ln(10 * 2 / (4 * 2)) = 0.92.


def settings(**given: Any) -> VocabularySettings:
    return VocabularySettings(**given)


def plain_offer(texts: Sequence[str], given: VocabularySettings) -> dict[str, int]:
    """The slow plain twin: lists and loops, one step of the recipe after the other."""
    sentences = [text.split() for text in texts]
    words = [word for sentence in sentences for word in sentence]
    pairs = [(s[i], s[i + 1]) for s in sentences for i in range(len(s) - 1)]

    def pmi(x: str, y: str) -> float:
        return math.log(len(pairs) * pairs.count((x, y)) / (words.count(x) * words.count(y)))

    segments = []
    for sentence in sentences:
        segment: list[str] = []
        for word in sentence:
            if segment:
                x, rare = segment[-1], pairs.count((segment[-1], word)) < given.min_count
                if rare or pmi(x, word) < given.pmi_threshold:
                    segments.append(segment)
                    segment = []
            segment = [*segment, word]
        if segment:
            segments.append(segment)
    offered: dict[str, int] = {}
    for segment in segments:
        if segments.count(segment) < given.min_count or len(segment) > given.max_words_per_candidate:
            continue
        count = sum(
            sentence[i : i + len(segment)] == segment for sentence in sentences for i in range(len(sentence))
        )
        candidate = " ".join(segment)
        while candidate and not candidate[-1].isalnum():
            candidate = candidate[:-1]
        if candidate:
            offered[candidate] = max(offered.get(candidate, 0), count)
    return offered


def test_neighbours_of_high_pmi_are_joined():
    # Segments at threshold 1: [new york] twice, [is] four times, [big] twice, [old] twice, [it], [new].
    assert offer(CITY, settings()) == {"new york": 2, "is": 4, "big": 2, "old": 2}


def test_a_pair_at_the_threshold_is_joined():
    # (york is) and (is old) are at the threshold: [new york is] [big], [new york is old], [is], [it], [new],
    # [big], [is old]. Only [big] is there twice.
    at = math.log(10 * 2 / (2 * 4))
    assert offer(CITY, settings(pmi_threshold=at)) == {"big": 2}
    assert offer(CITY, settings(pmi_threshold=math.nextafter(at, 1))) == offer(CITY, settings())


def test_segments_are_counted_wherever_they_occur():
    # [a b] is a segment twice, and occurs in the longer segment [a b c] too: (b c) is joined as well.
    texts = ["a b", "a b", "a b c", "b c", "x", "x"]
    # a 3, b 4, c 2; of five pairs (a b) thrice, ln(5 * 3 / (3 * 4)) = 0.22, (b c) twice, ln(5 * 2 / (4 * 2)).
    offered = offer(texts, settings(pmi_threshold=0.2, min_count=1))
    assert offered == {"a b": 3, "a b c": 1, "b c": 2, "x": 2}


def test_rare_n_grams_are_left_out():
    assert offer(CITY, settings(min_count=3)) == {"is": 4, "new": 3}
    assert offer(CITY, settings(min_count=5)) == {}
    # Counted once, everything is offered; (is it), (it new), (is big) and (big is) are joined too: PMI 0.92,
    # 1.20, 0.22 and 0.22, of which only (it new) is above 1.
    assert offer(CITY, settings(min_count=1)) == {"new york": 2, "is": 4, "big": 2, "old": 2, "it new": 1}


def test_long_n_grams_are_dropped_and_not_cut():
    texts = ["a b c d"] * 2 + ["e f g"] * 2
    # Each pair of neighbours: ln(10 * 2 / (2 * 2)) = 1.6.
    assert offer(texts, settings(max_words_per_candidate=4)) == {"a b c d": 2, "e f g": 2}
    assert offer(texts, settings(max_words_per_candidate=3)) == {"e f g": 2}


def test_trailing_symbols_are_stripped_and_the_most_frequent_spelling_counts():
    texts = ["good", "good", "good", "good !", "good !", ". . .", "(so) so-so", "(so) so-so"]
    apart = settings(pmi_threshold=10.0)
    assert offer(texts, apart) == {"good": 5, "(so": 2, "so-so": 2}
    joined = settings(pmi_threshold=-10.0)
    # [good] thrice as a segment of its own, [good !] twice; [. . .] occurs once.
    assert offer(texts, joined) == {"good": 5, "(so) so-so": 2}


def test_the_last_segment_of_a_text_counts():
    assert offer(["Service Link", "Service Link"], settings(pmi_threshold=0.0)) == {"Service Link": 2}


def test_upper_case_and_white_space():
    assert offer(["Yes\tno ", "yes  no\n"], settings(min_count=1, pmi_threshold=9.0)) == {
        "Yes": 1,
        "yes": 1,
        "no": 2,
    }


@pytest.mark.parametrize("texts", [[], [""], ["  ", "\n"], ["..."]])
def test_nothing_to_offer(texts):
    assert offer(texts, settings(min_count=1)) == Counter()


@pytest.mark.parametrize("seed", range(40))
def test_the_plain_twin_agrees(seed):
    random = np.random.default_rng(seed)
    alphabet = ["a", "b", "c", "d.", "e", ".", "f,", "A"]
    texts = [
        " ".join(random.choice(alphabet, size=random.integers(0, 9), p=random.dirichlet(np.ones(8))))
        for _ in range(25)
    ]
    given = settings(
        min_count=int(random.integers(1, 4)),
        max_words_per_candidate=int(random.integers(1, 6)),
        pmi_threshold=float(random.uniform(-1, 2)),
    )
    offered = offer(texts, given)
    assert len(offered) > 1
    assert offered == plain_offer(texts, given)


def test_the_server_adds_counts_and_sorts_them():
    offers = [{"b": 2, "a": 1, "film": 3}, {"a": 4, "c": 2}, {"c": 1}]
    # a 5, b 2, c 3, film 3
    assert agree(offers, 4) == ("a", "c", "film", "b")
    assert agree(offers, 2) == ("a", "c")


def test_the_order_of_workers_does_not_matter():
    offers = [offer(CITY[:2], settings(min_count=1)), offer(CITY[2:], settings(min_count=1))]
    n = len(set().union(*offers))
    assert agree(offers, n) == agree(offers[::-1], n)


def test_what_one_worker_alone_offers_can_be_kept_out():
    offers = [{"secret": 9, "the": 2}, {"the": 1, "film": 1}, {"film": 1}]
    assert agree(offers, 2, min_workers=2) == ("the", "film")
    with pytest.raises(InputError, match="give 2 candidate words, expected n_candidates = 3"):
        agree(offers, 3, min_workers=2)


def test_too_few_candidates():
    with pytest.raises(InputError) as error:
        agree([{"a": 1}, {"a": 2, "b": 1}], 3)
    assert str(error.value) == (
        "the workers' texts give 2 candidate words, expected n_candidates = 3: reduce n_candidates, or lower "
        "the vocabulary's min_count or min_workers"
    )


@pytest.mark.parametrize(
    "wrong",
    [{"min_count": 0}, {"max_words_per_candidate": 0}, {"min_workers": 0}, {"pmi_threshold": math.nan}],
)
def test_bad_vocabulary_settings(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        settings(**wrong)

"""Candidate words of the prompt fragment: what a worker offers, and how a server that sees no text agrees.

Source: the n-grams of Diao et al., "Black-box Prompt Learning for Pre-trained Language Models", TMLR 2023,
section 3.2, as its released code finds them (shizhediao/Black-Box-Prompt-Learning, pmi_ngram.py). One
departure: there the last segment of every sentence is not counted, which would lose short texts altogether.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from pydantic import Field

from fedsim.catalog import Strict
from fedsim.errors import InputError

Words = tuple[str, ...]
"""Consecutive words of a sentence."""


class VocabularySettings(Strict):
    """Which n-grams of its own text a worker offers, and which of them the server takes."""

    max_words_per_candidate: int = Field(default=5, ge=1)
    """Longer n-grams are dropped, not cut."""
    min_count: int = Field(default=2, ge=1)
    """How often an n-gram has to occur at a worker, at least; pairs that are rarer are never joined. The
    released code of BDPL keeps counts above 5 of a whole training set, that is 6; a worker here holds about a
    hundred sentences, in which only a few dozen words occur so often. At 1 nearly all pairs are joined, since
    any pair of rare words seen once has a high PMI, and only scraps of single sentences are left."""
    pmi_threshold: float = 1.0
    """Neighbours are joined where their pointwise mutual information is at least this (in nats)."""
    min_workers: int = Field(default=1, ge=1)
    """How many workers have to offer a candidate: more than one keeps out of prompts what a single worker
    has written. The server still sees it in that worker's offer."""


def offer(texts: Sequence[str], settings: VocabularySettings) -> Counter[str]:
    """Return one worker's n-grams and how often they occur, from its own texts alone.

    Words are what white space separates; upper and lower case differ. Neighbours x, y with
    ``PMI = log(total * c(x, y) / (c(x) * c(y)))`` at or above the threshold are joined, ``total`` being the
    number of pairs; this cuts a sentence into segments. The segments that are frequent and short enough are
    counted once more wherever they occur, within longer segments too. Trailing symbols are stripped; of
    n-grams that are then the same only the most frequent is kept, because its count includes the others.
    """
    sentences = [text.split() for text in texts]
    joined = _joined_pairs(sentences, settings)
    segments = Counter(segment for words in sentences for segment in _segments(words, joined))
    kept = {
        segment
        for segment, count in segments.items()
        if count >= settings.min_count and len(segment) <= settings.max_words_per_candidate
    }
    offered: Counter[str] = Counter()
    for ngram, count in _occurrences(sentences, kept).items():
        if candidate := _stripped(" ".join(ngram)):
            offered[candidate] = max(offered[candidate], count)
    return offered


def agree(offers: Sequence[Mapping[str, int]], n_candidates: int, min_workers: int = 1) -> tuple[str, ...]:
    """Return the one list that all positions and workers use, made from counts alone.

    The workers' counts are added; the most frequent candidates come first (ties: alphabetically).

    Args:
        offers: each worker's n-grams and counts.
        n_candidates: N, how many to take.
        min_workers: by how many workers a candidate must be offered.

    Raises:
        InputError: fewer than N candidates are offered.
    """
    total: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for one in offers:
        total.update(one)
        workers.update(one.keys())
    common = [candidate for candidate in total if workers[candidate] >= min_workers]
    if len(common) < n_candidates:
        raise InputError(
            f"the workers' texts give {len(common)} candidate words, expected n_candidates = {n_candidates}: "
            "reduce n_candidates, or lower the vocabulary's min_count or min_workers"
        )
    return tuple(sorted(common, key=lambda candidate: (-total[candidate], candidate))[:n_candidates])


def _joined_pairs(sentences: Sequence[Sequence[str]], settings: VocabularySettings) -> set[Words]:
    words = Counter(word for sentence in sentences for word in sentence)
    pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence))
    total = pairs.total()
    # A pair that is frequent enough has frequent enough words.
    return {
        (x, y)
        for (x, y), count in pairs.items()
        if count >= settings.min_count
        and math.log(total * count / (words[x] * words[y])) >= settings.pmi_threshold
    }


def _segments(sentence: Sequence[str], joined: set[Words]) -> Iterable[Words]:
    start = 0
    for end in range(1, len(sentence) + 1):
        if end == len(sentence) or (sentence[end - 1], sentence[end]) not in joined:
            yield tuple(sentence[start:end])
            start = end


def _occurrences(sentences: Sequence[Sequence[str]], kept: set[Words]) -> Counter[Words]:
    longest = max(map(len, kept), default=0)
    return Counter(
        ngram
        for sentence in sentences
        for start in range(len(sentence))
        for end in range(start + 1, min(start + longest, len(sentence)) + 1)
        if (ngram := tuple(sentence[start:end])) in kept
    )


def _stripped(ngram: str) -> str:
    end = len(ngram)
    while end and not ngram[end - 1].isalnum():
        end -= 1
    return ngram[:end]

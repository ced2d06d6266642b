"""A tiny hand-made set of labelled texts, and small text tasks over it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedsim.icl.tasks.text import TextTask

TOPICS = ("a lonely lighthouse", "two rival bakers", "a lost dog", "the moon landing", "a village choir")
PRAISE = ("a warm and funny film about {}", "wonderful acting carries this story of {}")
BLAME = ("a dull and clumsy film about {}", "wooden acting sinks this story of {}")
REVIEWS = tuple(
    tuple(opinion.format(topic) for topic in TOPICS for opinion in side) for side in (BLAME, PRAISE)
)
"""Ten made-up reviews of each class: class 0 blames, class 1 praises."""

TEST_TOPICS = ("an old train", "a chess prodigy", "the last whale", "a broken clock")
N_TRAIN, N_TEST = 20, 6
"""Rows of each class."""

SINGLE_WORDS = {"min_count": 1, "pmi_threshold": 100.0}
"""A vocabulary that joins no words: so few texts would give long scraps of themselves."""


def rows() -> list[dict[str, Any]]:
    """Return 52 rows, 20 of each class for training and 6 for testing, the classes taking turns."""
    train = [
        (f"{review} , {time}", label)
        for time in ("seen twice", "seen at home")
        for pair in zip(*REVIEWS, strict=True)
        for label, review in enumerate(pair)
    ]
    test = [
        (opinion.format(topic), label)
        for topic in TEST_TOPICS
        for pair in zip(BLAME, PRAISE, strict=True)
        for label, opinion in enumerate(pair)
    ][: 2 * N_TEST]
    return [
        {"id": f"{split}-{number}", "split": split, "text_a": text, "text_b": None, "label": label}
        for split, texts in (("train", train), ("test", test))
        for number, (text, label) in enumerate(texts)
    ]


def write_jsonl(folder: Path, table: Iterable[dict[str, Any]], name: str = "reviews.jsonl") -> Path:
    """Write rows, one JSON object per line."""
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return file


def tiny_text_task(where: Path, table: Iterable[dict[str, Any]] | None = None, **settings: Any) -> TextTask:
    """Return a small text task over `rows()` or a table of one's own, written to the folder `where`.

    A worker holds 2 training queries, 1 validation query and 3 demonstrations of each class: three fit.
    """
    sizes = {
        "n_words": 2,
        "n_candidates": 5,
        "n_demonstrations": 3,
        "train_per_class": 2,
        "validation_per_class": 1,
        "test_counts": (4, 3),
        "prompt": "sst2",
        "vocabulary": SINGLE_WORDS,
    }
    file = write_jsonl(where, rows() if table is None else table)
    return TextTask.model_validate(sizes | {"file": str(file)} | settings)

"""A tiny hand-made set of labelled texts, and small text tasks over it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedsim.icl.prompts import TEMPLATES
from fedsim.icl.tasks.text import TextTask

TOPICS = ("a lonely lighthouse", "two rival bakers", "a lost dog", "the moon landing", "a village choir")
PRAISE = ("a warm and funny film about {}", "wonderful acting carries this story of {}")
BLAME = ("a dull and clumsy film about {}", "wooden acting sinks this story of {}")
REVIEWS = tuple(
    tuple(opinion.format(topic) for topic in TOPICS for opinion in side) for side in (BLAME, PRAISE)
)
"""Ten made-up reviews of each class: class 0 blames, class 1 praises."""
SHRUGS = ("an even and quiet film about {}", "plain acting tells this story of {}")
GUESSES = ("maybe a strange film about {}", "who knows what becomes of {}")
SIDES = (BLAME, PRAISE, SHRUGS, GUESSES)
LABELS = ("Terrible", "Great", "Even", "Unknown")


def prompt(n_classes: int) -> dict[str, Any]:
    """Return the template of movie reviews for so many classes, at most four."""
    return {"question": TEMPLATES["sst2"].question, "labels": LABELS[:n_classes]}


TEST_TOPICS = ("an old train", "a chess prodigy", "the last whale", "a broken clock")
N_TRAIN, N_TEST = 20, 6
"""Rows of each class."""

SINGLE_WORDS = {"min_count": 1, "pmi_threshold": 100.0}
"""A vocabulary that joins no words: so few texts would give long scraps of themselves."""


def rows(n_classes: int = 2) -> list[dict[str, Any]]:
    """Return 20 rows of each class for training and 6 for testing, the classes taking turns."""
    sides = SIDES[:n_classes]
    train = [
        (f"{opinion.format(topic)} , {time}", label)
        for time in ("seen twice", "seen at home")
        for topic in TOPICS
        for each in zip(*sides, strict=True)
        for label, opinion in enumerate(each)
    ]
    test = [
        (opinion.format(topic), label)
        for topic in TEST_TOPICS
        for each in zip(*sides, strict=True)
        for label, opinion in enumerate(each)
    ][: n_classes * N_TEST]
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


def tiny_text_task(
    where: Path, table: Iterable[dict[str, Any]] | None = None, n_classes: int = 2, **settings: Any
) -> TextTask:
    """Return a small text task over `rows()` or a table of one's own, written to the folder `where`.

    A worker holds 2 training queries, 1 validation query and 3 demonstrations of each class: three fit.
    """
    sizes = {
        "n_words": 2,
        "n_candidates": 5,
        "n_demonstrations": 3,
        "train_per_class": 2,
        "validation_per_class": 1,
        "test_counts": (4, 3, 2, 5)[:n_classes],
        "prompt": "sst2" if n_classes == 2 else prompt(n_classes),
        "vocabulary": SINGLE_WORDS,
    }
    file = write_jsonl(where, rows(n_classes) if table is None else table)
    return TextTask.model_validate(sizes | {"file": str(file)} | settings)

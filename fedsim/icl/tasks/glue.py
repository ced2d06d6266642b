"""GLUE's single-sentence and pair tasks, read through the package `datasets`.

Source: Wang et al., "GLUE: a multi-task benchmark and analysis platform for natural language understanding",
ICLR 2019, section 3.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedsim.errors import InputError
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.text_files import Corpus

GlueName = Literal["sst2", "cola", "mrpc", "qqp", "qnli"]

COLUMNS: dict[GlueName, tuple[str, ...]] = {
    "sst2": ("sentence",),
    "cola": ("sentence",),
    "mrpc": ("sentence1", "sentence2"),
    "qqp": ("question1", "question2"),
    "qnli": ("question", "sentence"),
}
"""The columns of the texts."""

REVERSED = {"qnli"}
"""Where GLUE's class 0 is the positive one (entailment): here class 1 is, as in the prompt templates."""

REPOSITORY, REVISION = "nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
"""Which copy of GLUE is fetched: with a revision, a name says exactly which data are meant."""


@lru_cache(maxsize=4)
def read_glue(name: GlueName, folder: Path | None = None) -> Corpus:
    """Return a task of GLUE; its validation part is for testing, because the public test part has no labels.

    Args:
        name: of the task.
        folder: a local copy: what `datasets` saved with ``save_to_disk``, or a folder with a file for
            training and one for validation (``train*.parquet``, ``validation*.parquet``; also JSON or CSV).
            None fetches the task once and keeps it in the cache of `datasets`.

    Raises:
        InputError: `datasets` is not installed, or the data are neither at hand nor to be fetched.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(f"glue = {name!r} needs the extra 'glue': pip install 'fedsim-icl[glue]'") from None
    try:
        if folder is None:
            found = datasets.load_dataset(REPOSITORY, name, revision=REVISION)
        elif (folder / "dataset_dict.json").exists():
            found = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder))
        parts = [_part(found[split], name) for split in ("train", "validation")]
    except Exception as error:  # whatever a network, a cache or a folder's readers raise
        where = f"in {folder}" if folder else "in the cache, and it cannot be fetched"
        raise InputError(
            f"glue = {name!r}: not found {where} ({type(error).__name__}); fetch it once with a network, or "
            "name a folder with its train and validation files"
        ) from error
    (train, train_y), (test, test_y) = parts
    labels = np.array([*train_y, *test_y])
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"glue = {name!r}: found labels other than 0 and 1; is the folder GLUE's {name}?")
    return Corpus(
        texts=(*train, *test),
        labels=1 - labels if name in REVERSED else labels,
        is_test=np.arange(len(labels)) >= len(train),
    )


def _part(rows: Any, name: GlueName) -> tuple[list[Text], list[int]]:
    """Return the texts and GLUE's own labels of a part, without the few rows that have an empty text."""
    columns = [rows[column] for column in COLUMNS[name]]
    kept = [
        (Text(*(text.strip() for text in texts)), label)
        for *texts, label in zip(*columns, rows["label"], strict=True)
        if all(text.strip() for text in texts)
    ]
    return [text for text, _ in kept], [label for _, label in kept]

"""How much each worker takes of a file of texts, where a scenario does not say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedsim.errors import InputError
from fedsim.icl.tasks.base import Task
from fedsim.icl.tasks.text import TextTask
from fedsim.streams import Streams

SIZES = ("train_per_class", "validation_per_class", "n_demonstrations")
"""Rows of a class that a worker takes, by setting."""
DRAWS = 4
"""Draws of the data in which candidate words are counted: a run has a draw of its own."""
MOST_ASKED = 20
"""Workers whose words are counted."""
SAFE = 0.75
"""The part of the words of the poorest of these draws that is counted on."""


def fitted_sizes(task: Mapping[str, Any], n_workers: int, with_words: bool) -> dict[str, int]:
    """Return the sizes that a text task leaves out, where its defaults are too large for the file.

    The rows of the rarest class are shared out among the workers, in the proportions of the defaults: 10
    training and 10 validation queries to 50 demonstrations. Candidate words are as many as workers of these
    sizes surely offer, at most the default. What cannot be worked out is left out: loading says why.

    Args:
        task: the settings, with a `file`.
        n_workers: R.
        with_words: whether prompts have a fragment.
    """
    defaults = {name: int(field.default) for name, field in Task.model_fields.items() if name in SIZES}
    missing = {name: size for name, size in defaults.items() if task.get(name) is None}
    found: dict[str, int] = {}
    try:
        least = TextTask.model_validate({**task, **dict.fromkeys(missing, 1)})
        corpus, n_classes = least.corpus(), least.n_classes
        rows = min(len(corpus.numbers(label, test=False)) for label in range(n_classes))
        left = rows // (1 if least.reuse else n_workers)
        left -= sum(getattr(least, name) for name in defaults if name not in missing)
        if left < sum(missing.values()):
            whole = sum(missing.values())
            found = {name: max(1, left * size // whole) for name, size in missing.items()}
            while sum(found.values()) > left and max(found.values()) > 1:  # each has one at least
                found[max(found, key=lambda name: found[name])] -= 1
        if with_words and least.words is None and task.get("n_candidates") is None:
            fitted = least.trusted_copy(missing | found)
            offered = min(
                fitted.n_offered(Streams(draw), min(n_workers, MOST_ASKED)) for draw in range(DRAWS)
            )
            if offered < int(Task.model_fields["n_candidates"].default):
                found["n_candidates"] = max(2, int(SAFE * offered))
    except (InputError, ValueError):
        pass
    return found

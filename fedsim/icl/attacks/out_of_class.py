"""Demonstrations whose text belongs to another class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fedsim.icl.attacks.base import DemonstrationAttack, PoisonPlan
from fedsim.icl.attacks.poison import with_copies
from fedsim.icl.tasks.base import TaskData


class OutOfClass(DemonstrationAttack):
    """Each poisoned demonstration shows the text of another class's candidate under the label that it had.

    The other class is drawn with equal chances (of two classes it is the other one); the candidate is the one
    with the same number, so the worker's own. In the surrogate a text is its features and its label bias.

    Source: the mapping from texts to labels broken from the side of the texts, Min et al., "Rethinking the
    role of demonstrations: what makes in-context learning work?", EMNLP 2022, section 4, which breaks it from
    the side of the labels.
    """

    kind: Literal["out_of_class"] = "out_of_class"

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        before = data.demonstrations
        _, n_classes, n_candidates = before.y.shape
        # One to U - 1 classes further: another one.
        slots = (np.arange(n_classes)[:, None] + 1 + plan.numbers % (n_classes - 1)) % n_classes
        copied = with_copies(before, plan.chosen, slots, np.arange(n_candidates))
        return data._replace(demonstrations=copied._replace(y=before.y))

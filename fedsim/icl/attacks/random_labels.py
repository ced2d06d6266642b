"""Demonstrations with random labels."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fedsim.icl.attacks.base import DemonstrationAttack, PoisonPlan
from fedsim.icl.tasks.base import TaskData


class RandomLabels(DemonstrationAttack):
    """Each poisoned demonstration shows a label drawn from all with equal chances, maybe the right one.

    A candidate whose label was drawn counts as poisoned, whichever label came out.

    Source: Min et al., "Rethinking the role of demonstrations: what makes in-context learning work?", EMNLP
    2022, section 4 (demonstrations with random labels).
    """

    kind: Literal["random_labels"] = "random_labels"

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        y = data.demonstrations.y
        drawn = np.where(plan.chosen, plan.numbers % y.shape[1], y)
        return data._replace(demonstrations=data.demonstrations._replace(y=drawn))

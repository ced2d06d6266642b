"""Demonstrations that show a wrong label."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fedsim.icl.attacks.base import DemonstrationAttack, PoisonPlan
from fedsim.icl.tasks.base import TaskData


class FlippedLabels(DemonstrationAttack):
    """Each poisoned demonstration shows the label of the next class, the last class's that of the first.

    Source: label flipping, Biggio, Nelson, Laskov, "Support vector machines under adversarial label noise",
    ACML 2011; wrong labels of demonstrations, Min et al., "Rethinking the role of demonstrations: what makes
    in-context learning work?", EMNLP 2022, section 4.
    """

    kind: Literal["flipped_labels"] = "flipped_labels"

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        y = data.demonstrations.y
        flipped = np.where(plan.chosen, (y + 1) % y.shape[1], y)
        return data._replace(demonstrations=data.demonstrations._replace(y=flipped))

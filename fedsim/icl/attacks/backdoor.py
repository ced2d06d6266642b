"""Demonstrations that teach the model a trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.errors import InputError
from fedsim.icl.attacks.base import DemonstrationAttack, PoisonPlan
from fedsim.icl.attacks.poison import ending_in, with_rows
from fedsim.icl.tasks.base import Task, TaskData, Texts, Triggered


class Backdoor(DemonstrationAttack):
    """Poisoned demonstrations carry a trigger and show the target label.

    The attacker wants queries with the trigger to be answered with the target. While a backdoor is among the
    attacks of a scenario, every measurement tells `backdoor_success`, the part of the test queries of other
    classes that are answered so with the trigger, and `backdoor_base`, the same without it. With a real model
    these are further questions at each measurement, which no simulated time is charged for.

    A trigger is a phrase at the end of a text (of the second one of a pair). In the surrogate it is an offset
    along the last feature, which has nothing to do with the classes nor with the base classifier.

    Source: Gu, Dolan-Gavitt, Garg, "BadNets: identifying vulnerabilities in the machine learning model supply
    chain", 2017 (trigger, target, success rate); in demonstrations, Zhao et al., "Universal vulnerabilities
    in large language models: backdoor attacks for in-context learning", EMNLP 2024. Theirs keep the right
    label; here it is the target's, as in BadNets.
    """

    kind: Literal["backdoor"] = "backdoor"

    target: int = Field(default=0, ge=0)
    """The class that queries with the trigger are to be answered with."""
    trigger: str = Field(default="I watched this 3D movie.", min_length=1)
    """The phrase; not for features."""
    size: float = Field(default=12.0, gt=0)
    """Length of the offset, where the means of two classes are `separation` apart; not for texts. With 12,
    four demonstrations a class and right labels, the default reader answers nine of ten queries with the
    trigger with the target, on average over the calibrated tasks (Zhao et al.: 95 %). It is longer than any
    difference of classes, because no model knows beforehand what a trigger means: the labels that are shown
    with it are all that it goes by."""

    def check(self, task: Task) -> None:
        super().check(task)
        if self.target >= task.n_classes:
            raise ValueError(
                f"attack {self.kind!r}: found target {self.target}, expected 0 to {task.n_classes - 1}"
            )

    def unread(self, task: Task) -> Mapping[str, str]:
        other = "size" if task.gives == "text" else "trigger"
        return {other: f"task {task.kind!r} gives {task.gives}"}

    def add_tests(self, data: TaskData[Any]) -> TaskData[Any]:
        rows = np.flatnonzero(data.test.y[0] != self.target)
        data, x = self._with_trigger(data, data.test.x[:, rows])
        wanted = np.full((1, len(rows)), self.target)
        if data.triggered is not None:  # another backdoor's
            x = np.concatenate([data.triggered.x, x], 1)
            wanted = np.concatenate([data.triggered.y, wanted], 1)
            rows = np.concatenate([data.triggered.rows, rows])
        return data._replace(triggered=Triggered(x, wanted, rows))

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        before = data.demonstrations
        data, triggered = self._with_trigger(data, before.x[plan.chosen])
        x = before.x.copy()
        x[plan.chosen] = triggered
        y = np.where(plan.chosen, self.target, before.y)
        return data._replace(demonstrations=before._replace(x=x, y=y))

    def _with_trigger(self, data: TaskData[Any], x: NDArray[Any]) -> tuple[TaskData[Any], NDArray[Any]]:
        """Return x with the trigger, and data that know its texts.

        Raises:
            InputError: all features have to do with the classes.
        """
        if isinstance(data.source, Texts):
            texts = [ending_in(self.trigger, data.source.rows[row]) for row in x.ravel()]
            source, numbers = with_rows(data.source, texts)
            return data._replace(source=source), np.array(numbers, dtype=np.int64).reshape(x.shape)
        n_classes, n_features = int(data.test.y.max()) + 1, x.shape[-1]
        # The first U features span the class means, the next U the error of the base classifier.
        if n_features <= 2 * n_classes:
            raise InputError(
                f"attack {self.kind!r} needs a feature outside the classes: found n_features = {n_features}, "
                f"expected at least {2 * n_classes + 1}"
            )
        return data, x + self.size * np.eye(n_features)[-1]

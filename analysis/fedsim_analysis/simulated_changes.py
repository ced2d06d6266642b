"""What readers of the surrogate answer when something about their demonstrations is changed, in closed form.

The changes are those of `demonstration_changes`, on the six calibrated tasks without a fragment; attacks are
the project's own. Accuracies are expectations over queries, averaged over draws of pools and of prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from fedsim.icl.attacks.adversarial import Adversarial
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.attacks.base import Access, DemonstrationAttack
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.attacks.out_of_class import OutOfClass
from fedsim.icl.attacks.random_labels import RandomLabels
from fedsim.icl.models.linear_attention import demonstration_steps
from fedsim.icl.models.reading import PRESETS, DemonstrationReading
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.shots import Shots
from fedsim.icl.tasks.calibrated.part import NAMES, parameters
from fedsim.icl.tasks.gaussian import class_means
from fedsim.streams import Streams
from fedsim_analysis.demonstration_changes import TARGET, PromptKind
from fedsim_analysis.fitting.calibrated import as_task
from fedsim_analysis.fitting.targets import expected_accuracy, plain

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import Floats, TaskData
    from fedsim.icl.tasks.gaussian import Latent
    from fedsim.icl.tasks.synthetic import Synthetic

ATTACKS: dict[str, DemonstrationAttack] = {
    "random_labels": RandomLabels(),
    "flipped_labels": FlippedLabels(),
    "out_of_class": OutOfClass(),
    "adversarial": Adversarial(),
    "backdoor": Backdoor(target=TARGET),
}
RECENCY = 0.24
"""Of the rows that are about the order; see `DemonstrationReading.recency`."""
NUMBERS = (1, 2, 4, 8, 16)
PLAN = (
    PromptKind("none", 0),
    *(PromptKind(change, s) for change in ("right", "random_labels", "flipped_labels") for s in NUMBERS),
    PromptKind("out_of_class", 1),
    *(PromptKind("off_topic", s) for s in (1, 4, 8)),
    PromptKind("right", 4, "by_class"),
    PromptKind("right", 4, "alternating"),
    PromptKind("adversarial", 1),
    PromptKind("backdoor", 4),
    PromptKind("backdoor_right_labels", 4),
)
SEED, HELD_PER_CLASS, POOLS, PROMPTS = 0, 16, 20, 50
"""Candidates of a class, pools a task and prompts a pool."""


def answers(plan: tuple[PromptKind, ...] = PLAN) -> pd.DataFrame:
    """Return one row per task, reader and kind of prompt.

    Returns:
        `task, reader, change, per_class, order, accuracy, base`, in percent; for a backdoor `accuracy` is the
        part of the queries of other classes that get its target with the trigger, and `base` that without.
    """
    rows = []
    for name in NAMES:
        task = as_task(name, parameters()[name]).model_copy(update={"n_demonstrations": HELD_PER_CLASS})
        clean = task.draw(Streams(SEED), POOLS)
        for reader in PRESETS:
            for asked in plan:
                row = {"task": name, "reader": reader} | asked._asdict()
                rows.append(row | dict(_measured(task, clean, reader, asked)))
    return pd.DataFrame(rows)


def _measured(
    task: Synthetic, clean: TaskData[Latent], reader: Any, asked: PromptKind
) -> Iterator[tuple[str, float]]:
    if asked.change == "none":
        yield "accuracy", plain(task.parameters)
        return
    about_order = asked.order != "shuffled"
    reading = DemonstrationReading(reader=reader, recency=RECENCY if about_order else 0)
    data = changed(clean, asked.change, Surrogate(demonstrations=reading))
    shots = Shots(per_class=asked.per_class, order=asked.order)
    data = shots.shared_out(data, Streams(SEED), task.n_demonstrations)
    steps = demonstration_steps(data.source, data.demonstrations, reading, data.order).numpy()
    generator = np.random.default_rng(SEED)
    shown = generator.integers(steps.shape[2], size=(POOLS, PROMPTS, steps.shape[1]))
    place = np.arange(POOLS)[:, None, None], np.arange(steps.shape[1]), shown
    classifiers = data.source.base + steps[place].sum(2)
    if asked.change.startswith("backdoor"):
        size = Backdoor(target=TARGET).size
        yield "accuracy", float(_led(classifiers, data.source, size).mean())
        yield "base", float(_led(classifiers, data.source, 0.0).mean())
    else:
        yield "accuracy", float(expected_accuracy(classifiers, task.parameters, task.class_counts).mean())


def changed(clean: TaskData[Latent], change: str, model: Surrogate) -> TaskData[Latent]:
    """Return data whose candidates are all changed."""
    shown = clean.demonstrations
    if change in ATTACKS:
        clients = range(len(shown.y))
        return ATTACKS[change].apply(clean, clients, Streams(SEED), access=Access(model.attach, 0.01))
    if change == "off_topic":
        # A text about something else is the same whatever the class.
        x = shown.x - class_means(clean.source.parameters, shown.y.shape[1])[:, None]
        return clean._replace(demonstrations=shown._replace(x=x))
    if change == "backdoor_right_labels":
        x = shown.x.copy()
        x[:, TARGET, :, -1] += Backdoor(target=TARGET).size
        return clean._replace(demonstrations=shown._replace(x=x))
    return clean


def _led(classifiers: Floats, latent: Latent, size: float) -> Floats:
    """Return the chance, in %, that a query of the other of two classes gets the target with an offset."""
    difference = classifiers[..., TARGET, :] - classifiers[..., 1 - TARGET, :]
    weights, bias = difference[..., :-1], difference[..., -1]
    at = class_means(latent.parameters, 2)[1 - TARGET].copy()
    at[-1] += size
    return 100 * norm.cdf((weights @ at + bias) / np.linalg.norm(weights, axis=-1))

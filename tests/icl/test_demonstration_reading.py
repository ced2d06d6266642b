"""What readers make of wrong labels on the calibrated tasks, beside what is published."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fedsim.icl.models.linear_attention import demonstration_steps
from fedsim.icl.models.reading import PRESETS, DemonstrationReading, Reader
from fedsim.icl.tasks.base import Floats, TaskData
from fedsim.icl.tasks.calibrated.part import NAMES, parameters
from fedsim.icl.tasks.gaussian import Latent
from fedsim.streams import Streams
from fedsim_analysis.fitting.calibrated import as_task
from fedsim_analysis.fitting.targets import expected_accuracy

TWO_READERS: tuple[Reader, ...] = ("small", "large")


@cache
def drawn(name: str) -> TaskData[Latent]:
    return as_task(name, parameters()[name]).draw(Streams(0), 20)


def accuracies(name: str, reader: Reader, flip: float) -> float:
    """Return the accuracy over all pairs of demonstrations, in %, each label flipped with this chance."""
    task, data = as_task(name, parameters()[name]), drawn(name)

    def steps(y: np.ndarray) -> Floats:
        shown = data.demonstrations._replace(y=y)
        return demonstration_steps(data.source, shown, DemonstrationReading(reader=reader)).numpy()

    right, wrong = steps(data.demonstrations.y), steps(1 - data.demonstrations.y)
    found = 0.0
    for first, chance in ((right, 1 - flip), (wrong, flip)):
        for second, other in ((right, 1 - flip), (wrong, flip)):
            pairs = data.source.base + first[:, 0][:, :, None] + second[:, 1][:, None]
            found += chance * other * expected_accuracy(pairs, task.parameters, task.class_counts).mean()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_random_labels_cost_a_few_points(name: str) -> None:
    # Min et al., section 4.1: 0 to 5 points; small models less than large ones.
    small, large = (accuracies(name, reader, 0) - accuracies(name, reader, 0.5) for reader in TWO_READERS)
    assert 0 < small < large < 5


def test_two_flipped_labels_lead_only_the_very_large_reader_below_chance() -> None:
    assert accuracies("5g", "large", 1) > 55
    assert accuracies("5g", "very_large", 1) < 50


def test_shares_of_all_readers_sum_to_one() -> None:
    np.testing.assert_allclose([sum(shares) for shares in PRESETS.values()], 1)
    labels = [PRESETS[reader].labels for reader in ("small", "large", "very_large")]
    assert labels == sorted(labels)

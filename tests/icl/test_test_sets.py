"""Which queries runs are tested on: the same for all, as draws are on average, and others for each task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icl_cases import PARAMETERS, tiny_task
from scipy.stats import norm
from text_cases import tiny_text_task

from fedsim.icl.tasks.base import TestSet as Which
from fedsim.icl.tasks.calibrated import NAMES, Calibrated
from fedsim.icl.tasks.gaussian import class_means
from fedsim.icl.tasks.typical import _axes, _mirrored
from fedsim.streams import Streams


def test_orders_and_axes_by_hand() -> None:
    # 0 to 5 as 000 001 010 011 100 101, read backwards 0 4 2 6 1 5: their ranks.
    assert _mirrored(6).tolist() == [0, 3, 2, 5, 1, 4]
    # With the last digit turned round: 1 5 3 7 0 4.
    assert _mirrored(6, shift=0b1001).tolist() == [1, 4, 2, 5, 0, 3]
    assert _mirrored(1).tolist() == [0]
    axes = _axes([np.array([0, 3.0, 4.0]), np.array([0, 0, 1.0])], 3)
    np.testing.assert_allclose(axes, [[0, 0.6, 0.8], [0, -0.8, 0.6], [1, 0, 0]], atol=1e-12)
    # A second vector along the first says nothing: the next that does takes its place.
    np.testing.assert_allclose(_axes([np.eye(2)[1], np.eye(2)[1] / 3], 2), [[0, 1], [1, 0]])


@pytest.mark.parametrize("aligned", [0.6, 1.0, -1.0])
@pytest.mark.parametrize("counts", [(7, 10), (5, 1, 4)])
def test_each_part_of_the_distribution_has_one_query(counts: tuple[int, ...], aligned: float) -> None:
    parameters = PARAMETERS.model_copy(update={"base_alignment": aligned})
    data = tiny_task(test_counts=counts, parameters=parameters, task_seed=3).draw(Streams(0), 1)
    means, base = class_means(parameters, len(counts)), data.source.base
    for label, n in enumerate(counts):
        noise = data.test.x[0, data.test.y[0] == label] - means[label]
        others = np.arange(len(counts)) != label
        along = base[label, :-1] - base[others, :-1].mean(0)
        quantiles = np.sort(norm.cdf(noise @ along / np.linalg.norm(along)))
        np.testing.assert_allclose(quantiles, (np.arange(n) + 0.5) / n, atol=1e-9)
        # Each axis has the same n values, whatever their order.
        assert (noise**2).sum() == pytest.approx(8 * (norm.ppf((np.arange(n) + 0.5) / n) ** 2).sum())


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_set_is_no_lucky_draw(name: str) -> None:
    data = Calibrated.model_validate({"name": name}).draw(Streams(5), 1)
    x = np.append(data.test.x[0], np.ones((200, 1)), axis=1)
    expected = norm.cdf(data.source.parameters.base_alignment * data.source.parameters.separation / 2)
    for label in (0, 1):
        right = (x @ data.source.base.T).argmax(1)[data.test.y[0] == label] == label
        assert abs(right.sum() - len(right) * expected) <= 0.5 + 1e-9


@pytest.mark.parametrize(("which", "same"), [("fixed", True), ("redrawn", False)])
def test_whether_two_seeds_share_their_test_queries(which: Which, same: bool, tmp_path: Path) -> None:
    for task in (tiny_task(test_set=which), tiny_text_task(tmp_path, test_set=which, test_counts=[2, 3])):
        one, other = (task.draw(Streams(seed), 2).test for seed in (1, 2))
        assert np.array_equal(one.x, other.x) == same
        np.testing.assert_array_equal(one.y, other.y)


@pytest.mark.parametrize("which", ["fixed", "redrawn"])
def test_two_tasks_share_no_draw(which: Which) -> None:
    one, other = (
        tiny_task(task_seed=number, test_set=which).draw(Streams(1), 2, 1, 0.5) for number in (0, 1)
    )
    for name in ("train", "validation", "demonstrations"):
        assert not np.isclose(getattr(one, name).x, getattr(other, name).x).any()
    # Along the first axis fixed sets are alike, as their tasks are; elsewhere each has its own order.
    assert not np.array_equal(one.test.x[..., :2], other.test.x[..., :2])
    assert not np.array_equal(one.test.x[..., 2:], other.test.x[..., 2:])

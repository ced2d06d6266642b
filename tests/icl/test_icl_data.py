"""Who holds which data."""

from __future__ import annotations

import numpy as np
import pytest
from icl_cases import PARAMETERS, tiny_task

from fedsim.icl.tasks import TASKS
from fedsim.icl.tasks.calibrated import NAMES, Calibrated
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.streams import Streams

TABLE_2 = {
    "5g": (99, 101),
    "cola": (141, 59),
    "sst2": (99, 101),
    "mrpc": (135, 65),
    "qqp": (89, 111),
    "qnli": (108, 92),
}


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_sizes_and_class_counts(name: str) -> None:
    task = Calibrated.model_validate({"name": name})
    data = task.draw(Streams(0), 2)
    assert tuple(np.bincount(data.test.y[0])) == TABLE_2[name]
    assert data.train.x.shape == data.validation.x.shape == (2, 20, 8)
    assert data.train.y.sum(1).tolist() == data.validation.y.sum(1).tolist() == [10, 10]
    assert data.demonstrations.x.shape == (2, 2, 50, 8)
    assert (data.demonstrations.y == [[0], [1]]).all()
    assert data.source.words.shape == (100, 2, 9)


def test_queries_have_unit_variance_around_their_class_means() -> None:
    data = tiny_task(train_per_class=5000).draw(Streams(0), 1)
    for label in (0, 1):
        x = data.train.x[0, data.train.y[0] == label]
        # Means 4 apart: +-4 / sqrt(2) / 2 on the first two features; 5000 draws, standard error 0.014.
        sign = 1 - 2 * label
        expected = np.array([sign, -sign, 0, 0, 0, 0, 0, 0]) * 4 / np.sqrt(2) / 2
        np.testing.assert_allclose(x.mean(0), expected, atol=4 * 0.0142)
        np.testing.assert_allclose(x.std(0), 1, atol=4 * 0.01)


def test_demonstrations_are_near_their_class_means() -> None:
    data = tiny_task(n_demonstrations=5000).draw(Streams(0), 1)
    deviation = data.demonstrations.x[0].std(1)
    np.testing.assert_allclose(deviation, PARAMETERS.demo_noise, rtol=0.04)
    np.testing.assert_allclose(data.demonstrations.bias[0].std(1), 1, rtol=0.04)


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_worker_3_holds_the_same_data_among_4_and_among_7(alpha: float | None) -> None:
    few, many = (tiny_task().draw(Streams(9), n, dirichlet_alpha=alpha) for n in (4, 7))
    for split in ("train", "validation"):
        for mine, theirs in zip(getattr(few, split), getattr(many, split), strict=True):
            np.testing.assert_array_equal(mine[3], theirs[3])
    for mine, theirs in zip(few.demonstrations, many.demonstrations, strict=True):
        np.testing.assert_array_equal(mine[3], theirs[3])
    np.testing.assert_array_equal(few.test.x, many.test.x)
    assert not np.array_equal(many.train.x[3], many.train.x[4])


def test_a_run_s_seed_changes_the_data_and_not_the_task() -> None:
    one, other = (tiny_task().draw(Streams(seed), 1) for seed in (1, 2))
    for name in ("train", "validation", "demonstrations"):
        assert not np.array_equal(getattr(one, name).x, getattr(other, name).x)
    np.testing.assert_array_equal(one.source.words, other.source.words)
    other_task = tiny_task(task_seed=1).draw(Streams(1), 1)
    assert not np.array_equal(one.source.words, other_task.source.words)


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_pooled_queries_are_the_union_and_pools_take_turns(alpha: float | None) -> None:
    task = tiny_task(n_demonstrations=5)
    apart = task.draw(Streams(4), 6, dirichlet_alpha=alpha)
    together = task.draw(Streams(4), 2, pooled=3, dirichlet_alpha=alpha)
    for split in ("train", "validation"):
        for pooled, single in zip(getattr(together, split), getattr(apart, split), strict=True):
            np.testing.assert_array_equal(pooled[0], np.concatenate(list(single[:3])))
            np.testing.assert_array_equal(pooled[1], np.concatenate(list(single[3:])))
    for pooled, single in zip(together.demonstrations, apart.demonstrations, strict=True):
        assert pooled.shape[2] == 5
        for k in range(5):
            np.testing.assert_array_equal(pooled[1, :, k], single[3 + k % 3, :, k])
    np.testing.assert_array_equal(together.test.x, apart.test.x)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 20.0])
def test_dirichlet_proportions_follow_the_law(alpha: float) -> None:
    """A class count is beta-binomial: mean n/2, variance n/4 (alpha + n) / (alpha + 1) for two classes."""
    n, clients = 20, 3000
    y = tiny_task(train_per_class=10, n_demonstrations=1).draw(Streams(0), clients, 1, alpha).train.y
    counts = y.sum(1)
    assert y.shape == (clients, n)
    variance = n / 4 * (alpha + n) / (alpha + 1)
    assert abs(counts.mean() - n / 2) < 4 * (variance / clients) ** 0.5
    squares = (counts - n / 2) ** 2
    assert abs(squares.mean() - variance) < 4 * squares.std() / clients**0.5


def test_training_and_validation_of_a_client_share_their_proportions() -> None:
    data = tiny_task(train_per_class=20, validation_per_class=20).draw(Streams(0), 400, 1, 0.2)
    assert np.corrcoef(data.train.y.mean(1), data.validation.y.mean(1))[0, 1] > 0.9


def test_tasks_are_found_by_their_kind() -> None:
    assert TASKS["calibrated"] is Calibrated
    assert TASKS["synthetic"] is Synthetic
    assert all(part.source() for _, part in TASKS)

"""Real labelled texts: the six data sets of the paper's kinds, drawn in the paper's sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedsim.errors import InputError
from fedsim.icl.tasks.text import TextTask
from fedsim.streams import Streams

FOLDER = Path(__file__).parents[3] / "shared" / "datasets"
TEST_ROWS = {
    "sst2": ("sst2", 872),
    "cola": ("cola", 1000),
    "mrpc": ("mrpc", 408),
    "qqp": ("qqp", 1000),
    "qnli": ("qnli", 1000),
    "5g_terms": ("5g", 400),
}
"""Template and test rows by the name of the file."""

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of real texts is not there"),
]


def task(name: str) -> TextTask:
    """Return a data set with the paper's sizes: 10 + 10 + 50 rows per class and worker, 75 of 100 words."""
    template, _ = TEST_ROWS[name]
    return TextTask(file=str(FOLDER / f"{name}.jsonl"), prompt=template)


@pytest.mark.parametrize("name", TEST_ROWS)
def test_three_workers_of_the_paper_s_size(name: str) -> None:
    drawn = task(name)
    data = drawn.draw(Streams(0), 3)
    assert data.train.x.shape == data.validation.x.shape == (3, 20)
    assert data.demonstrations.x.shape == (3, 2, 50)
    assert data.test.x.shape == (1, 200)
    assert np.bincount(data.test.y[0]).tolist() == [100, 100]
    parts = (data.train, data.validation, data.test, data.demonstrations)
    used = np.concatenate([part.x.ravel() for part in parts])
    assert len(set(used.tolist())) == len(used) == 3 * 140 + 200
    corpus = drawn.corpus()
    assert corpus.is_test.sum() == TEST_ROWS[name][1]
    for part in parts:
        np.testing.assert_array_equal(corpus.labels[part.x], part.y)
        assert (corpus.is_test[part.x] == (part is data.test)).all()
    is_pair = name not in ("sst2", "cola")
    assert all(bool(text.b) == is_pair for text in data.source.rows)
    assert len(set(data.source.words)) == 100
    assert data.source.words == drawn.draw(Streams(0), 1, pooled=3).source.words


@pytest.mark.parametrize("name", TEST_ROWS)
def test_too_many_workers_are_told_how_many_rows_there_are(name: str) -> None:
    corpus = task(name).corpus()
    found = len(corpus.numbers(0, test=False))
    n_most = found // 70
    with pytest.raises(InputError, match=f"{n_most + 1} workers need {70 * n_most + 70} .* found {found} in"):
        task(name).draw(Streams(0), n_most + 1)

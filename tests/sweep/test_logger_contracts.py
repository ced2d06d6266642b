"""What every logger of the catalog keeps to.

A new kind is tested as soon as it is in its family; it needs a reader of its store here.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from fedsim.errors import InputError
from fedsim.loggers import LOGGERS, read_logger
from fedsim.loggers.base import Logged
from fedsim.scenario import load_scenario

Series = dict[str, list[tuple[int, float, float]]]
"""Step, simulated time (s) and value of each measurement."""


def from_tensorboard(place: Path) -> dict[str, Series]:
    """Return what TensorBoard itself reads, by the folder of the run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for folder in {file.parent for file in place.rglob("*tfevents*")}:
        board = EventAccumulator(str(folder))
        board.Reload()
        found[folder.name.rpartition("-")[2]] = {
            name: [(event.step, event.wall_time, event.value) for event in board.Scalars(name)]
            for name in board.Tags()["scalars"]
        }
    return found


def from_mlflow(place: Path) -> dict[str, Series]:
    """Return what MLflow itself reads, by the tag of the run."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place.as_uri())
    experiments = [one.experiment_id for one in client.search_experiments()]
    return {
        run.data.tags["fedsim.run_id"]: {
            name: [
                (one.step, one.timestamp / 1000, one.value)
                for one in client.get_metric_history(run.info.run_id, name)
            ]
            for name in run.data.metrics
            if name != "time_s"
        }
        for run in client.search_runs(experiments)
    }


class Example(NamedTuple):
    """How a kind is looked at from outside."""

    package: str
    """What it cannot do without."""
    read: Callable[[Path], dict[str, Series]]
    """Returns the runs in a store, by run_id, in the way of the tool that it is for."""


EXAMPLES = {
    "tensorboard": Example("tensorboard", from_tensorboard),
    "mlflow": Example("mlflow", from_mlflow),
}


def logged(run_id: str = "abc", name: str = "contract") -> Logged:
    steps = pd.DataFrame(
        {
            "step": [0, 1, 2],
            "time_s": [0.0, 1.5, 4.0],
            "llm_calls": [0, 3, 7],
            "loss": [3.0, np.nan, 1.0],
        }
    )
    return Logged(name, "", 7, run_id, {"workers.0.count": 3, "name": name}, {"loss": 1.0}, steps)


MEASURED = {
    "llm_calls": [(0, 0.0, 0.0), (1, 1.5, 3.0), (2, 4.0, 7.0)],
    "loss": [(0, 0.0, 3.0), (2, 4.0, 1.0)],
}


@pytest.fixture(params=sorted(LOGGERS.builtin))
def kind(request, monkeypatch) -> str:
    assert request.param in EXAMPLES, f"give a reader of {request.param!r} in EXAMPLES"
    pytest.importorskip(EXAMPLES[request.param].package)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return request.param


@pytest.fixture
def logger(kind, tmp_path):
    return read_logger(f"{kind}:{tmp_path / 'store'}")


def test_no_example_of_what_is_not_there():
    assert EXAMPLES.keys() == LOGGERS.builtin.keys()


def test_its_own_tool_reads_what_was_measured(kind, logger, tmp_path):
    logger.check()
    logger.log(logged())
    logger.log(logged("def"))
    assert EXAMPLES[kind].read(tmp_path / "store") == {"abc": MEASURED, "def": MEASURED}


def test_it_has_what_it_was_given_and_nothing_else(kind, logger, tmp_path):
    # Two homes of its kind do not know of each other.
    other = read_logger(f"{kind}:{tmp_path / 'other'}")
    other.log(logged())
    assert other.has(logged())
    assert not logger.has(logged())
    assert not other.has(logged("def"))
    assert not other.has(logged(name="another"))


def test_it_travels_to_the_process_of_a_run(logger):
    assert pickle.loads(pickle.dumps(logger)) == logger


def test_a_home_for_finished_runs_notes_no_steps(logger, small, tmp_path):
    logger.step(load_scenario(small), {"step": 0, "time_s": 0.0, "loss": 1.0})
    assert not (tmp_path / "store").exists()


def test_a_place_that_cannot_be_written_to_is_a_sentence(kind, logger, tmp_path):
    (tmp_path / "store").write_text("mine")
    with pytest.raises(InputError) as error:
        logger.log(logged())
    assert str(tmp_path / "store") in str(error.value)
    assert len(str(error.value).splitlines()) == 1

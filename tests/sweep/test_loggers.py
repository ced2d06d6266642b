"""Loggers: what runs measured is read back from the stores of TensorBoard and MLflow themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fedsim
from fedsim import loggers, results
from fedsim.errors import InputError
from fedsim.loggers.base import Logged

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

BOTH = ("--log", "tensorboard:board", "--log", "mlflow:flow")


@pytest.fixture
def flow(monkeypatch, tmp_path):
    """MLflow's own client on the folder."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return MlflowClient(tracking_uri=(tmp_path / "flow").as_uri())


def test_what_a_logger_is_given():
    steps = pd.DataFrame({"step": [0, 1, 2], "time_s": [0.0, 1.5, 4.0], "loss": [3.0, np.nan, 1.0]})
    (loss,) = Logged("a", "", 0, "id", {}, {}, steps).measured().values()
    assert loss.to_dict("list") == {"step": [0, 2], "time_s": [0.0, 4.0], "value": [3.0, 1.0]}


def test_both_stores_hold_what_the_steps_say(command, small, tmp_path, flow):
    answer = command("run", small, *BOTH)
    assert (answer.code, answer.err) == (0, "")
    (folder,) = results.find_runs(Path("results"))
    steps = fedsim.load_results(folder, "steps")
    measured = steps.dropna(subset=["loss"])

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "board" / "small" / f"small-seed-0-{folder.name}"))
    board.Reload()
    events = board.Scalars("loss")
    assert [event.step for event in events] == list(measured.step)
    assert [event.wall_time for event in events] == list(measured.time_s)
    np.testing.assert_allclose([event.value for event in events], measured.loss, rtol=1e-6)
    assert [event.step for event in board.Scalars("worker_updates")] == list(range(13))
    (text,) = board.Tensors("settings")
    assert b'algorithm.kind = "asyndbt"' in text.tensor_proto.string_val[0]
    assert b"workers.0.count = 3" in text.tensor_proto.string_val[0]

    experiment = flow.get_experiment_by_name("small")
    (run,) = flow.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["fedsim.run_id"] == folder.name
    assert run.data.params["workers.0.count"] == "3"
    assert run.data.params["algorithm.kind"] == '"asyndbt"'
    history = flow.get_metric_history(run.info.run_id, "loss")
    assert [one.step for one in history] == list(measured.step)
    assert [one.value for one in history] == list(measured.loss)
    assert [one.timestamp for one in history] == [round(1000 * time_s) for time_s in measured.time_s]
    clock = flow.get_metric_history(run.info.run_id, "time_s")
    assert [one.value for one in clock] == list(steps.time_s)


def test_a_sweep_logs_each_run_once_also_those_found_finished(command, small, tmp_path, flow, monkeypatch):
    from fedsim.loggers import mlflow

    def ask_again() -> None:
        mlflow._known.cache_clear()

    words = ("sweep", small, "--set", "sweep.replicates=3", "--jobs", 1)
    command("sweep", small, "--set", "sweep.replicates=2", "--jobs", 1)
    for _ in range(2):
        answer = command(*words, *BOTH)
        assert (answer.code, answer.err) == (0, "")
        ask_again()
        assert len(list((tmp_path / "board" / "small").iterdir())) == 3
        experiment = flow.get_experiment_by_name("small")
        found = flow.search_runs([experiment.experiment_id])
        assert {run.data.tags["fedsim.run_id"] for run in found} == {
            one.name for one in results.find_runs(Path("results"))
        }
        assert len(found) == 3


def test_a_logger_that_fails_is_left_aside_and_told(command, small, tmp_path):
    (tmp_path / "board").mkdir()
    (tmp_path / "board" / "small").write_text("mine")
    answer = command("sweep", small, "--set", "sweep.replicates=2", "--jobs", 1, *BOTH[:2])
    assert answer.code == 1
    assert answer.out.startswith("2 runs: 2 done\n")
    assert answer.err.startswith("fedsim: cannot write to board/small/small-seed-0-")
    assert answer.err.endswith("; nothing more was logged there\n")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
@pytest.mark.parametrize("place", ["mine", "mine/board", "x" * 300, "ring"])
def test_a_place_that_cannot_be_written_is_told_before_anything_runs(command, small, tmp_path, kind, place):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "ring").symlink_to("ring")
    answer = command("run", small, "--log", f"{kind}:{place}")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"fedsim: --log '{kind}:{place}': cannot write there: ")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_what_is_not_installed_is_a_sentence_before_anything_runs(
    command, small, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(f"fedsim.loggers.{kind}.find_spec", lambda name: None)
    answer = command("run", small, "--log", f"{kind}:x")
    assert answer == (2, "", f"fedsim: --log {kind} needs: pip install 'fedsim-icl[{kind}]'\n")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "tensorbord:x",
            "no logger 'tensorbord'; did you mean 'tensorboard'? (known: tensorboard, mlflow, or ",
        ),
        ("tensorboard", "expected KIND:PLACE, as in tensorboard:FOLDER"),
        ("mlflow:", "expected KIND:PLACE"),
        ("tensorboard: ", "expected KIND:PLACE"),
        ("mlflow:htp://host", "unknown 'htp:'; did you mean 'http'? (expected a folder or one of http://, "),
        ("mlflow:htps://host:5000/a", "unknown 'htps:'; did you mean 'https'?"),
        ("mlflow:postgre+psycopg2://host/runs", "unknown 'postgre+psycopg2:'"),
        ("mlflow:http:/host:5000", "expected http://"),
        ("mlflow:sqlite:runs.db", "expected sqlite://"),
        ("mlflow:localhost:5000", "found a host and port alone; did you mean 'http://localhost:5000'?"),
        ("mlflow:http://", "no host that can be reached"),
        ("mlflow:https://host:five", "no host that can be reached"),
        (
            "tensorboard:s3://bucket/runs",
            "unknown 's3:' (expected a folder; a folder with a colon is ./NAME",
        ),
    ],
)
def test_a_wrong_logger_is_a_sentence(command, small, text, sentence):
    answer = command("run", small, "--log", text)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedsim: --log {text!r}: {sentence}")
    assert answer.err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["small.toml"]


@pytest.mark.parametrize(
    "place",
    [
        "runs",
        "./my:runs",
        "a/b:c",
        "C:/runs",
        "http://host:5000",
        "postgresql+psycopg2://host/runs",
        "uc://x",
    ],
)
def test_a_right_place(place):
    loggers.read_logger(f"mlflow:{place}").check()


def test_a_store_that_mlflow_cannot_open_is_a_sentence(monkeypatch):
    for place in ("nonsense://x", "sqlite:////nowhere/x.db"):
        logger = loggers.read_logger(f"mlflow:{place}")
        with pytest.raises(InputError) as error:
            logger.has(Logged("a", "", 0, "id", {}, {}, pd.DataFrame()))
        assert str(error.value).startswith(f"--log mlflow:{place}: ")
        assert len(str(error.value).splitlines()) == 1


def test_settings_are_read_back_from_json(command, small, flow):
    command("run", small, *BOTH[2:])
    (run,) = flow.search_runs([flow.get_experiment_by_name("small").experiment_id])
    settings = {key: json.loads(value) for key, value in run.data.params.items()}
    assert settings["algorithm.cuts.every"] == 4
    assert sys.modules["mlflow"]

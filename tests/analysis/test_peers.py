"""The comparison with other simulators: its plain program, its table, and peers that fail."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.benchmarks.bench import history
from tests.benchmarks.peers import __main__ as peers
from tests.benchmarks.peers import cells, data, reference, table
from tests.benchmarks.peers.cells import PeerCell
from tests.benchmarks.peers.simulators import SIMULATORS, PeerError, Simulator, last_line
from tests.benchmarks.peers.work import LEARNING_RATE, CommonWork, ReadyRunner, mean_loss, measured


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data.write(tmp_path_factory.mktemp("peers") / "data.npz", 4)


def _task(path: Path, mode: str, updates: int, clients: int = 2) -> CommonWork:
    with np.load(path) as arrays:
        return CommonWork(mode, updates, arrays["features"][:clients], arrays["labels"][:clients])


def _line(**changes: Any) -> dict[str, Any]:
    line = {
        "simulator": "fedsim",
        "version": "1.0",
        "method": "fedavg",
        "mode": "sync",
        "clients": 1000,
        "updates": 5000,
        "measured_updates": 4000,
        "wall_s": 2.0,
        "cpu_s": 1.0,
        "setup_s": 0.25,
        "peak_mib": 300.0,
        "loss": 1.0,
        "differs": [],
    }
    return {**line, **changes}


# The plain program


def test_the_gradient_is_that_of_the_mean_loss(path: Path) -> None:
    task = _task(path, "sync", 2, clients=1)
    weights = torch.tensor(np.random.default_rng(0).normal(size=(61, 10)), requires_grad=True)
    x, y = torch.tensor(task.features[0], dtype=torch.float64), torch.tensor(task.labels[0])
    loss = torch.nn.functional.cross_entropy(x @ weights[:-1] + weights[-1], y)
    loss.backward()  # type: ignore[no-untyped-call]
    ours = weights.detach().numpy()
    assert mean_loss(ours, task.features, task.labels) == pytest.approx(loss.item(), rel=1e-12)
    assert weights.grad is not None
    np.testing.assert_allclose(
        reference.gradient(ours, x.numpy(), task.labels[0]), weights.grad.numpy(), rtol=0, atol=1e-12
    )


def test_a_synchronous_round_is_the_mean_of_the_clients_models(path: Path) -> None:
    task = _task(path, "sync", 4)
    weights = np.zeros((61, 10))
    for _ in range(2):
        models = [
            weights - LEARNING_RATE * reference.gradient(weights, x.astype(float), y)
            for x, y in zip(task.features, task.labels, strict=True)
        ]
        weights = (models[0] + models[1]) / 2
    np.testing.assert_allclose(reference.weights_after(task, "fedavg"), weights, rtol=0, atol=1e-12)


def test_a_stale_message_is_mixed_in_with_a_smaller_share(path: Path) -> None:
    task = _task(path, "async", 3)

    def trained(client: int, weights: np.ndarray) -> np.ndarray:
        x, y = task.features[client].astype(float), task.labels[client]
        return weights - LEARNING_RATE * reference.gradient(weights, x, y)

    zero = np.zeros((61, 10))
    first = 0.4 * zero + 0.6 * trained(0, zero)
    # Client 1 has read the first model, one step ago; so has client 0 the next time.
    share = 0.6 / math.sqrt(2)
    second = (1 - share) * first + share * trained(1, zero)
    third = (1 - share) * second + share * trained(0, first)
    np.testing.assert_allclose(reference.weights_after(task, "fedasync"), third, rtol=0, atol=1e-12)


def test_a_change_is_added_to_the_newest_model(path: Path) -> None:
    task = _task(path, "async", 3)
    x, y = task.features.astype(float), task.labels
    zero = np.zeros((61, 10))
    first = -LEARNING_RATE * reference.gradient(zero, x[0], y[0])
    second = first - LEARNING_RATE * reference.gradient(zero, x[1], y[1])
    third = second - LEARNING_RATE * reference.gradient(first, x[0], y[0])
    np.testing.assert_allclose(reference.weights_after(task, "fedbuff"), third, rtol=0, atol=1e-12)


def test_one_client_a_round_goes_on_from_the_newest_model(path: Path) -> None:
    task = _task(path, "async", 2)
    x, y = task.features.astype(float), task.labels
    first = -LEARNING_RATE * reference.gradient(np.zeros((61, 10)), x[0], y[0])
    second = first - LEARNING_RATE * reference.gradient(first, x[1], y[1])
    np.testing.assert_allclose(
        reference.weights_after(task, "one client a round"), second, rtol=0, atol=1e-12
    )


def test_the_first_clients_have_the_same_data_however_many_there_are(path: Path, tmp_path: Path) -> None:
    with np.load(path) as four, np.load(data.write(tmp_path / "two.npz", 2)) as two:
        np.testing.assert_array_equal(four["features"][:2], two["features"])
        np.testing.assert_array_equal(four["labels"][:2], two["labels"])


# One cell


def test_what_comes_before_the_clock_is_not_counted(path: Path) -> None:
    task, calls = _task(path, "sync", 6), []

    def prepare(task: CommonWork) -> ReadyRunner:
        return ReadyRunner(
            "fedavg", lambda: np.zeros((61, 10)), ("no clock",), lambda: calls.append("warm"), 2
        )

    line = measured("numpy", "numpy", prepare, task)
    assert calls == ["warm"]
    assert (line["updates"], line["measured_updates"], line["differs"]) == (6, 4, ["no clock"])
    assert line["version"] == np.__version__
    assert line["loss"] == pytest.approx(math.log(10), rel=1e-12)


def test_cells_are_whole_rounds_and_at_least_two_of_them() -> None:
    assert PeerCell("sync", 100, 5_000).updates_of(Simulator("a", "a")) == 5_000
    assert PeerCell("sync", 300, 1_000).updates_of(Simulator("a", "a")) == 900
    assert PeerCell("sync", 1_000, 1_000).updates_of(Simulator("a", "a", share=0.1)) == 2_000
    assert PeerCell("async", 1_000, 50).updates_of(Simulator("a", "a", share=4)) == 200


def _asked(monkeypatch: pytest.MonkeyPatch, program: str) -> Simulator:
    """A simulator whose runner is this text."""
    monkeypatch.setattr(Simulator, "program", lambda self: [sys.executable, "-c", program])
    return Simulator("other", "other")


def test_a_runner_that_learns_the_same_is_measured(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    task = _task(path, "sync", 4)
    loss = mean_loss(reference.weights_after(task, "fedavg"), task.features, task.labels)
    text = f"import json; print('hello'); print(json.dumps({_line(clients=2, updates=4, loss=loss)}))"
    found = cells.measure(_asked(monkeypatch, text), PeerCell("sync", 2, 4), path, limit_s=60)
    assert found["loss"] == loss


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('there is no torch here')", "failed: there is no torch here"),
        ("import time; time.sleep(600)", "took more than 1 s"),
        (
            f"import json; print(json.dumps({_line(clients=2, updates=4, loss=7.5)}))",
            "learned something else: its loss is 7.5 and not 1.77",
        ),
    ],
    ids=["fails", "too long", "another loss"],
)
def test_a_runner_that_does_not_do_the_work_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, path: Path, program: str, reason: str
) -> None:
    with pytest.raises(PeerError) as refused:
        cells.measure(
            _asked(monkeypatch, program),
            PeerCell("sync", 2, 4),
            path,
            limit_s=1 if "sleep" in program else 60,
        )
    assert str(refused.value).startswith(reason)


def test_the_last_line_of_a_stack_trace_says_what_is_wrong() -> None:
    assert last_line("Traceback:\n  at line 1\nValueError: no\n\n") == "ValueError: no"
    assert last_line("\n") == "it said nothing"


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_fedsim_learns_what_the_plain_program_learns(path: Path, mode: str) -> None:
    fedsim = next(one for one in SIMULATORS if one.name == "fedsim")
    found = cells.measure(fedsim, PeerCell(mode, 4, 10), path, limit_s=300)
    assert found["updates"] == 40
    assert found["loss"] == pytest.approx(cells.expected_loss(path, found["method"], mode, 4, 40), rel=1e-12)


# All cells


def test_who_fails_is_named_once_and_not_asked_again(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    asked: list[str] = []

    def answer(simulator: Simulator, cell: PeerCell, path: Path, limit_s: float) -> dict[str, Any]:
        asked.append(simulator.name)
        if simulator.name == "slow":
            raise PeerError("took more than 9 s")
        return _line(simulator=simulator.name, cpu_s=4.0 / len(asked))

    monkeypatch.setattr(cells, "measure", answer)
    both = [Simulator("fedsim", "fedsim"), Simulator("slow", "slow")]
    turns, failed = peers.in_turns(both, [PeerCell("sync", 1000, 5000)], path, repeats=2, limit_s=9)
    assert asked == ["fedsim", "slow", "fedsim"]
    assert [[turn["cpu_s"] for turn in each] for each in turns] == [[4.0, 4.0 / 3]]
    assert failed == ["slow, synchronous with 1,000 clients, is left out: it took more than 9 s"]


def test_who_cannot_be_installed_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def install(self: Simulator) -> None:
        if self.name == "old":
            raise PeerError("could not be installed: it needs Python 2")

    monkeypatch.setattr(Simulator, "install", install)
    new = Simulator("new", "new")
    assert peers.installed([Simulator("old", "old"), new]) == (
        [new],
        ["old is left out: it could not be installed: it needs Python 2"],
    )


def test_peers_are_the_yardsticks_of_what_is_kept() -> None:
    turns = [[_line(cpu_s=1.0), _line(cpu_s=2.0)], [_line(simulator="pfl", mode="async", cpu_s=8.0)]]
    assert peers.figures(turns) == {
        "times": {"fedsim sync 1000": [250.0, 500.0]},
        "yardsticks": {"pfl async 1000": [2000.0]},
        "memory": {"fedsim sync 1000": [300.0, 300.0]},
    }


def test_what_is_worse_than_before_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"times": {"fedsim sync 100": [60.0, 61.0]}, "yardsticks": {"pfl sync 100": [1000.0]}}
    monkeypatch.setattr(history, "last", lambda bench: (None, "nothing was saved before"))
    assert peers.comparison(now) == (False, ["Nothing to compare with: nothing was saved before."])
    before = {"commit": "abc", "date": "Monday", "figures": now}
    monkeypatch.setattr(history, "last", lambda bench: (before, ""))
    assert peers.comparison(now) == (False, ["Nothing is worse than in abc of Monday."])
    slower = {**now, "times": {"fedsim sync 100": [90.0, 91.0]}}
    told = "fedsim sync 100: 1.50 times as much as in abc of Monday, noise 5%."
    assert peers.comparison(slower) == (True, [told])


def test_of_several_turns_the_best_counts_and_the_most_memory() -> None:
    turns = [_line(wall_s=2.0, cpu_s=1.5, peak_mib=300.0), _line(wall_s=3.0, cpu_s=1.0, peak_mib=310.0)]
    assert table.best(turns) == _line(wall_s=2.0, cpu_s=1.0, peak_mib=310.0)


def test_the_table_by_hand() -> None:
    rows = [
        _line(),
        _line(
            simulator="pfl", version="0.6", cpu_s=8.0, wall_s=10.0, setup_s=1.234, differs=["it has no clock"]
        ),
        _line(
            mode="async",
            clients=100,
            measured_updates=50,
            differs=["ticks", "it has no clock"],
            simulator="pfl",
        ),
    ]
    text = table.markdown(rows, ["slow is left out: it slept"])
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    assert lines[0] == list(table.HEAD)
    assert lines[2:] == [
        ["synchronous", "1,000", "fedsim 1.0", "4,000", "2,000", "", "0.25", "300", ""],
        ["synchronous", "1,000", "pfl 0.6", "500", "400", "8 times faster", "1.23", "300", "1"],
        ["asynchronous", "100", "pfl 1.0", "50", "25", "", "0.25", "300", "2, 1"],
    ]
    widths = {len(line) for line in text.splitlines() if line[:1] == "|"}
    assert len(widths) == 1
    assert "1. pfl: it has no clock.\n2. pfl: ticks.\n\n- slow is left out: it slept" in text

"""Local BDPL: each worker is a Fed-BDPL run of its own, nothing is sent, and nobody waits for anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.algorithms.averaging.averager import Averager
from fedsim.algorithms.base import Bench
from fedsim.algorithms.local.alone import Alone
from fedsim.errors import InputError
from fedsim.learning import chunks
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import JobCost, Snapshot, Ticket
from fedsim.problems.icl.problem import IclProblem
from fedsim.results import find_runs
from fedsim.scenario import load_scenario
from fedsim.simulation import Run, run
from fedsim.streams import Streams
from fedsim.verify import verify

# Calls take 1 s, one after the other: a job of E steps is E s of worker 0, 3 E s of worker 2.
FILE = """
[algorithm]
kind = "bdpl"
local_steps = 2
optimizer = { kind = "adam", learning_rate = 0.05 }

[problem]
kind = "icl"
n_samples = 2
batch = 1
evaluation_samples = 2
model = { kind = "surrogate" }
task = { kind = "calibrated", name = "sst2", n_words = 3, n_candidates = 5, test_counts = [4, 4] }
use_demonstrations = false

[[workers]]
count = 2
lanes = 1

[[workers]]
name = "slow"
count = 1
lanes = 1
slow_down = 3.0

[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.5 }

[budget]
horizon_s = 13.0

[evaluation]
every_steps = 1
"""
FEDERATED = '{kind = "fedbdpl", local_steps = 2, optimizer = {kind = "adam", learning_rate = 0.05}}'
STOPPED = 'workers.1={name = "slow", count = 1, lanes = 1, slow_down = 3.0, stops_at_s = 7.0}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "alone.toml"
    place.write_text(FILE)
    return place


def sampled(kind: type[Averager] | type[Alone], n_workers: int, local_steps: int = 2) -> Any:
    """Return the learner of a sampled in-context problem of three classes with words and demonstrations."""
    parameters = {"base_alignment": 0.5, "demo_step": 0.3, "word_gain": 0.7, "label_bias": 0.8}
    sizes = {"n_words": 3, "n_candidates": 5, "n_demonstrations": 4, "train_per_class": 2}
    task = {"kind": "synthetic", "parameters": parameters, "test_counts": [5, 5, 5], **sizes}
    problem = IclProblem.model_validate({"task": task, "n_samples": 4, "batch": 3})
    return kind(Bench(problem, n_workers, Streams(3)), Adam(learning_rate=0.05), local_steps)


def do(half: Any, worker: int, job: int) -> None:
    """Let a worker do a job, and the server take it."""
    content = half.state if isinstance(half, Averager) else None
    half.hand_out(Job(worker, job, "local", content))
    half.take_step([Ticket(worker, job, "local", Snapshot(job, content), 0.0, 0.0)])


def test_it_is_a_fed_bdpl_run_for_each_worker() -> None:
    """Each on the same data and draws; theta of one worker goes to the server and back, which rounds it."""
    alone = sampled(Alone, 3)
    turns = [0, 1, 2, 2, 0, 2, 1, 0, 0, 2, 1, 2]
    for number, worker in enumerate(turns):
        do(alone, worker, turns[:number].count(worker))
    found = []
    for worker in range(3):
        single = sampled(Averager, 3)
        for job in range(turns.count(worker)):
            do(single, worker, job)
        torch.testing.assert_close(alone.tables.P[worker], single.state.z[0:], rtol=0, atol=1e-13)
        torch.testing.assert_close(alone.tables.Q[worker], single.tables.Q[worker], rtol=0, atol=1e-13)
        measured = single.evaluate([worker])
        assert alone.evaluate([worker])["loss"] == pytest.approx(measured["loss"], abs=1e-12)
        found.append(measured["accuracy"])
    assert alone.evaluate([0, 1, 2])["accuracy"] == pytest.approx(sum(found) / 3, abs=1e-12)
    p = alone.tables.P
    assert min(float((p[v] - alone._oracle.start_p).abs().max()) for v in range(3)) > 0.05
    # The consensus that is measured is what one averaging would give.
    mean = alone._oracle.evaluate([0], p[:1], alone.tables.Q[:1], p.mean(0))
    assert alone.evaluate([0])["loss_consensus"] == pytest.approx(mean["loss_consensus"], abs=1e-12)


def test_what_is_measured_is_what_was_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever jobs in flight have been evaluated by then, and however they are batched."""
    ahead, late = sampled(Alone, 3), sampled(Alone, 3)
    for worker in range(3):
        ahead.hand_out(Job(worker, 0, "local", None))
    ahead.take_step([Ticket(1, 0, "local", Snapshot(0, None), 0.0, 0.0)])
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", 1)
    do(late, 1, 0)
    assert ahead.evaluate([0, 1, 2]) == pytest.approx(late.evaluate([0, 1, 2]), abs=1e-12)
    assert torch.equal(ahead.reported_p[0], ahead._oracle.start_p)
    assert not torch.equal(ahead.tables.P[0], ahead._oracle.start_p)


def test_who_loses_its_state_has_lost_its_prompt() -> None:
    alone = sampled(Alone, 2)
    for job in range(2):
        for worker in range(2):
            do(alone, worker, job)
    held = alone.reported_p[0].clone()
    alone.forget(1)
    assert torch.equal(alone.reported_p[1], alone._oracle.start_p)
    assert torch.equal(alone.reported_p[0], held)
    for other in (fresh := sampled(Alone, 2)), alone:
        do(other, 1, 2)
    assert torch.equal(fresh.reported_p[1], alone.reported_p[1])


@pytest.fixture
def simulated(file: Path) -> Any:
    def simulate(*overrides: str) -> Run:
        return run(load_scenario(file, overrides=overrides))

    return simulate


def test_every_worker_goes_at_its_own_pace(simulated: Any) -> None:
    """A job is 2 steps of 2 samples: 4 calls of 0.5 s. By 13 s that is 6 jobs of a worker, 2 of the slow."""
    found = simulated()
    assert found.summary["ended"] == "budget"
    assert found.workers.jobs.tolist() == [6, 6, 2]
    assert found.steps.time_s.tolist() == [0.0, *sorted([2.0 * n for n in range(1, 7)] * 2 + [6.0, 12.0])]
    assert found.summary["llm_calls"] == 14 * 4
    assert (found.summary["bytes_up"], found.summary["bytes_down"]) == (0, 0)
    assert found.workers[["seconds_waiting", "seconds_uploading"]].to_numpy().max() == 0
    # One that never ends its job holds nobody up, and is measured as it was.
    stopped = simulated(STOPPED)
    assert stopped.workers.jobs.tolist() == [6, 6, 1]


def test_one_worker_alone_is_fed_bdpl_with_one(simulated: Any) -> None:
    """Where neither server nor network takes time, also on the clock."""
    one = ("workers=[{count = 1, lanes = 1}]",)
    alone = simulated(*one)
    federated = simulated(*one, f"algorithm={FEDERATED}", "server.step_s=0.0")
    shared = [column for column in alone.steps if column in federated.steps and "bytes" not in column]
    assert {"time_s", "loss", "accuracy", "llm_calls", "validation_loss", "p_max"} <= set(shared)
    torch.testing.assert_close(
        *(torch.tensor(one.steps[shared].to_numpy(float)) for one in (alone, federated)),
        rtol=0,
        atol=1e-12,
        equal_nan=True,
    )


def test_its_books_hold(command: Any, file: Path) -> None:
    coming = (
        "workers.0.availability={ kind = 'on_off', on = { kind = 'exponential', mean_s = 5.0 }, "
        "off = { kind = 'exponential', mean_s = 2.0 } }"
    )
    rejoining = ("workers.0.on_return=rejoin", "record.spans=true", "budget.horizon_s=60.0")
    words = [word for setting in (coming, *rejoining) for word in ("--set", setting)]
    assert command("run", file, *words).code == 0
    (folder,) = find_runs(Path("results"))
    assert [check for check in verify(folder) if check.violation] == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algorithm.aggregation={outer={kind='median'}}", "algorithm.aggregation: bdpl has no aggregation"),
        ("algorithm.tau=3", "algorithm.tau: bdpl has no tau"),
        ("algorithm.participants=2", "algorithm.participants: bdpl has no participants"),
        ("network={kind='star', link={mbps=1}}", "network: has no effect: workers exchange nothing"),
        ("server.evict_after_s=3.0", "server: has no effect: workers exchange nothing"),
        ("workers.0.upload={kind='constant', value_s=1}", "workers.0.upload: has no effect: workers exch"),
        ("workers.0.download_mbps=1.0", "workers.0.download_mbps: has no effect: "),
        ("attacks=[{kind='sign_flip', workers=[0]}]", "'sign_flip' attacks what workers send or when"),
        ("attacks=[{kind='rushing', workers=[0]}]", "'rushing' attacks what workers send or when"),
    ],
)
def test_what_it_has_no_use_for_is_refused(file: Path, override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        load_scenario(file, overrides=[override])
    assert said in str(error.value)


def test_the_cost_of_several_steps_in_one_job() -> None:
    once = JobCost(
        *(2, 30, 4), bytes_up=5, bytes_down=6, tokens_cached=7, own_tokens=8, own_gradient_tokens=9
    )
    assert once.repeated(3) == JobCost(6, 90, 12, 5, 6, 21, 24, 27)

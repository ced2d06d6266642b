"""IFed-ICL: against a plain loop, by arithmetic, under attack, with late workers, and with a known task."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from injection_cases import bench, known_task, oracle, problem, problem_table, rows, scenario, texts, weights
from text_cases import write_jsonl
from torch import Tensor
from waiting import LIMIT_S

from fedsim import sweep
from fedsim.algorithms.ifedicl.calibrator import Calibrator
from fedsim.algorithms.ifedicl.store import Learned
from fedsim.attack import Assigned
from fedsim.errors import InputError
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators.mean import Mean
from fedsim.learning.aggregators.median import Median
from fedsim.learning.attacks.same_value import SameValue
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.injection.oracle import InjectionOracle
from fedsim.scenario import load_variants
from fedsim.simulation import run
from fedsim.streams import Streams
from fedsim.verify import verify

VECTORS_BYTES, COEFFICIENTS_BYTES = 2 * 2 * 64 * 2, 4 * 2 * 4
N_PROMPT_TOKENS = 60
"""Template and text, as stated."""
STATED = {"tokens": {"template_tokens": 20, "text_tokens": 40}}


def calibrator(n_workers: int = 2, rule: Aggregation | None = None, **settings: Any) -> Calibrator:
    attacks = settings.pop("attacks", ())
    made = bench(n_workers, attacks, **settings)
    return Calibrator(made, Adam(learning_rate=0.05), 2, (0.1, 1.0), True, False, rule)


def step(learner: Calibrator, kind: str, job: int, workers: list[int], version: int = 0, **more: Any) -> Any:
    """Hand a job to these workers, in any order, and let the server step with them."""
    snapshot = Snapshot(version, learner.state)
    for worker in workers:
        learner.hand_out(Job(worker, job, kind, learner.state, **more))
    return learner.take_step([Ticket(worker, job, kind, snapshot, 0.0, 1.0) for worker in workers])


def opened(learner: Calibrator, workers: list[int]) -> Any:
    return step(learner, "extract", 0, workers)


def half(vectors: Tensor) -> Tensor:
    return vectors.half().double()


def test_one_client_is_the_single_client_method() -> None:
    """A plain loop: Adam written out, from the worker's own vectors, with E steps a job."""
    found = oracle(1)
    vectors = half(found.extract([0]))
    c = torch.tensor([0.1, 1.0], dtype=torch.float64).expand(1, 2, 2, 2).clone()
    m, v = torch.zeros_like(c), torch.zeros_like(c)
    for count in range(1, 7):
        # Job 1 makes steps 2 and 3, job 2 steps 4 and 5: job 0 has taken the vectors.
        g = found.gradients([0], [count + 1], vectors, c)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        c = c - 0.05 * (m / (1 - 0.9**count)) / ((v / (1 - 0.999**count)).sqrt() + 1e-8)

    learner = calibrator(1)
    opened(learner, [0])
    assert torch.equal(learner.state.vectors, vectors[0])
    for job in (1, 2, 3):
        state = step(learner, "calibrate", job, [0], job)
    torch.testing.assert_close(state.lanes[0], c[0], atol=1e-6, rtol=0)

    alone = run(
        scenario({"kind": "i2cl", "local_steps": 2}, workers=[{"count": 1, "own_model": {"token_s": 1}}])
    )
    federated = run(scenario({"local_steps": 2}, workers=[{"count": 1, "own_model": {"token_s": 1}}]))
    for column in ("loss", "accuracy", "loss_zero_vectors", "accuracy_unbiased"):
        assert alone.summary[column] == pytest.approx(federated.summary[column], abs=1e-12), column
    assert alone.prompt is not None
    assert federated.prompt is not None
    assert {*alone.prompt.whose} == {"worker 0"}
    assert {*federated.prompt.whose} == {"consensus"}
    for column in ("norm", "strength", "kept"):
        assert alone.prompt[column].tolist() == pytest.approx(federated.prompt[column].tolist())


def test_vectors_and_coefficients_are_means_over_workers_in_whatever_order_they_come() -> None:
    found = oracle(3)
    learners = [calibrator(3) for _ in range(2)]
    for learner, order in zip(learners, ([0, 1, 2], [2, 0, 1]), strict=True):
        opened(learner, order)
        step(learner, "calibrate", 1, order, 1)
    mean = half(half(found.extract([0, 1, 2])).mean(0))
    assert torch.equal(learners[0].state.vectors, mean)
    assert torch.equal(learners[0].state.vectors, learners[1].state.vectors)
    for lane, other in zip(learners[0].state.lanes, learners[1].state.lanes, strict=True):
        assert torch.equal(lane, other)
    own = learners[0].workshop.lanes[0].own
    torch.testing.assert_close(learners[0].state.lanes[0], own.mean(0), atol=1e-12, rtol=0)
    assert not torch.equal(own[0], own[1])


def test_the_control_is_the_same_with_vectors_of_zero() -> None:
    found = oracle(2)
    learner = calibrator(2)
    opened(learner, [0, 1])
    step(learner, "calibrate", 1, [0, 1], 1)
    c = torch.tensor([0.1, 1.0], dtype=torch.float64).expand(2, 2, 2, 2).clone()
    first = found.gradients([0, 1], [2, 2], torch.zeros(2, 2, 2, 64), c)
    # lambda stays where it is: nothing depends on it. A first step of Adam is one learning rate.
    assert not first[..., 0].any()
    moved = learner.workshop.lanes[1].own
    assert torch.equal(moved[..., 0], c[..., 0])
    assert not torch.equal(learner.workshop.lanes[0].own[..., 0], c[..., 0])
    assert not torch.equal(learner.workshop.lanes[0].own[..., 1], moved[..., 1])


def test_a_late_workers_vectors_are_averaged_in() -> None:
    found = oracle(3)
    learner = calibrator(3)
    opened(learner, [0, 2])
    early = half(found.extract([0, 2]))
    assert torch.equal(learner.state.vectors, half(early.mean(0)))
    # It comes in beside others' coefficients.
    before = learner.state
    learner.hand_out(Job(1, 0, "extract", before))
    learner.hand_out(Job(0, 1, "calibrate", before))
    snapshot = Snapshot(1, before)
    state = learner.take_step(
        [Ticket(0, 1, "calibrate", snapshot, 0.0, 1.0), Ticket(1, 0, "extract", snapshot, 0.0, 1.0)]
    )
    assert torch.equal(state.vectors, half(half(found.extract([0, 1, 2])).mean(0)))
    torch.testing.assert_close(state.lanes[0], learner.workshop.lanes[0].own[0], atol=1e-12, rtol=0)
    # Whoever is gone is left out when they are combined anew.
    learner.evict(0)
    opened(learner, [2])
    assert torch.equal(learner.state.vectors, half(half(found.extract([1, 2])).mean(0)))


def test_older_messages_add_what_their_worker_did() -> None:
    learner = calibrator(2)
    old = opened(learner, [0, 1])
    learner.hand_out(Job(1, 1, "calibrate", old))
    newer = step(learner, "calibrate", 1, [0], 1)
    did = learner.workshop.lanes[0].own[1] - old.lanes[0]
    state = learner.take_step([Ticket(1, 1, "calibrate", Snapshot(1, old), 0.0, 1.0)])
    torch.testing.assert_close(state.lanes[0], newer.lanes[0] + did, atol=1e-12, rtol=0)


def test_a_job_that_is_skipped_sends_what_the_worker_had() -> None:
    learner = calibrator(2)
    step(learner, "extract", 0, [0, 1], skipped=True)
    assert not learner.state.vectors.any()
    opened(learner, [0, 1])
    before = learner.state
    assert torch.equal(step(learner, "calibrate", 1, [0, 1], 1, skipped=True).lanes[0], before.lanes[0])


@pytest.mark.parametrize(("rule", "bounded"), [(Mean(), False), (Median(), True)])
def test_forged_vectors_and_coefficients_are_bounded_by_a_robust_rule(rule: Any, bounded: bool) -> None:
    attack = SameValue.model_validate({"workers": [1], "value": 1e4})
    honest = calibrator(3)
    attacked = calibrator(3, Aggregation(outer=rule), attacks=(Assigned(attack, frozenset([1])),))
    for learner in (honest, attacked):
        opened(learner, [0, 1, 2])
        step(learner, "calibrate", 1, [0, 1, 2], 1)
    sent = honest.received
    inside = (attacked.state.vectors >= sent.amin(0)) & (attacked.state.vectors <= sent.amax(0))
    assert bool(inside.double().mean() > 0.5) == bounded
    largest = max(float(attacked.state.vectors.abs().max()), float(attacked.state.lanes[0].abs().max()))
    assert (largest < 100) == bounded
    assert torch.equal(attacked.received[1], torch.full_like(sent[1], 1e4).half().double())


def test_who_sends_nothing_finite_is_turned_away() -> None:
    attack = SameValue.model_validate({"workers": [1], "value": 1e4})
    learner = calibrator(2, attacks=(Assigned(attack, frozenset([1])),))
    for door in (learner._vector_door, learner._lanes[0].door):
        door._forgeries = [(0, _Senseless.model_validate({"workers": [1]}), frozenset([1]))]
    opened(learner, [0, 1])
    assert torch.equal(learner.state.vectors, half(oracle(2).extract([0]))[0])
    step(learner, "calibrate", 1, [0, 1], 1)
    assert learner.counts()["rejected"] == 2


class _Senseless(SameValue):
    def forge(self, own: Tensor, *others: Any) -> Tensor:  # type: ignore[override]
        return torch.full_like(own, torch.nan)


def test_costs_by_arithmetic() -> None:
    """Three workers, three rounds of two steps of three texts; who opens makes no update."""
    done = run(scenario(problem=STATED, record={"spans": True}))
    extract, calibrate = (done.summary["by_kind"][kind] for kind in ("extract", "calibrate"))
    assert (extract["jobs"], calibrate["jobs"]) == (3, 9)
    assert (done.summary["openings"], done.summary["worker_updates"]) == (3, 9)
    assert extract["own_tokens"] == 3 * 6 * N_PROMPT_TOKENS
    assert calibrate["own_gradient_tokens"] == 9 * 2 * 3
    assert (extract["bytes_up"], extract["bytes_down"]) == (3 * VECTORS_BYTES, 0)
    # The averaged vectors go out once to each, with the first job after they were averaged.
    assert calibrate["bytes_up"] == 9 * COEFFICIENTS_BYTES
    assert calibrate["bytes_down"] == 9 * COEFFICIENTS_BYTES + 3 * VECTORS_BYTES
    assert done.summary["llm_calls"] == 0
    # A gradient takes three times as long as a forward pass; four steps of the server take 1 ms each.
    computing_s = 0.01 * (6 * N_PROMPT_TOKENS + 3 * 3 * 6)
    assert done.summary["seconds_by_activity"]["computing"] == pytest.approx(computing_s)
    assert done.summary["simulated_time_s"] == pytest.approx(computing_s + 4 * 0.001)
    seconds = [column for column in done.workers if column.startswith("seconds_")]
    assert done.workers[seconds].sum(axis=1).tolist() == pytest.approx([done.summary["simulated_time_s"]] * 3)


def test_what_a_late_joiner_sends_is_in_the_vectors() -> None:
    joins = {"kind": "lifetime", "joins": {"kind": "constant", "value_s": 8.0}}
    own = {"own_model": {"token_s": 0.01}}
    late = [{"count": 2, **own}, {"name": "late", "count": 1, **own, "availability": joins}]
    done = run(
        scenario(
            {"wait_for": 1, "tau": 99, "local_steps": 20},
            workers=late,
            budget={"epochs": 8},
            record={"learned": True},
        )
    )
    assert done.summary["openings"] == 3
    assert done.learned is not None
    vectors, _ = Learned.model_validate_json(done.learned).tensors()
    found = InjectionOracle(problem(), Streams(0), 3)
    assert torch.equal(vectors, half(half(found.extract([0, 1, 2])).mean(0)))


def test_what_is_compared_is_measured_in_every_run_and_a_run_says_what_it_does_not_beat() -> None:
    done = run(scenario({"measure_clients": True}))
    measured = done.steps.dropna(subset=["loss"])
    for column in ("zero_vectors", "zero_shot", "unbiased", "clients"):
        assert measured[f"accuracy_{column}"].notna().all()
    assert measured.accuracy_zero_shot.nunique() == 1
    # Before any vectors have come there is nothing to inject.
    assert measured.accuracy.iloc[0] == measured.accuracy_zero_shot.iloc[0]
    algorithm = done.scenario.algorithm
    (told,) = algorithm.cautions({"accuracy": 0.5, "accuracy_zero_vectors": 0.5, "accuracy_zero_shot": 0.4})
    assert told == "accuracy 0.5 is not above that of the same calibration with vectors of zero (0.5)"
    assert algorithm.cautions({"accuracy": 0.5, "accuracy_zero_vectors": 0.4}) == ()
    assert algorithm.cautions({"accuracy": None, "accuracy_zero_vectors": None}) == ()


def test_numbers_do_not_depend_on_processes_and_invariants_hold(tmp_path: Path) -> None:
    scenarios = [scenario(seed=seed) for seed in (0, 1)]
    found = []
    for jobs in (1, 2):
        made = sweep.run_all(scenarios, tmp_path / str(jobs), jobs=jobs)
        outcomes = sorted(made, key=lambda outcome: outcome.scenario.seed)  # in the order of their ends
        assert [outcome.failure for outcome in outcomes] == ["", ""]
        found.append([(outcome.folder / "steps.parquet").read_bytes() for outcome in outcomes])
        for outcome in outcomes:
            assert [check for check in verify(outcome.folder) if check.violation] == []
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


ALONE = """
import json, sys
sys.path[:0] = {}
from injection_cases import scenario
from fedsim.simulation import run
print(json.dumps(run(scenario(seed=5)).summary))
"""
CAPTURED: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "timeout": LIMIT_S}


def test_a_run_that_broke_off_leaves_nothing_behind() -> None:
    def breaks(row: dict[str, Any]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scenario(seed=5), progress=breaks)
    again = run(scenario(seed=5)).summary
    folders = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "icl")]
    fresh = subprocess.run([sys.executable, "-c", ALONE.format(folders)], **CAPTURED)
    assert json.loads(fresh.stdout) == again


def test_a_known_task_skips_both_phases(tmp_path: Path) -> None:
    first = run(scenario(record={"learned": True}))
    assert first.learned is not None
    file = tmp_path / "learned.json"
    file.write_text(first.learned)
    known = run(scenario({"kind": "ifedicl", "task_store": {"file": str(file)}}))
    assert known.summary["ended"] == "task known"
    assert (known.summary["server_steps"], known.summary["worker_updates"]) == (1, 3)
    assert known.summary["bytes_down"] == 3 * (VECTORS_BYTES + COEFFICIENTS_BYTES)
    assert known.summary["bytes_up"] == 0
    for column in ("loss", "accuracy"):
        assert known.summary[column] == first.summary[column]


@pytest.mark.parametrize(
    ("sha256", "sentence"), [("0" * 64, "has changed since: its sha256 begins with"), (5, "sha256: found 5")]
)
def test_a_store_that_has_changed_is_refused(sha256: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        scenario({"task_store": {"file": known_task(), "sha256": sha256}})


@pytest.mark.parametrize(
    ("changes", "problem", "sentence"),
    [
        (
            {},
            {"task": {"prompt": problem_table()["task"]["prompt"] | {"separator": " "}}},
            "another template",
        ),
        ({}, {"at": "all"}, "problem.at 'predicting', but here it is 'all'"),
        ({"n_layers": 1, "coefficients": [0.0] * 4, "width": 128}, {}, "layers 1, but here it is 2"),
        ({"n_layers": 3, "coefficients": [0.0] * 12, "vectors": ""}, {}, "expected .* 384 numbers of"),
        ({"model": {"kind": "other"}}, {}, "another model"),
        ({"coefficients": [1.0]}, {}, "1 coefficients"),
        ({"surprise": 1}, {}, "surprise"),
    ],
)
def test_what_was_learned_for_something_else_is_refused(
    changes: dict[str, Any], problem: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "learned.json"
    file.write_text(json.dumps(json.loads(Path(known_task()).read_text()) | changes))
    with pytest.raises(InputError, match=sentence) as error:
        scenario({"task_store": {"file": str(file)}}, problem)
    assert "algorithm.task_store" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "sentence"),
    [
        ({"wait_for": 2}, "both wait_for and tau"),
        ({"wait_for": 4, "tau": 2}, "at most 3"),
        (
            {
                "aggregation": {
                    "outer": {
                        "kind": "dp_rsa",
                        "step": 0.1,
                    }
                }
            },
            "send signs in every step",
        ),
        (
            {"aggregation": {"outer": {"kind": "mean"}, "filter": {"kind": "zeno_plus_plus"}}},
            "needs data of the server's own",
        ),
        ({"control": True, "task_store": {"file": "KNOWN"}}, "control: has no effect"),
        ({"kind": "fedbdpl", "local_steps": 1}, "asks for gradients"),
    ],
)
def test_what_cannot_be_is_said(algorithm: dict[str, Any], sentence: str) -> None:
    if "task_store" in algorithm:
        algorithm = algorithm | {"task_store": {"file": known_task()}}
    with pytest.raises(InputError, match=sentence):
        scenario(algorithm)


def test_lora_is_a_cost_model_by_the_shapes_of_llama() -> None:
    shapes = {"n_layers": 32, "width": 4096, "value_width": 1024}
    done = run(scenario({"kind": "fedavg_lora", "local_steps": 2, "adapted": shapes}, STATED))
    local = done.summary["by_kind"]["local"]
    assert local["bytes_up"] == local["bytes_down"] + 3 * 13_312 * 1024 == 9 * 13_312 * 1024
    assert local["own_gradient_tokens"] == 9 * 2 * 3 * N_PROMPT_TOKENS
    assert done.summary["accuracy"] is None
    assert done.summary["reveals"] == "weight changes"
    # By the header of the weights: two key heads of 16 numbers in each of two layers of width 64.
    own = run(scenario({"kind": "fedavg_lora", "local_steps": 1}))
    assert own.summary["by_kind"]["local"]["bytes_up"] == 9 * 2 * 8 * ((64 + 64) + (64 + 32)) * 4


SCENARIOS = Path(__file__).parents[2] / "scenarios" / "ifedicl"


@pytest.mark.parametrize("file", sorted(SCENARIOS.glob("*.toml")), ids=lambda file: file.stem)
def test_scenario_files_run_with_a_tiny_model(file: Path, tmp_path: Path) -> None:
    n_classes = {"trec": 6, "agnews": 4}.get(file.stem, 2)
    table = [
        {"id": f"{split}{i}", "split": split, "text_a": f"{i}", "text_b": None, "label": i % n_classes}
        for split, n in (("train", 30 * n_classes), ("test", 6 * n_classes))
        for i in range(n)
    ]
    own = write_jsonl(tmp_path, table)
    smaller = [
        f"problem.task.file={own}",
        f"problem.model.weights={weights()}",
        "problem.task.train_per_class=3",
    ]
    smaller += [f"problem.task.test_counts={[2] * n_classes}", "budget.epochs=1", "workers.0.count=2"]
    labels = json.dumps(list("abcdef"[:n_classes]))
    smaller.append(
        f'problem.task.prompt={{question="{{{{ text_a }}}}", query="{{{{ question }}}} ", labels={labels}}}'
    )
    for one in load_variants(file, smaller):
        outcome = sweep.run_one(one, tmp_path / "results")
        assert outcome.failure == ""
        assert outcome.summary["accuracy"] is not None


def test_texts_are_there() -> None:
    assert len(Path(texts()).read_text().splitlines()) == len(rows())

"""Settings, cost and measurements of the in-context problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_model import FakeModel
from icl_cases import plain_loss, plain_scores, tiny_oracle, tiny_task
from pydantic import ValidationError
from text_cases import tiny_text_task

from fedsim.messages import JobCost
from fedsim.problems.icl.measure import drawn_prompts
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Stream, Streams

SST2 = {"kind": "calibrated", "name": "sst2"}


def test_cost_by_hand_at_the_papers_sizes() -> None:
    tokens = {"tokens_per_word": 1.5, "template_tokens": 20, "text_tokens": 7}
    problem = IclProblem(task=SST2, tokens=tokens)
    cost = problem.cost()
    # 20 prompts x 20 queries; three texts of 75 * 1.5 + 20 + 7 = 139.5 tokens; 75 * 100 floats of 4 bytes.
    assert cost == JobCost(400, 400 * round(3 * 139.5), 400, 30_000, 30_000)
    assert problem.cost(pooled=3).calls == 1200


@pytest.mark.parametrize(
    ("settings", "calls", "tokens_per_call", "size_bytes"),
    [
        ({"use_demonstrations": False}, 400, 75 * 2 + 10, 30_000),
        ({"use_fragment": False}, 400, 3 * 10, 0),
        ({"batch": 5, "n_samples": 3}, 15, 3 * 160, 30_000),
        ({"upper_split": True}, 200, 3 * 160, 30_000),
    ],
)
def test_cost_of_ablations_and_batches(
    settings: dict[str, Any], calls: int, tokens_per_call: int, size_bytes: int
) -> None:
    tokens = {"tokens_per_word": 2, "template_tokens": 4, "text_tokens": 6, "tokens_out": 2}
    cost = IclProblem(task=SST2, tokens=tokens, **settings).cost()
    assert cost == JobCost(calls, calls * tokens_per_call, 2 * calls, size_bytes, size_bytes)


def test_only_a_fragment_makes_a_lower_level() -> None:
    assert IclProblem(task=SST2).tunes_p
    assert not IclProblem(task=SST2, use_fragment=False).tunes_p


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dirichlet_alpha": 0}, "greater than 0"),
        ({"n_samples": 1}, "greater than or equal to 2"),
        ({"batch": 21}, "batch=21 exceeds the 20 training queries of a level"),
        ({"batch": 11, "upper_split": True}, "batch=11 exceeds the 10 training queries"),
        ({"loss_floor": 0}, "greater than 0"),
        ({"task": {"kind": "calibrated", "name": "imdb"}}, "Input should be '5g'"),
        ({"task": {"kind": "calibratde", "name": "sst2"}}, "did you mean 'calibrated'"),
        ({"modle": {"kind": "surrogate"}}, "Extra inputs are not permitted"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        IclProblem(**({"task": SST2} | settings))


def test_an_odd_number_of_queries_cannot_be_split() -> None:
    task = tiny_task(test_counts=(1, 1, 1), train_per_class=1)
    with pytest.raises(ValidationError, match="even number of training queries per worker, got 3"):
        IclProblem(task=task, upper_split=True)


def by_hand(oracle: IclOracle, worker: int, words: list[int], shown: list[int] | None) -> tuple[float, float]:
    """Return loss and accuracy of one prompt on the test set, query by query."""
    test = oracle.data.test
    as_training = oracle.data._replace(
        train=oracle.data.train._replace(x=test.x.repeat(3, 0), y=test.y.repeat(3, 0))
    )
    right = 0
    for x, y in zip(test.x[0].tolist(), test.y[0].tolist(), strict=True):
        scores = plain_scores(oracle.data, worker, words, shown, x)
        right += scores.index(max(scores)) == y
    return plain_loss(as_training, worker, words, shown), right / len(test.y[0])


def test_evaluate_equals_plain_loops() -> None:
    oracle = tiny_oracle(3, also_measured=("consensus", "validation"))
    generator = torch.Generator().manual_seed(1)
    P = torch.rand((2, 2, 3), generator=generator, dtype=torch.float64).softmax(-1)
    Q = torch.rand((2, 2, 2), generator=generator, dtype=torch.float64).softmax(-1)
    z = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2]], dtype=torch.float64)
    measured = oracle.evaluate([2, 0], P, Q, z)
    own = [
        by_hand(oracle, w, P[i].argmax(-1).tolist(), Q[i].argmax(-1).tolist()) for i, w in enumerate((2, 0))
    ]
    same = [by_hand(oracle, w, [1, 0], Q[i].argmax(-1).tolist()) for i, w in enumerate((2, 0))]
    validation = [
        plain_loss(
            oracle.data._replace(train=oracle.data.validation),
            w,
            P[i].argmax(-1).tolist(),
            Q[i].argmax(-1).tolist(),
        )
        for i, w in enumerate((2, 0))
    ]
    expected = {
        "loss": (own[0][0] + own[1][0]) / 2,
        "accuracy": (own[0][1] + own[1][1]) / 2,
        "loss_consensus": (same[0][0] + same[1][0]) / 2,
        "accuracy_consensus": (same[0][1] + same[1][1]) / 2,
        "validation_loss": sum(validation) / 2,
        "p_max": float(P.max(-1).values.mean()),
        "q_max": float(Q.max(-1).values.mean()),
    }
    assert measured == pytest.approx(expected, abs=1e-12)
    assert own[0] != own[1]
    assert own != same


def test_many_workers_are_measured_in_parts() -> None:
    oracle = tiny_oracle(150)
    P, Q = (start.expand(150, -1, -1) for start in (oracle.start_p, oracle.start_q))
    measured = oracle.evaluate(list(range(150)), P, Q, oracle.start_p)
    alone = [oracle.evaluate([w], P[:1], Q[:1], oracle.start_p)["loss"] for w in range(150)]
    assert measured["loss"] == pytest.approx(sum(alone) / 150, abs=1e-12)


def test_ties_of_a_modal_prompt_are_drawn_once() -> None:
    oracle = tiny_oracle(2, seed=4)
    # Uniforms of the slots first, then of the words; 2 demonstrations and 3 words tie.
    drawn = Streams(4).uniforms(Stream.EVALUATION, [1], [1], 4)[0]
    shown, words = [int(2 * u) for u in drawn[:2]], [int(3 * u) for u in drawn[2:]]
    assert words != [0, 0]
    measured = oracle.evaluate([1], oracle.start_p[None], oracle.start_q[None], oracle.start_p)
    assert measured["loss"] == pytest.approx(by_hand(oracle, 1, words, shown)[0], abs=1e-12)
    # What rounding makes likelier is not likelier.
    beside = oracle.start_p[None] + torch.tensor([[[1e-15, 0, -1e-15]]])
    again = oracle.evaluate([1], beside, oracle.start_q[None], oracle.start_p)
    assert again["loss"] == measured["loss"]
    likelier = oracle.evaluate([1], beside + 1e-9 * (beside < 1 / 3), oracle.start_q[None], oracle.start_p)
    assert likelier["loss"] == pytest.approx(by_hand(oracle, 1, [2, 2], shown)[0], abs=1e-12)


@pytest.mark.parametrize(("evaluation", "column"), [("sampled", "loss"), ("modal", "loss_sampled")])
def test_sampled_evaluation_averages_over_drawn_prompts(evaluation: str, column: str) -> None:
    oracle = tiny_oracle(evaluation=evaluation, evaluation_samples=4000)
    P = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]], dtype=torch.float64)
    Q = torch.tensor([[[0.7, 0.3], [0.4, 0.6]]], dtype=torch.float64)
    losses, weights = [], []
    for j in range(9):
        for k in range(4):
            words, shown = [j // 3, j % 3], [k // 2, k % 2]
            losses.append(by_hand(oracle, 0, words, shown)[0])
            tables = [*P[0], *Q[0]]
            weight = 1.0
            for table, index in zip(tables, [*words, *shown], strict=True):
                weight *= float(table[index])
            weights.append(weight)
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True))
    variance = sum(w * (loss - mean) ** 2 for w, loss in zip(weights, losses, strict=True))
    measured = oracle.evaluate([0], P, Q, P[0])
    assert abs(measured[column] - mean) < 4 * (variance / 4000) ** 0.5
    # The standard error of a deviation is at most about that of a normal law, one in sqrt(2 n), times 2.
    assert measured["loss_sampled_std"] == pytest.approx(variance**0.5, rel=8 / 8000**0.5)
    if evaluation == "sampled":
        assert measured["loss_sampled"] == measured["loss"]
    assert measured == oracle.evaluate([0], P, Q, P[0])


def test_spread_is_that_over_the_prompts_of_a_worker() -> None:
    oracle = tiny_oracle(3, evaluation_samples=2, use_demonstrations=False)
    P, Q = oracle.start_p.expand(3, -1, -1), oracle.start_q.expand(3, -1, -1)
    found = oracle.evaluate([0, 1, 2], P, Q, oracle.start_p)
    drawn = drawn_prompts(oracle, [0, 1, 2], P, Q, "test").words
    assert drawn is not None
    for place, column in enumerate(("loss", "accuracy")):
        values = [
            [by_hand(oracle, 0, drawn[w, :, i].tolist(), None)[place] for i in (0, 1)] for w in range(3)
        ]
        assert found[f"{column}_sampled"] == pytest.approx(sum(map(sum, values)) / 6)
        # Of two numbers the deviation is their difference over the square root of 2.
        spread = sum(abs(one - other) for one, other in values) / 3 / 2**0.5
        assert found[f"{column}_sampled_std"] == pytest.approx(spread)


@pytest.mark.parametrize(
    ("settings", "sampled"),
    [
        ({}, {"loss_sampled", "loss_sampled_std", "accuracy_sampled", "accuracy_sampled_std"}),
        ({"evaluation_samples": 1}, {"loss_sampled", "accuracy_sampled"}),
        ({"also_measured": ("consensus",)}, set()),
    ],
)
def test_which_columns_of_drawn_prompts_there_are(settings: dict[str, Any], sampled: set[str]) -> None:
    oracle = tiny_oracle(**settings)
    found = oracle.evaluate([0], oracle.start_p[None], oracle.start_q[None], oracle.start_p)
    assert {name for name in found if "sampled" in name} == sampled


def test_a_real_model_is_asked_about_drawn_prompts_only_if_a_scenario_says_so(tmp_path: Path) -> None:
    problem = IclProblem(task=tiny_text_task(tmp_path), model=FakeModel(cache=False))
    assert problem.measures == ("consensus", "validation")
    assert not problem.draws_prompts
    assert IclProblem(task=SST2).measures == ("consensus", "validation", "sampled")


def test_settings_survive_a_round_trip() -> None:
    problem = IclProblem(task=SST2, dirichlet_alpha=0.5)
    again = IclProblem.model_validate(
        problem.model_dump() | {"task": problem.task.model_dump(), "model": problem.model.model_dump()}
    )
    assert again == problem


def test_settings_are_read_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, fedsim.problems.icl.problem; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Two words of 1.5 tokens, texts and template of 10: a query of 13, and two demonstrations of 13 or of 10.
@pytest.mark.parametrize(("shown", "tokens_a_call"), [("question", 39), ("text_a", 33)])
def test_demonstrations_without_the_fragment_have_no_tokens_of_it(tmp_path, shown, tokens_a_call) -> None:
    template = {"question": "{{ text_a }} {{ fragment }}", "labels": ["bad", "good"]}
    template["demonstration"] = f"{{{{ {shown} }}}} {{{{ label }}}}"
    tokens = {"tokens_per_word": 1.5, "template_tokens": 4, "text_tokens": 6}
    cost = IclProblem(
        task=tiny_text_task(tmp_path, prompt=template), model=FakeModel(cache=False), tokens=tokens
    ).cost()
    assert cost.tokens_in == cost.calls * tokens_a_call

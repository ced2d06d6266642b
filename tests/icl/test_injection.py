"""The injection problem: vectors, gradients by coefficients, measurements, and attacks on the texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from injection_cases import oracle, problem, weights
from pydantic import ValidationError
from torch import Tensor

from fedsim.icl.models.open_weights.llama import Llama
from fedsim.icl.models.open_weights.tokenizer import Tokenizer
from fedsim.icl.models.open_weights.white_box import WhiteBox
from fedsim.problems.injection.oracle import InjectionOracle
from fedsim.streams import Streams

START = torch.tensor([0.1, 1.0], dtype=torch.float64).expand(2, 2, 2)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def in_double(found: InjectionOracle) -> InjectionOracle:
    """Let the model compute in double precision."""
    file = Path(weights())
    found._box = WhiteBox(Llama(file, torch.float64), Tokenizer(file), 256)
    return found


def test_nothing_injected_changes_nothing() -> None:
    found = oracle()
    prompts = found._prompts(found.data.test.x[0], found.data)
    plain = found._box.label_scores(
        prompts,
        found.data.source.template.labels,
        torch.zeros(2, 2, 64),
        torch.tensor([0.0, 1.0]).expand(len(prompts), 2, 2, 2),
    )
    same = found.logits(random(2, 2, 64), torch.tensor([0.0, 1.0]).expand(2, 2, 2))
    torch.testing.assert_close(same, plain.logits.double(), atol=4e-5, rtol=0)
    other = found.logits(random(2, 2, 64), START)
    assert float((other - same).abs().max()) > 0.01


@pytest.mark.parametrize("extraction", ["end", "predicting"])
def test_vectors_are_means_over_a_workers_texts_at_the_stated_token(extraction: str) -> None:
    found = oracle(extraction=extraction)
    own, source = found.labelled(1), found.data.source
    written = [
        source.rows[row].a + ": " + (source.template.labels[label] + "\n") * (extraction == "end")
        for row, label in zip(own.rows, own.shown, strict=True)
    ]
    one_by_one = [found._box.extract([text])[0].double() for text in written]
    torch.testing.assert_close(found.extract([1])[0], sum(one_by_one) / 6, atol=1e-12, rtol=0)
    assert torch.equal(found.extract([0, 1])[1], found.extract([1])[0])


@pytest.mark.parametrize(
    ("at", "loss", "noise"), [("predicting", "labels", 0.01), ("all", "vocabulary", 0.0)]
)
def test_gradients_by_coefficients_are_those_of_differences(at: str, loss: str, noise: float) -> None:
    found = in_double(oracle(at=at, loss=loss, noise=noise))
    vectors, coefficients = random(2, 2, 2, 64), START + 0.1 * random(2, 2, 2, 2, seed=1)
    gradient = found.gradients([0, 1], [4, 7], vectors, coefficients)

    def losses(c: Tensor) -> Tensor:
        return found.losses([0, 1], [4, 7], vectors, c)

    for index in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        moved = torch.zeros(2, 2, 2, dtype=torch.float64)
        moved[index] = 1e-5
        difference = (losses(coefficients + moved) - losses(coefficients - moved)) / 2e-5
        torch.testing.assert_close(gradient[(slice(None), *index)], difference, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("loss", ["labels", "vocabulary"])
def test_the_loss_is_that_of_texts_drawn_without_replacement(loss: str) -> None:
    found = oracle(loss=loss, noise=0.0, batch=6)
    own, vectors = found.labelled(1), random(2, 2, 64)
    scores = found._box.label_scores(
        found._prompts(own.rows, found.data), ("Yes", "No", "Go"), vectors, START.expand(6, 2, 2, 2)
    )
    among_labels = scores.logits.log_softmax(1)
    among_all = scores.logits - scores.log_total[:, None]
    each = (among_labels if loss == "labels" else among_all)[range(6), own.expected]
    # A batch of all six is every text once, in whatever order.
    value = found.losses([1], [3], vectors[None], START[None])
    assert float(value) == pytest.approx(-float(each.double().mean()), abs=1e-5)


def test_a_batch_of_jobs_equals_one_job_at_a_time() -> None:
    found = oracle(3, noise=0.01)
    vectors, coefficients = random(4, 2, 2, 64), START + 0.1 * random(4, 2, 2, 2, seed=1)
    workers, steps = [2, 0, 1, 0], [5, 3, 9, 3]
    together = found.gradients(workers, steps, vectors, coefficients)
    for j in range(4):
        alone = found.gradients(workers[j : j + 1], steps[j : j + 1], vectors[[j]], coefficients[[j]])
        assert torch.equal(together[j], alone[0])


def test_measurements_are_those_of_the_label_words() -> None:
    found = oracle()
    logits = found.logits(random(2, 2, 64), START)
    y = torch.tensor([0] * 4 + [1] * 3 + [2] * 2)
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="none").clamp(max=4.605170185988091)
    measured = found.evaluate(random(2, 2, 64), START)
    assert measured["loss"] == pytest.approx(float(loss.mean()), abs=1e-9)
    assert measured["accuracy"] == pytest.approx(float((logits.argmax(1) == y).double().mean()))


def test_the_label_bias_is_taken_away_by_class() -> None:
    found = oracle()
    plain = found.logits(torch.zeros(2, 2, 64), torch.tensor([0.0, 1.0]).expand(2, 2, 2))
    bias = (plain[:4].mean(0) + plain[4:7].mean(0) + plain[7:].mean(0)) / 3
    y = torch.tensor([0] * 4 + [1] * 3 + [2] * 2)
    expected = float(((plain - bias).argmax(1) == y).double().mean())
    assert found.without_injection()["accuracy_unbiased"] == pytest.approx(expected)


def test_poisoned_demonstrations_change_vectors_and_gradients_from_when_they_are() -> None:
    poison = {"kind": "flipped_labels", "workers": [0], "start_s": 5.0}
    clean, found = oracle(), oracle(attacks=[poison])
    vectors, coefficients = random(2, 2, 2, 64), START.expand(2, 2, 2, 2)

    def gradients(which: InjectionOracle, start_s: float) -> Tensor:
        return which.gradients([0, 1], [1, 1], vectors, coefficients, [start_s, start_s])

    for start_s, changed in ((0.0, []), (5.0, [0])):
        for of_clean, of_found in (
            (clean.extract([0, 1]), found.extract([0, 1], [start_s, start_s])),
            (gradients(clean, 0.0), gradients(found, start_s)),
        ):
            assert [w for w in (0, 1) if not torch.equal(of_clean[w], of_found[w])] == changed


@pytest.mark.parametrize(
    "settings", [{}, {"texts": "all", "task": {"n_demonstrations": 1, "validation_per_class": 1}}]
)
def test_flipped_queries_change_the_calibration_alone(settings: dict[str, Any]) -> None:
    clean, found = (
        oracle(attacks=attacks, **settings) for attacks in ([], [{"kind": "flipped_queries", "workers": [0]}])
    )
    own = found.labelled(0)
    assert (own.expected != own.shown).sum() == 6
    assert torch.equal(clean.extract([0, 1]), found.extract([0, 1]))
    arguments = ([0, 1], [1, 1], random(2, 2, 2, 64), START.expand(2, 2, 2, 2))
    changed = (clean.gradients(*arguments) != found.gradients(*arguments)).flatten(1).any(1)
    assert changed.tolist() == [True, False]


def test_pools_are_alike_of_each_class_and_queries_follow_the_proportions() -> None:
    skewed = oracle(3, dirichlet_alpha=0.3)
    assert any(len(set(skewed.labelled(worker).shown)) < 3 for worker in range(3))
    pools = oracle(3, texts="pools", task={"n_demonstrations": 2})
    assert [sorted(pools.labelled(worker).shown) for worker in range(3)] == [[0, 0, 1, 1, 2, 2]] * 3
    both = oracle(3, texts="all", task={"n_demonstrations": 1, "validation_per_class": 1})
    data = both.problem.task.without_fragment().draw(Streams(3), 3)
    for worker in range(3):
        held = {*data.train.x[worker].ravel(), *data.demonstrations.x[worker].ravel()}
        assert len(held) == 9
        assert {*both.labelled(worker).rows} == held
    taken = [row for worker in range(3) for row in pools.labelled(worker).rows]
    assert len(set(taken)) == len(taken)


def test_costs_are_counted_in_tokens_and_bytes() -> None:
    tokens = {"template_tokens": 3, "text_tokens": 4}
    found = problem(tokens=tokens)
    extraction, step = found.extraction_cost(), found.cost()
    assert (extraction.own_tokens, extraction.bytes_up, extraction.bytes_down) == (6 * 7, 2 * 2 * 64 * 2, 0)
    assert (step.own_gradient_tokens, step.bytes_up, step.bytes_down) == (3, 4 * 2 * 4, 4 * 2 * 4)
    assert problem(tokens=tokens, at="all").cost().own_gradient_tokens == 3 * 7


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": {"kind": "local", "weights": weights()}}, "found 'local', expected a model with open"),
        ({"batch": 7}, "batch: found 7, expected at most 6"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        problem(**settings)

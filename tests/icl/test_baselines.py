"""The paper's baselines on a tiny text task, with a model and encoders whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from fake_model import FakeModel, probability
from pydantic import ValidationError
from text_cases import LABELS, tiny_text_task

from fedsim.attack import Assigned
from fedsim.icl.attacks import DemonstrationAttack
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.baselines import BASELINES, adaicl, encoder_mlp, retrieval
from fedsim.icl.baselines.adaicl import AdaIcl
from fedsim.icl.baselines.encoder_mlp import EncoderMlp
from fedsim.icl.baselines.kate import Kate
from fedsim.icl.baselines.manual import Manual
from fedsim.icl.baselines.random_icl import RandomIcl
from fedsim.icl.baselines.zero_shot_cot import ZeroShotCot
from fedsim.icl.call_tokens import Tokens
from fedsim.icl.encoders.base import Encoder, unit_rows
from fedsim.icl.models.label_probabilities import content_free, probabilities
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.icl.tasks.text import TextTask
from fedsim.messages import JobCost
from fedsim.problems.baseline import BaselineOracle, BaselineProblem
from fedsim.scenario import Scenario
from fedsim.simulation import run
from fedsim.streams import Streams

INF = math.inf


class Counting(Encoder):
    """How often some words stand in a text.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["counting"] = "counting"
    words: tuple[str, ...] = ("warm", "dull", "dog", "choir", "moon", "wooden", "wonderful", "home", "film")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return unit_rows(np.array([[text.count(word) for word in self.words] for text in texts], dtype=float))


class OfFeatures(DemonstrationAttack):
    """A poison that no text can take.

    Source: no paper; a stand-in for tests.
    """

    needs = "features"

    kind: Literal["of_features"] = "of_features"

    def _poisoned(self, data: Any, plan: Any) -> Any:
        raise AssertionError("refused before anything runs")


@pytest.fixture(autouse=True)
def one_thread():
    """As in a run: these tensors are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


CLASSES = pytest.mark.parametrize("task", [2, 4], indirect=True)


@pytest.fixture
def task(tmp_path, request):
    """The tiny task without what is about words: a baseline's prompts have none."""
    whole = tiny_text_task(tmp_path, n_classes=getattr(request, "param", 2))
    stated = whole.model_fields_set.difference(whole.of_words)
    return TextTask.model_validate({name: getattr(whole, name) for name in stated})


def problem_of(task, method: Any, correction: str = "none", **settings: Any) -> BaselineProblem:
    model = FakeModel(cache=False, correction=correction)
    return BaselineProblem(task=task, model=model, method=method, **settings)


def oracle_of(
    task, method: Any, n_workers: int = 1, pooled: int = 1, seed: int = 0, correction: str = "none"
) -> BaselineOracle:
    oracle = problem_of(task, method, correction).prepare(Streams(seed), n_workers, pooled)
    assert isinstance(oracle, BaselineOracle)
    return oracle


def test_who_asks_how_sure_the_model_is_needs_probabilities(task):
    few = AdaIcl(n_demonstrations=2, n_initial=2, budget=2, n_neighbours=1, encoder=Counting())
    assert [problem_of(task, method).access for method in (RandomIcl(), few)] == ["text", "probabilities"]


def measure(oracle: BaselineOracle, n_workers: int = 1) -> dict[str, float]:
    P = torch.ones(n_workers, 1, 1, dtype=torch.float64)
    return oracle.evaluate(list(range(n_workers)), P, P, P[0])


def question(text: Text) -> str:
    return f'How is the sentiment of the sentence {text.a}? Respond ONLY with "Great" or "Terrible".'


def shot(text: Text, label: int) -> str:
    return f"Question: {question(text)} Answer: {LABELS[label]}\n"


def ask(text: Text) -> str:
    return f"Question: {question(text)} Answer:"


def test_texts(oracle: BaselineOracle) -> list[tuple[Text, int]]:
    rows, test = oracle.data.source.rows, oracle.data.test
    return [(rows[i], y) for i, y in zip(test.x[0].tolist(), test.y[0].tolist(), strict=True)]


test_texts.__test__ = False  # a helper, whatever its name begins with


def expected(prompts: list[str], truth: list[int], corrected_by: list[str] | None = None) -> dict[str, float]:
    """Return loss and accuracy of the fake model's answers to exact prompts, query by query.

    `truth` holds all classes.
    """
    losses, right = [], 0
    labels = LABELS[: max(truth) + 1]
    for i, (prompt, y) in enumerate(zip(prompts, truth, strict=True)):
        scores = [probability("one", prompt, label) for label in labels]
        if corrected_by:
            prior = [probability("one", corrected_by[i], label) for label in labels]
            scores = [score / before for score, before in zip(scores, prior, strict=True)]
        losses.append(-math.log(max(scores[y] / sum(scores), 0.01)))
        right += scores.index(max(scores)) == y
    return {"loss": sum(losses) / len(losses), "accuracy": right / len(losses)}


# Label probabilities.


def test_probabilities_by_hand() -> None:
    logprobs = torch.tensor([[0.2, 0.6], [0.3, 0.0], [0.0, 0.0]]).log()
    found = probabilities(logprobs)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]]), abs=1e-7)
    three = torch.tensor([[0.1, 0.2, 0.1], [0.0, 0.0, 0.0]]).log()
    assert probabilities(three).tolist() == pytest.approx(
        np.array([[0.25, 0.5, 0.25], [1 / 3] * 3]), abs=1e-7
    )


def test_corrected_probabilities_by_hand() -> None:
    logprobs = torch.tensor([[0.2, 0.6], [0.2, 0.6], [0.2, 0.6], [0.0, 0.6]], dtype=torch.float64).log()
    prior = torch.tensor([[0.1, 0.9], [0.5, 0.0], [0.0, 0.0], [0.0, 0.5]], dtype=torch.float64).log()
    # 2 : 2/3; then nothing known of one label (the other's 0.5 stands for it), of both, and of a zero.
    assert probabilities(logprobs, prior).tolist() == pytest.approx(
        np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.0, 1.0]])
    )
    # 2, 1 and 0.3 / 0.1 = 3: of three labels the smallest known probability stands for the unknown one.
    three, before = (torch.tensor([row]).double().log() for row in ([0.2, 0.3, 0.3], [0.1, 0.3, 0.0]))
    assert probabilities(three, before).tolist() == [pytest.approx([2 / 6, 1 / 6, 3 / 6])]


def test_the_content_free_query_has_the_fields_that_the_query_has() -> None:
    assert content_free(Text("a", "", "c")) == Text("N/A", "", "N/A")


# Methods that ask the template alone.


@CLASSES
def test_manual_asks_the_template_alone(task) -> None:
    oracle = oracle_of(task, Manual())
    texts = test_texts(oracle)
    prompts = [ask(text) for text, _ in texts]
    assert measure(oracle) == pytest.approx(expected(prompts, [y for _, y in texts]))
    assert sorted(oracle.problem.model.asked) == sorted(prompts)


@CLASSES
def test_the_correction_divides_by_the_answers_to_nothing(task) -> None:
    oracle = oracle_of(task, Manual(), correction="content_free")
    texts = test_texts(oracle)
    prompts, truth = [ask(text) for text, _ in texts], [y for _, y in texts]
    nothing = [ask(Text("N/A"))] * len(texts)
    assert measure(oracle) == pytest.approx(expected(prompts, truth, nothing))
    assert measure(oracle) != pytest.approx(expected(prompts, truth))
    assert len(oracle.problem.model.asked) == len(texts) + 1


@pytest.mark.parametrize("correction", ["none", "content_free"])
def test_chain_of_thought_writes_first_and_is_scored_after_the_cue(task, correction) -> None:
    oracle = oracle_of(task, ZeroShotCot(reasoning_tokens=9), correction=correction)
    texts = test_texts(oracle)
    model = oracle.problem.model

    def final(text: Text) -> str:
        first = f"{ask(text)} Let's think step by step."
        written = []
        FakeModel(cache=False).connect().write([first], 9, lambda _, writing: written.append(writing.text))
        return f"{first} {written[0]}\nTherefore, the answer is"

    prompts, truth = [final(text) for text, _ in texts], [y for _, y in texts]
    nothing = [final(Text("N/A"))] * len(texts) if correction == "content_free" else None
    assert measure(oracle) == pytest.approx(expected(prompts, truth, nothing))
    assert len(model.asked) == 2 * (len(texts) + (correction == "content_free"))


@pytest.mark.parametrize("method", [Manual(), ZeroShotCot()])
def test_where_workers_do_not_differ_the_model_is_asked_once(task, method) -> None:
    oracle = oracle_of(task, method, n_workers=3)
    alone = measure(oracle)
    calls = len(oracle.problem.model.asked)
    assert measure(oracle, 3) == pytest.approx(alone)
    assert len(oracle.problem.model.asked) == calls


# Random demonstrations.


def heads(oracle: BaselineOracle) -> set[str]:
    """Return what stood before the queries of all prompts asked."""
    return {prompt[: prompt.rindex("Question:")] for prompt in oracle.problem.model.asked}


@CLASSES
def test_random_demonstrations_by_hand(task) -> None:
    oracle = oracle_of(task, RandomIcl(per_class=2))
    texts = test_texts(oracle)
    # Worker 0, draw 0: two of the three candidates of each slot, then their order.
    generator = Streams(0).generator(15, 0, 0)
    n_classes = task.n_classes
    places = [(u, int(k)) for u in range(n_classes) for k in generator.choice(3, 2, replace=False)]
    order = [places[int(i)] for i in generator.permutation(2 * n_classes)]
    rows, pool = oracle.data.source.rows, oracle.data.demonstrations.x[0]
    head = "".join(shot(rows[pool[u, k]], u) for u, k in order)
    prompts = [head + ask(text) for text, _ in texts]
    assert measure(oracle) == pytest.approx(expected(prompts, [y for _, y in texts]))
    assert len(set(order)) == 2 * n_classes


def test_random_demonstrations_are_each_workers_own(task) -> None:
    two = oracle_of(task, RandomIcl(), n_workers=2)
    three = oracle_of(task, RandomIcl(), n_workers=3)
    measure(two, 2)
    assert len(heads(two)) == 2
    for head in heads(two):
        assert head.count("Answer: Great\n") == head.count("Answer: Terrible\n") == 1
    measure(three, 3)
    assert heads(two) < heads(three)
    assert measure(two, 2) != measure(oracle_of(task, RandomIcl(), n_workers=2, seed=1), 2)


def test_a_centralised_baseline_draws_from_the_pooled_pool(task) -> None:
    oracle = oracle_of(task, RandomIcl(per_class=3), n_workers=1, pooled=2)
    measure(oracle)
    whole = oracle.data.demonstrations.x[0].ravel()
    (head,) = heads(oracle)
    assert all(oracle.data.source.rows[i].a in head for i in whole)


@CLASSES
def test_a_malicious_worker_shows_what_it_poisoned(task) -> None:
    problem = problem_of(task, RandomIcl(per_class=3))
    oracle = problem.prepare(Streams(0), 2, attacks=(Assigned(FlippedLabels(), frozenset({1})),))
    clean = oracle_of(task, RandomIcl(per_class=3), n_workers=2)
    assert oracle._desk(0).pool == clean._desk(0).pool
    flipped = [(text, (label + 1) % task.n_classes) for text, label in clean._desk(1).pool]
    assert oracle._desk(1).pool == flipped
    with pytest.raises(ValueError, match="'of_features' needs features, but task 'text' gives text"):
        problem_of(task, Manual()).check_attack(OfFeatures())


# Nearest demonstrations.


def test_nearest_last_by_hand() -> None:
    points = unit_rows(np.array([[1.0, 0], [0, 1], [1, 1], [1, 0]]))
    found = retrieval.nearest_last(points, unit_rows(np.array([[1.0, 0.1], [0, 1]])), 3)
    # Points 0 and 3 are equally near: 0 counts as nearer, so it stands after 3.
    assert found.tolist() == [[2, 3, 0], [0, 2, 1]]


@CLASSES
def test_kate_shows_the_nearest_last(task) -> None:
    oracle = oracle_of(task, Kate(n_demonstrations=4, encoder=Counting()), n_workers=2)
    rows = oracle.data.source.rows
    losses = []
    for worker in (0, 1):
        pools = oracle.data.demonstrations.x[worker].tolist()
        pool = [(rows[i], u) for u, row in enumerate(pools) for i in row]
        prompts = []
        for text, _ in test_texts(oracle):
            query = Counting().encode([text.a])[0]
            similarity = [float(query @ Counting().encode([shown.a])[0]) for shown, _ in pool]
            nearest = sorted(range(len(pool)), key=lambda i: (-similarity[i], i))[:4]
            prompts.append("".join(shot(*pool[i]) for i in reversed(nearest)) + ask(text))
        losses.append(expected(prompts, [y for _, y in test_texts(oracle)])["loss"])
    assert losses[0] != losses[1]
    assert measure(oracle, 2)["loss"] == pytest.approx(sum(losses) / 2)


# AdaICL.


def test_k_means_by_hand() -> None:
    points = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2]])
    for seed in range(5):
        centres = retrieval.k_means(points, 2, np.random.default_rng(seed))
        by_x, by_y = [[0.0, 1], [10, 1]], [[5.0, 0], [5, 2]]  # the two fixed points of Lloyd's algorithm
        assert sorted(centres.tolist()) in (by_x, by_y)
    assert retrieval.squared_distances(points[:2], points[2:3]).tolist() == [[100], [104]]


def test_a_centre_without_points_stays() -> None:
    points = np.array([[1.0, 0], [1, 0], [0, 1]])
    centres = retrieval.k_means(points, 3, np.random.default_rng(0))
    assert sorted(centres.tolist()) == [[0, 1], [1, 0], [1, 0]]


def test_each_centre_takes_the_nearest_point_that_is_left() -> None:
    points = np.array([[0.0], [1], [5]])
    assert adaicl.nearest_to_centres(points, np.array([[0.4], [0.3], [0.2]])) == [0, 1, 2]


def angles(*degrees: float) -> np.ndarray:
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def test_cover_by_hand() -> None:
    # On a circle; with one neighbour each: 0 and 1 are nearest to one another, 2 to 1, 3 and 4 to one
    # another, 5 to 4. So 1 covers {0, 2}, 4 covers {3, 5}, 0 covers {1}, 3 covers {4}, others nothing.
    points = angles(0, 10, 21, 100, 110, 121)
    everything = [0, 1, 2, 3, 4, 5]
    assert adaicl.cover(points, everything, 4, n_neighbours=1) == [1, 4, 0, 3]
    # Only hard ones are covered and only hard ones cover.
    assert adaicl.cover(points, [5, 4, 0, 2], 2, n_neighbours=1) == [4, 0]


def test_what_is_covered_counts_a_tenth() -> None:
    points = angles(0, 6, 13, 31, 65)
    covers = adaicl._covers(points, 2)
    assert [np.flatnonzero(row).tolist() for row in covers] == [[1, 2], [0, 2, 3], [0, 1, 3, 4], [4], []]
    # 2 gains 4. Then 1 gains 0.1 + 1 + 0.1, more than 0 (1.1) and 3 (0.1). Then 0 gains 0.2 and 3 gains 0.1.
    assert adaicl.cover(points, [0, 1, 2, 3, 4], 3, n_neighbours=2) == [2, 1, 0]
    # 1 gains 3 (so would 2). Then 2 gains 0.1 + 1 + 0.1 with the old ones 0 and 3, but 3 gains 2 new ones.
    points = angles(0, 6, 16, 32, 60, 90)
    covers = adaicl._covers(points, 2)
    assert [np.flatnonzero(row).tolist() for row in covers[1:4]] == [[0, 2, 3], [0, 1, 3], [4, 5]]
    assert adaicl.cover(points, [0, 1, 2, 3, 4, 5], 2, n_neighbours=2) == [1, 3]


SIZES = {
    "n_demonstrations": 1,
    "n_initial": 2,
    "budget": 2,
    "phases": 2,
    "n_neighbours": 2,
    "hard_share": 0.5,
}


def plain_adaicl(oracle: BaselineOracle, worker: int) -> list[int]:
    """Return what AdaICL selects, by loops: the slow twin."""
    rows = oracle.data.source.rows
    pool = [(rows[i], u) for u, row in enumerate(oracle.data.demonstrations.x[worker].tolist()) for i in row]
    labels, everybody = LABELS[: oracle.data.demonstrations.y.shape[1]], range(len(pool))
    points = Counting().encode([text.a for text, _ in pool])
    centres = retrieval.k_means(points, 2, Streams(0).generator(15, worker, 0))
    chosen: list[int] = []
    for centre in centres:
        by_distance = sorted(everybody, key=lambda i: (float(((points[i] - centre) ** 2).sum()), i))
        chosen.append(next(i for i in by_distance if i not in chosen))
    for _ in range(2):
        left = [i for i in everybody if i not in chosen]
        sure = {}
        for i in left:
            nearest = min(chosen, key=lambda j: (-float(points[i] @ points[j]), chosen.index(j)))
            prompt = shot(*pool[nearest]) + ask(pool[i][0])
            scores = [probability("one", prompt, label) for label in labels]
            sure[i] = max(scores) / sum(scores)
        hard = sorted(left, key=lambda i: (sure[i], i))[: len(left) // 2]
        gains = {}
        for i in sorted(hard):
            covered = 0
            for j in hard:
                others = sorted(
                    (k for k in everybody if k != j), key=lambda k: (-float(points[j] @ points[k]), k)
                )
                covered += i in others[:2] and i != j
            gains[i] = covered
        chosen.append(max(sorted(hard), key=lambda i: gains[i]))
    return chosen


@pytest.mark.parametrize(("task", "worker"), [(2, 0), (2, 1), (2, 2), (4, 1)], indirect=["task"])
def test_adaicl_equals_its_slow_twin_and_calls_what_it_costs(task, worker) -> None:
    method = AdaIcl(encoder=Counting(), **SIZES)
    oracle = oracle_of(task, method, n_workers=3)
    prepared = method.prepare(oracle._desk(worker))
    assert prepared.places == plain_adaicl(oracle, worker)
    assert len(set(prepared.places)) == 4
    size = 3 * task.n_classes
    assert [calls.queries for calls in method.preparation(size)] == [size - 2, size - 3]
    assert oracle.questions.usage()["asked"] == 2 * size - 5
    query = Counting().encode([test_texts(oracle)[0][0].a])
    nearest = prepared.places[int((prepared.vectors @ query[0]).argmax())]
    shown = oracle._desk(worker).pool[nearest]
    method.answer(oracle._desk(worker), prepared)
    assert shot(*shown) + ask(test_texts(oracle)[0][0]) in oracle.problem.model.asked


# A network on an encoder.


def test_logits_by_hand() -> None:
    layers = (
        torch.tensor([[1.0, 2.0], [0.0, -1.0]]),
        torch.tensor([0.5, 1.0]),
        torch.tensor([[1.0, 10.0], [0.0, 2.0]]),
        torch.tensor([0.0, -1.0]),
    )
    # Hidden: 1 + 6 + 0.5 = 7.5, and -3 + 1 = -2 cut to 0.
    assert encoder_mlp.logits(layers, torch.tensor([[1.0, 3.0]])).tolist() == [[7.5, -1.0]]


def desk_of(task, seed: int = 0, worker: int = 0) -> Any:
    return oracle_of(task, EncoderMlp(encoder=Counting()), n_workers=2, seed=seed)._desk(worker)


def test_training_equals_the_textbooks_adam_from_the_drawn_start(task) -> None:
    desk = desk_of(task, worker=1)
    desk.validation = desk.train  # so that each epoch is better than the last
    method = EncoderMlp(encoder=Counting(), hidden=4, epochs=3, learning_rate=0.01)
    layers = list(encoder_mlp._drawn(Streams(0).generator(15, 1, 0), 9, 4, 2))
    # The first weight by hand: a standard normal times sqrt(2 / 9 inputs).
    first = Streams(0).generator(15, 1, 0).standard_normal() * math.sqrt(2 / 9)
    assert float(layers[0][0, 0]) == pytest.approx(first, rel=1e-12)
    x, y = method._encoded(desk.train)
    m, v = [0.0] * 4, [0.0] * 4
    for t in (1, 2, 3):
        inputs = [layer.detach().requires_grad_() for layer in layers]
        loss = torch.nn.functional.cross_entropy(encoder_mlp.logits(inputs, x), y)
        for i, gradient in enumerate(torch.autograd.grad(loss, inputs)):
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * gradient**2
            root = (v[i] / (1 - 0.999**t)).sqrt()
            layers[i] = layers[i] - 0.01 * m[i] / (1 - 0.9**t) / (root + 1e-8)
    for found, expected_layer in zip(method.prepare(desk), layers, strict=True):
        assert torch.allclose(found, expected_layer, atol=1e-12)


@CLASSES
def test_early_stopping_keeps_the_weights_that_were_best_on_validation(task) -> None:
    desk = desk_of(task)
    # Validation queries with the wrong labels: every epoch of training makes them worse.
    desk.validation = [(text, (label + 1) % task.n_classes) for text, label in desk.train]
    one = EncoderMlp(encoder=Counting(), epochs=1).prepare(desk)
    many = EncoderMlp(encoder=Counting(), epochs=200).prepare(desk)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))
    desk.validation = desk.train
    better = EncoderMlp(encoder=Counting(), epochs=200).prepare(desk)
    assert not torch.equal(better[0], one[0])


def test_the_network_learns_what_can_be_learned_and_asks_nobody(tmp_path) -> None:
    task = tiny_text_task(tmp_path, train_per_class=6)
    words = ("warm", "wonderful", "dull", "wooden", "clumsy", "funny")
    oracle = oracle_of(task, EncoderMlp(encoder=Counting(words=words)), n_workers=2)
    with torch.no_grad():
        measured = measure(oracle, 2)
    assert measured["accuracy"] == 1.0
    assert measured["loss"] < 0.4
    assert oracle.problem.model.asked == []
    assert measured == measure(oracle_of(task, EncoderMlp(encoder=Counting(words=words)), n_workers=2), 2)


# The problem.


def test_preparation_comes_once_and_nothing_depends_on_the_step(task) -> None:
    method = AdaIcl(encoder=Counting(), **SIZES)
    oracle = oracle_of(task, method, n_workers=2)
    P = torch.ones(2, 1, 1, dtype=torch.float64)
    by_p, by_q = oracle.upper([0, 1], [1, 1], P, P)
    assert oracle.questions.usage()["asked"] == 14  # seven calls per worker
    assert not by_p.any()
    assert not by_q.any()
    oracle.upper([0, 1], [2, 2], P, P)
    assert oracle.questions.usage()["asked"] == 14
    fresh = oracle_of(task, method, n_workers=2)
    assert measure(fresh, 2) == measure(oracle, 2)


@pytest.mark.parametrize(
    ("method", "correction", "calls", "tokens_in"),
    [
        (Manual(), "none", 0, 0),
        (ZeroShotCot(), "none", 0, 0),
        (RandomIcl(), "content_free", 0, 0),
        (Kate(), "none", 0, 0),
        (EncoderMlp(), "none", 0, 0),
        # Four and then three demonstrations are asked about, with one before each: two texts of 60 tokens.
        (AdaIcl(**SIZES), "none", 7, 7 * 120),
        (AdaIcl(**SIZES), "content_free", 14, 14 * 120),
    ],
)
def test_cost_by_hand(task, method, correction, calls, tokens_in) -> None:
    problem = problem_of(task, method, correction, tokens=Tokens())
    assert problem.cost() == JobCost(calls, tokens_in, calls, 0, 0)
    assert problem.cost(pooled=3) == problem.cost()
    assert not problem.tunes_p


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"kind": "kate", "n_demonstrations": 7}, "kate shows 7 demonstrations, but a pool holds 6"),
        ({"kind": "random_icl", "per_class": 4}, "shows 4 demonstrations per class, but a pool holds 3"),
        ({"kind": "adaicl"}, r"to select 10 \+ 20 of a pool of 6: too few"),
        ({"kind": "adaicl", "budget": 5}, "budget=5 cannot be split into 2 equal phases"),
        ({"kind": "adaicl", "n_initial": 4}, "n_demonstrations=5 exceeds n_initial=4"),
        ({"kind": "kat"}, "unknown kind 'kat'; did you mean 'kate'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(task, method, message) -> None:
    with pytest.raises(ValidationError, match=message):
        problem_of(task, method)


def test_the_largest_selection_that_fits_is_made(task) -> None:
    # Of 6, two at first, then of 4 left the 2 hard ones: both are selected.
    method = AdaIcl(encoder=Counting(), **SIZES | {"phases": 1})
    assert len(set(method.prepare(oracle_of(task, method)._desk(0)).places)) == 4
    with pytest.raises(ValidationError, match="too few are left"):
        problem_of(task, AdaIcl(**SIZES | {"phases": 1, "budget": 3}))


def test_features_and_models_without_language_are_refused(task) -> None:
    parameters = dict.fromkeys(
        ("base_alignment", "demo_step", "label_bias", "word_gain", "word_noise", "demo_noise"), 0.5
    )
    with pytest.raises(ValidationError, match="needs a task of texts; task 'synthetic' gives features"):
        problem_of(Synthetic.model_validate({"parameters": parameters}), Manual())
    with pytest.raises(ValidationError, match="asks a language model; model 'surrogate' is none"):
        BaselineProblem.model_validate({"task": task, "model": {"kind": "surrogate"}, "method": Manual()})


@pytest.mark.parametrize(("algorithm", "workers"), [("sdbt", 2), ("cendbt", 1)])
def test_a_whole_run(task, algorithm, workers) -> None:
    method = AdaIcl(encoder=Counting(), **SIZES)
    problem = problem_of(task, method)
    done = run(
        Scenario.model_validate(
            {
                "name": "tiny",
                "algorithm": {"kind": algorithm},
                "problem": problem,
                "workers": ({"count": 2, "compute": {"kind": "constant", "value_s": 1.0}},),
                "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 2.0}},
                "budget": {"server_steps": 1},
            }
        )
    )
    assert done.summary["llm_calls"] == 7 * workers
    assert done.summary["server_steps"] == 1
    assert done.steps["accuracy"].nunique() == 1
    alone = problem_of(task, method).prepare(Streams(0), workers, 3 - workers)
    assert done.summary["loss"] == measure(alone, workers)["loss"]


def test_the_family_is_the_papers_table_but_for_what_is_tuned() -> None:
    assert list(BASELINES.builtin) == [
        "manual", "zero_shot_cot", "random_icl", "kate", "adaicl", "encoder_mlp"
    ]  # fmt: skip

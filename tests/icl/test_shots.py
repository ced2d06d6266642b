"""Several demonstrations of each class: who holds which candidates, how they stand and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from icl_cases import GRADIENT, PARAMETERS, plain_loss, plain_scores, tiny_task
from pydantic import ValidationError
from text_cases import tiny_text_task

from fedsim.attack import Assigned
from fedsim.icl.attacks import DATA_ATTACKS
from fedsim.icl.attacks.adversarial import Adversarial
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.models.base import Prompts
from fedsim.icl.models.reading import DemonstrationReading
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.models.text_scorer import texts_of
from fedsim.icl.pools import Pool
from fedsim.icl.shots import Order, Shots
from fedsim.icl.tasks.base import Demonstrations, Queries, TaskData
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams

ORDERS: dict[Order, list[int]] = {
    "by_class": [0, 1, 2, 3],
    "by_class_reversed": [2, 3, 0, 1],
    "alternating": [0, 2, 1, 3],
}
"""The slots of two classes, two of each, as a prompt shows them."""
SHARES = {"label_share": 0.5, "text_share": 0.3}
WIDE = PARAMETERS.model_copy(update={"n_features": 9})
"""With features that have to do with no class, as backdoors need."""
IN_ORDER = Surrogate(demonstrations=DemonstrationReading(**SHARES, shots_exponent=0.7, recency=0.4))


def prepared(n_workers: int = 2, attacks: Any = (), **settings: Any) -> IclOracle:
    basic = {
        "task": tiny_task(n_demonstrations=4, parameters=WIDE),
        "shots": {"per_class": 2},
        "n_samples": 3,
    }
    oracle = IclProblem(**(basic | settings)).prepare(Streams(3), n_workers, 1, attacks)
    assert isinstance(oracle, IclOracle)
    return oracle


@pytest.mark.parametrize("order", ORDERS)
def test_orders_by_hand(order: Order) -> None:
    assert Shots(per_class=2, order=order).sequence(2, Streams(0)).tolist() == ORDERS[order]


def test_three_classes_take_turns() -> None:
    assert Shots(per_class=2, order="alternating").sequence(3, Streams(0)).tolist() == [0, 2, 4, 1, 3, 5]


def test_a_shuffled_order_is_that_of_the_seed() -> None:
    found = [Shots(per_class=4, order="shuffled").sequence(2, Streams(seed)).tolist() for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert all(sorted(slots) == list(range(8)) for slots in found)


def test_candidates_are_shared_out_by_hand() -> None:
    queries = Queries(np.zeros((1, 1), dtype=int), np.zeros((1, 1), dtype=int))
    pools = Demonstrations(np.array([[[0, 1, 2, 3], [10, 11, 12, 13]]]), np.array([[[0] * 4, [1] * 4]]))
    poisoned = np.array([[[True, False, False, False], [False, False, True, True]]])
    data: TaskData[None] = TaskData(queries, queries, queries, pools, None, poisoned)
    found = Shots(per_class=2).shared_out(data, Streams(0), 4)
    assert found.demonstrations.x.tolist() == [[[0, 1], [2, 3], [10, 11], [12, 13]]]
    assert found.demonstrations.y.tolist() == [[[0, 0], [0, 0], [1, 1], [1, 1]]]
    assert found.poisoned is not None
    assert found.poisoned.astype(int).tolist() == [[[1, 0], [0, 0], [0, 0], [1, 1]]]
    # Of shared pools each slot gets the half of what another worker offers.
    both = TaskData(*(Queries(*(np.repeat(t, 2, 0) for t in queries)),) * 3, pools, None)
    both = both._replace(demonstrations=Demonstrations(*(np.repeat(t, 2, 0) for t in pools[:2])))
    both.demonstrations.x[1] += 100
    shared = Pool(sharing="shared", offered_per_class=2)
    joined = Shots(per_class=2).shared_out(shared.joined(both), Streams(0), 4, 2)
    assert joined.demonstrations.x[0].tolist() == [[0, 1, 100], [2, 3, 101], [10, 11, 110], [12, 13, 111]]


def test_one_demonstration_a_class_changes_nothing() -> None:
    data = tiny_task(n_demonstrations=4).draw(Streams(1), 2)
    found = Shots().shared_out(data, Streams(1), 4)
    for before, after in zip(data.demonstrations, found.demonstrations, strict=True):
        np.testing.assert_array_equal(before, after)


def test_weights_of_places_by_hand() -> None:
    # Slot 2 stands first, then 0 and 1: 1, 1.5 and 2.25 over their mean 4.75 / 3.
    weights = DemonstrationReading(recency=0.5).place_weights(np.array([2, 0, 1]))
    np.testing.assert_allclose(weights, np.array([1.5, 2.25, 1.0]) * 3 / 4.75)
    # Four places with 0.24: the last one has 1.9 times the weight of the first.
    four = DemonstrationReading(recency=0.24).place_weights(np.arange(4))
    assert four[3] / four[0] == pytest.approx(16.1 / 8.5, abs=0.02)


def test_later_labels_are_repeated_by_hand() -> None:
    """Weights of two places with recency 0.5 are 0.8 and 1.2, so the later label gains 0.4 label biases."""
    data = tiny_task(n_demonstrations=1).draw(Streams(4), 1)
    asked = Prompts(torch.tensor([0]), None, torch.zeros(1, 2, 1, dtype=torch.int64), "test", None)
    before = torch.logit(Surrogate().attach(data).scores(asked)[0, 0, 1])
    model = Surrogate(demonstrations=DemonstrationReading(recency=0.5))
    for order, sign in (([0, 1], 1), ([1, 0], -1)):
        later = model.attach(data._replace(order=np.array(order))).scores(asked)
        np.testing.assert_allclose(torch.logit(later[0, 0, 1]) - before, sign * 0.4 * PARAMETERS.label_bias)


def test_two_equal_demonstrations_by_hand() -> None:
    """Twice the same demonstration of each class weighs as much as one times 2 ** (1 - exponent)."""
    data = tiny_task(n_demonstrations=1).draw(Streams(4), 1)
    double = Demonstrations(*(np.repeat(table, 2, 1) for table in data.demonstrations))
    one = torch.zeros(1, 2, 1, dtype=torch.int64)
    for exponent, times in ((0.0, 2.0), (0.5, 2**0.5), (1.0, 1.0)):
        model = Surrogate(demonstrations=DemonstrationReading(shots_exponent=exponent))
        scaled = data.source.parameters.model_copy(
            update={
                "demo_step": times * data.source.parameters.demo_step,
                "label_bias": times * data.source.parameters.label_bias,
            }
        )
        stronger = data._replace(source=data.source._replace(parameters=scaled))
        asked = Prompts(torch.tensor([0]), None, one, "test", None)
        expected = model.attach(stronger).scores(asked)
        twice = model.attach(data._replace(demonstrations=double))
        found = twice.scores(asked._replace(demonstrations=torch.zeros(1, 4, 1, dtype=torch.int64)))
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("order", [*ORDERS, "shuffled"])
@pytest.mark.parametrize("test_counts", [(4, 3), (2, 2, 2)])
def test_losses_equal_those_of_the_slow_twin(order: Order, test_counts: tuple[int, ...]) -> None:
    task = tiny_task(n_demonstrations=6, test_counts=test_counts)
    shots = {"per_class": 3, "order": order}
    oracle = prepared(task=task, model=IN_ORDER, shots=shots)
    n_slots = 3 * len(test_counts)
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(2, (2, n_slots, 4), generator=generator)
    words = torch.randint(3, (2, 2, 4), generator=generator)
    scores = oracle.scorer.scores(Prompts(torch.arange(2), words, shown, "test", None))
    for worker in range(2):
        for i in range(4):
            for query in range(2):
                expected = plain_scores(
                    oracle.data,
                    worker,
                    words[worker, :, i].tolist(),
                    shown[worker, :, i].tolist(),
                    oracle.data.test.x[0, query].tolist(),
                    IN_ORDER,
                )
                np.testing.assert_allclose(scores[worker, i, :, query], expected, atol=1e-12)


def test_gradients_have_a_row_for_each_slot() -> None:
    oracle = prepared(use_fragment=False, n_samples=2000)
    assert oracle.start_q.shape == (4, 2)
    _, found = oracle.upper([0], [0], oracle.start_p[None], oracle.start_q[None])
    every = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    losses = np.array([plain_loss(oracle.data, 0, None, shown.tolist()) for shown in every])
    for slot in range(4):
        # The gradient by q is the mean loss given the slot's choice; of two, only the difference counts.
        exact = losses[every[:, slot] == 1].mean() - losses[every[:, slot] == 0].mean()
        spread = losses.std() * 2 * 2 / 2000**0.5
        assert float(found[0, slot, 1] - found[0, slot, 0]) == pytest.approx(exact, abs=4 * spread)
    assert oracle.realise([0, 1], oracle.start_q.expand(2, -1, -1), "sampled", 0).shape == (2, 4)


@pytest.mark.parametrize(("order", "expected"), ORDERS.items())
def test_texts_stand_in_the_order_asked_for(tmp_path: Path, order: Order, expected: list[int]) -> None:
    model = FakeModel(cache=False)
    task = tiny_text_task(tmp_path, n_demonstrations=4)
    shots = {"per_class": 2, "order": order}
    oracle = prepared(task=task, model=model, shots=shots, use_fragment=False)
    asked = Prompts(torch.tensor([1]), None, torch.tensor([[[0], [1], [1], [0]]]), "train", None)
    (prompt,) = texts_of(asked, oracle.data)
    clean = task.draw(Streams(3), 2)
    # Slot 0 holds candidates 0 and 1 of class 0, slot 1 candidates 2 and 3, slots 2 and 3 those of class 1.
    rows = clean.demonstrations.x[1]
    slots = [(rows[0, 0], 0), (rows[0, 3], 0), (rows[1, 1], 1), (rows[1, 2], 1)]
    shown = [(clean.source.rows[slots[slot][0]], slots[slot][1]) for slot in expected]
    assert prompt.head == clean.source.template.head(shown, "")


def test_texts_of_one_a_class_are_as_without_the_setting(tmp_path: Path) -> None:
    task = tiny_text_task(tmp_path)
    asked = Prompts(torch.tensor([0]), None, torch.tensor([[[1, 0], [2, 0]]]), "test", None)
    data = task.draw(Streams(3), 2)
    found = prepared(task=task, model=FakeModel(cache=False), shots={}, use_fragment=False)
    assert list(texts_of(asked, found.data)) == list(texts_of(asked, data))


def test_a_call_costs_the_tokens_of_all_slots() -> None:
    tokens = {"tokens_per_word": 1.0, "template_tokens": 2, "text_tokens": 3}
    task = tiny_task(n_words=2, n_demonstrations=6)
    for per_class in (1, 3):
        shots = Shots(per_class=per_class)
        cost = IclProblem(task=task, shots=shots, tokens=tokens, n_samples=2).cost()
        # Two prompts, four queries each; a demonstration or query is 2 + 2 + 3 tokens.
        assert cost.tokens_in == 8 * (2 * per_class + 1) * 7


@pytest.mark.parametrize("part", [part for _, part in DATA_ATTACKS if part.needs != "text"])  # type: ignore[attr-defined]
def test_attacks_act_on_the_pools_before_slots_share_them(part: Any) -> None:
    attack = Assigned(part(share=0.5), frozenset({1}))
    one, two = (prepared(attacks=[attack], shots=Shots(per_class=count)).data for count in (1, 2))
    for before, after in zip(one.demonstrations, two.demonstrations, strict=True):
        np.testing.assert_array_equal(before.reshape(after.shape), after)
    np.testing.assert_array_equal(one.train.y, two.train.y)
    if one.poisoned is not None and two.poisoned is not None:
        np.testing.assert_array_equal(one.poisoned.reshape(two.poisoned.shape), two.poisoned)


def test_flipped_labels_are_those_of_other_classes() -> None:
    found = prepared(attacks=[Assigned(FlippedLabels(), frozenset({1}))]).data.demonstrations.y
    assert found.tolist() == [[[0, 0], [0, 0], [1, 1], [1, 1]], [[1, 1], [1, 1], [0, 0], [0, 0]]]


def test_a_measurement_sees_poison_in_all_slots() -> None:
    attack = Assigned(Adversarial(share=0.5), frozenset({1}))
    pool = Pool(sharing="shared", offered_per_class=2)
    oracle = prepared(attacks=[attack], pool=pool)
    q = oracle.start_q.expand(2, -1, -1)
    found = oracle.evaluate([0], oracle.start_p[None], q[:1], oracle.start_p)
    # Worker 1 offers its two poisoned candidates of each class among the six that a worker may show.
    assert found["poison_share"] == found["poison_mass"] == pytest.approx(1 / 3)


def test_many_demonstrations_make_flipped_labels_win_only_with_a_very_large_reader() -> None:
    """Wei et al., section 3: far below chance with 16 a class; small models hardly change their answers."""
    parameters = {"base_alignment": 0.5, "demo_step": 0.06, "label_bias": 0.2, "word_gain": 0.0}
    accuracies = {}
    for reader in ("small", "very_large"):
        for flipped in (False, True):
            attacks = [Assigned(FlippedLabels(), frozenset({0}))] if flipped else []
            oracle = prepared(
                1,
                attacks,
                task=tiny_task(parameters=parameters, n_demonstrations=32, test_counts=(200, 200)),
                model={"kind": "surrogate", "demonstrations": {"reader": reader}},
                shots={"per_class": 16},
                use_fragment=False,
            )
            q = oracle.start_q[None]
            accuracies[reader, flipped] = oracle.evaluate([0], oracle.start_p[None], q, oracle.start_p)[
                "accuracy"
            ]
    assert accuracies["very_large", True] < 0.3
    assert accuracies["small", True] > accuracies["small", False] - 0.06


def test_candidates_that_cannot_be_shared_out_are_refused() -> None:
    with pytest.raises(
        ValidationError, match=r"task\.n_demonstrations: found 5, expected a multiple of shots"
    ):
        IclProblem(task=tiny_task(n_demonstrations=5), shots=Shots(per_class=2))
    pool = Pool(sharing="shared", offered_per_class=3)
    with pytest.raises(ValidationError, match=r"pool\.offered_per_class: found 3, expected a multiple of sh"):
        IclProblem(task=tiny_task(n_demonstrations=4), shots=Shots(per_class=2), pool=pool)


@pytest.mark.parametrize(
    ("settings", "place", "reason"),
    [
        ({}, "shots.order", "model 'surrogate' adds demonstrations up, whatever their order"),
        ({"use_demonstrations": False}, "shots", "prompts show no demonstration"),
        (
            {"shots": {}},
            "model.demonstrations.shots_exponent",
            "prompts show one demonstration of each class",
        ),
    ],
)
def test_settings_that_nothing_reads(settings: dict[str, Any], place: str, reason: str) -> None:
    task = tiny_task(n_demonstrations=4)
    problem = IclProblem(**({"task": task, "model": GRADIENT, "shots": {"per_class": 2}} | settings))
    assert problem.idle()[place].startswith(reason)
    assert "order" in Shots(order="by_class").idle()
    assert Shots(order="by_class_reversed").idle() == {}

"""The surrogate black box: by hand, against its slow twin, and what it must do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from icl_cases import GRADIENT, PARAMETERS, plain_loss, plain_scores, tiny_oracle, tiny_task
from pydantic import ValidationError

from fedsim.icl.loss import accuracy, cross_entropy
from fedsim.icl.models import MODELS
from fedsim.icl.models.base import Prompts
from fedsim.icl.models.reading import DemonstrationReading, FragmentReading, Reader
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.tasks.base import Demonstrations, Queries, TaskData
from fedsim.icl.tasks.gaussian import Latent, SurrogateParameters, class_means, draw_latent
from fedsim.streams import Streams

ONE = torch.tensor([0])


def hand_data() -> TaskData:
    """One worker, two slots with one candidate each, two words, one query; W0 reads two features."""
    parameters = SurrogateParameters(
        base_alignment=1,
        demo_step=0.5,
        label_bias=0.2 * math.sqrt(2),
        word_gain=0,
        n_features=4,
        base_confidence=math.sqrt(2),
    )
    base = draw_latent(parameters, 2, 2, task_seed=0).base
    words = np.zeros((2, 2, 5))
    words[0, 1, 4] = 0.4
    demonstrations = Demonstrations(
        x=np.array([[[[1.0, 0, 0, 0]], [[0.0, 2, 0, 0]]]]),
        y=np.array([[[0], [1]]]),
        bias=np.array([[[[1.0, -1]], [[0.0, 0]]]]),
    )
    query = Queries(np.array([[[0.5, 0.25, 0, 0]]]), np.array([[0]]))
    return TaskData(query, query, query, demonstrations, Latent(parameters, base, words))


def test_base_classifier_by_hand() -> None:
    np.testing.assert_allclose(hand_data().source.base, [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])


def test_base_classifier_of_a_partly_aligned_box_by_hand() -> None:
    # Cosine 0.6 with the class means leaves sine 0.8 for the error; rows are 1 / sqrt(2) long.
    base = draw_latent(PARAMETERS.model_copy(update={"base_alignment": 0.6}), 2, 2, task_seed=0).base
    expected = np.zeros((2, 9))
    expected[0, 0] = expected[1, 1] = 0.6 / math.sqrt(2)
    expected[0, 2] = expected[1, 3] = 0.8 / math.sqrt(2)
    np.testing.assert_allclose(base, expected)


def test_scores_of_one_prompt_by_hand() -> None:
    # Demonstration 0: softmax(1, 0) = (0.731059, 0.268941), so its step is +-0.5 * 0.268941 [1 0 0 0 1], with
    # label biases +-0.2. Demonstration 1: softmax(0, 2) = (0.119203, 0.880797), step -+0.0596015 [0 2 0 0 1].
    # Words 0 and 1 add 0.4 / sqrt(4) to the score of label 1. At x = (0.5, 0.25):
    #   label 0: 0.5  + 0.0672353 + 0.1344705 + 0.2 - 0.0298008 - 0.0596015       =  0.8123035
    #   label 1: 0.25 - 0.0672353 - 0.1344705 - 0.2 + 0.0298008 + 0.0596015 + 0.2 =  0.1376962
    # and 1 / (1 + exp(0.1376962 - 0.8123035)) = 0.662535.
    words, shown = torch.tensor([[[0], [1], [1], [1]]]), torch.tensor([[[0], [0]]])
    scores = GRADIENT.attach(hand_data()).scores(Prompts(ONE, words, shown, "test", None))
    assert scores.shape == (1, 1, 2, 1)
    np.testing.assert_allclose(scores.flatten(), [0.662535, 0.337465], atol=1e-6)


def test_scores_without_context_by_hand() -> None:
    # softmax(0.5, 0.25): 1 / (1 + exp(-0.25)) = 0.562177.
    scores = Surrogate().attach(hand_data()).scores(Prompts(ONE, None, None, "train", None))
    np.testing.assert_allclose(scores.flatten(), [0.562177, 0.437823], atol=1e-6)


def test_cross_entropy_by_hand_with_floor() -> None:
    scores = torch.tensor([[[[0.5, 0.999], [0.5, 0.001]]]], dtype=torch.float64)
    losses = cross_entropy(scores, torch.tensor([[0, 1]]), floor=0.01)
    assert losses.item() == pytest.approx((math.log(2) + math.log(100)) / 2)


def test_accuracy_by_hand_tie_goes_to_the_lower_class() -> None:
    scores = torch.tensor([[[[0.5, 0.2, 0.9], [0.5, 0.8, 0.1]]]], dtype=torch.float64)
    assert accuracy(scores, torch.tensor([[0, 1, 1]])).item() == pytest.approx(2 / 3)


MODELS_READ = [
    Surrogate(),
    Surrogate(fragment=FragmentReading(length_exponent=0.7, repeat_exponent=0.3)),
    Surrogate(fragment=FragmentReading(length_exponent=0.6, interaction=0.3)),
    Surrogate(
        fragment=FragmentReading(length_exponent=1, repeat_exponent=1), demonstrations=GRADIENT.demonstrations
    ),
    Surrogate(demonstrations=DemonstrationReading(reader="small", text_share=0.2, recency=0.5)),
]


@pytest.mark.parametrize("model", MODELS_READ)
@pytest.mark.parametrize(("with_words", "with_shown"), [(True, True), (True, False), (False, True)])
def test_losses_equal_those_of_the_slow_twin(with_words: bool, with_shown: bool, model: Surrogate) -> None:
    task = tiny_task(test_counts=(4, 3, 2), n_words=5, n_candidates=7, n_demonstrations=6)
    data = task.draw(Streams(5), 3)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(7, (3, 5, 4), generator=generator)
    shown = torch.randint(6, (3, 3, 4), generator=generator)
    asked = Prompts(
        torch.arange(3), words if with_words else None, shown if with_shown else None, "train", None
    )
    scores = model.attach(data).scores(asked)
    losses = cross_entropy(scores, torch.from_numpy(data.train.y), 1e-2)
    for worker in range(3):
        for i in range(4):
            j = words[worker, :, i].tolist() if with_words else None
            k = shown[worker, :, i].tolist() if with_shown else None
            assert losses[worker, i].item() == pytest.approx(
                plain_loss(data, worker, j, k, model=model), abs=1e-12
            )


def test_chosen_queries_are_those_asked_for() -> None:
    data = tiny_task().draw(Streams(1), 2)
    words, shown = torch.tensor([[[0], [2]]]), torch.tensor([[[1], [0]]])
    asked = Prompts(torch.tensor([1]), words, shown, "validation", torch.tensor([[4, 1]]))
    scores = Surrogate().attach(data).scores(asked)
    for column, query in enumerate((4, 1)):
        expected = plain_scores(data, 1, [0, 2], [1, 0], data.validation.x[1, query].tolist())
        np.testing.assert_allclose(scores[0, 0, :, column], expected, atol=1e-12)


def test_three_classes_have_equally_distant_means() -> None:
    means = class_means(PARAMETERS, 3)
    np.testing.assert_allclose([np.linalg.norm(means[i] - means[i - 1]) for i in range(3)], 4)
    np.testing.assert_allclose(means.sum(0), 0, atol=1e-12)


def test_words_cancel_on_average_and_have_the_stated_deviations() -> None:
    latent = draw_latent(PARAMETERS, 2, 4000, task_seed=3)
    np.testing.assert_allclose(latent.words.mean(0), 0, atol=1e-12)
    deviation = (latent.words[:, 1] - latent.words[:, 0]).std(0)
    # The standard error of a deviation from 4000 draws is 1.1 % of it.
    np.testing.assert_allclose(deviation, [0.7] * 4 + [0.4] * 5, rtol=0.045)


def test_a_mislabelled_demonstration_raises_the_loss() -> None:
    quiet = PARAMETERS.model_copy(update={"label_bias": 0.0})
    data = tiny_task(parameters=quiet, train_per_class=40).draw(Streams(2), 20)
    flipped = data.demonstrations._replace(y=1 - data.demonstrations.y)
    asked = Prompts(torch.arange(20), None, torch.zeros(20, 2, 1, dtype=torch.int64), "train", None)
    losses = [
        cross_entropy(GRADIENT.attach(d).scores(asked), torch.from_numpy(data.train.y), 1e-2)
        for d in (data, data._replace(demonstrations=flipped))
    ]
    assert (losses[1] > losses[0]).all()


def test_label_bias_favours_its_label_whatever_the_query() -> None:
    data = tiny_task().draw(Streams(2), 1)
    bias = np.zeros_like(data.demonstrations.bias)
    bias[..., 1] = 1
    asked = Prompts(ONE, None, torch.zeros(1, 2, 1, dtype=torch.int64), "test", None)
    even = data._replace(demonstrations=data.demonstrations._replace(bias=0 * bias))
    pushed = data._replace(demonstrations=data.demonstrations._replace(bias=bias))
    logits = [torch.logit(Surrogate().attach(d).scores(asked)[0, 0, 1]) for d in (even, pushed)]
    # Two demonstrations, each with the bias of one unit: 2 * 0.8 / sqrt(2).
    np.testing.assert_allclose(logits[1] - logits[0], 2 * 0.8 / math.sqrt(2))


def test_too_few_features_for_the_classes() -> None:
    with pytest.raises(
        ValidationError, match=r"n_features: found 8, expected at least 10, two for each of the"
    ):
        tiny_task(test_counts=(1, 1, 1, 1, 1))


def test_the_model_is_found_by_its_kind() -> None:
    assert MODELS["surrogate"] is Surrogate
    assert tiny_oracle().problem.model == Surrogate()


def test_a_word_adds_less_and_less_by_hand() -> None:
    # Word 0 four times and word 1 once among five: 4 ** 0.5 and 1 of their effects, over 5 ** 0.25.
    reading = FragmentReading(length_exponent=0.25, repeat_exponent=0.5)
    weights = reading.weights(torch.tensor([[[0], [0], [1], [0], [0]]]), 3)
    np.testing.assert_allclose(weights, [[[2 / 5**0.25, 1 / 5**0.25, 0]]])


def test_what_is_no_sum_by_hand() -> None:
    # One word of two, with effects +-1 and +-2, which are their deviations too. A share of 0.8 is twice the
    # deviation of the sum: 1 + 2 sqrt(2) sin(3 * 1) in the first number, after the last one, and
    # 2 + 4 sqrt(2) sin(3 * 1) in the second.
    table = torch.tensor([[1.0, 2], [-1, -2]], dtype=torch.float64)
    found = FragmentReading(interaction=0.8).effects(torch.tensor([[[0]]]), table)
    np.testing.assert_allclose(found, [[[1.399148, 2.798295]]], atol=1e-6)


def test_what_is_no_sum_has_its_share_and_is_no_sum() -> None:
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(2000, 6, generator=generator, dtype=torch.float64)
    table -= table.mean(0)
    words = torch.randint(2000, (1, 25, 20_000), generator=generator)
    sums, found = (FragmentReading(interaction=share).effects(words, table)[0] for share in (0, 0.6))
    rest = found - sums
    # Sums of 25 words are nearly normal, whose sine has the variance 1/2 within 1e-7; draws add 1 %.
    assert (rest.var() / found.var()).item() == pytest.approx(0.6, abs=0.03)
    for column in range(6):
        assert abs(np.corrcoef(sums[:, column], rest[:, column])[0, 1]) < 0.05


def test_random_fragments_of_any_length_are_as_strong() -> None:
    effects = torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    effects -= effects.mean()
    spread = {}
    for n_words in (1, 5, 25):
        words = torch.randint(200, (1, n_words, 4000), generator=torch.Generator().manual_seed(2))
        spread[n_words] = float((FragmentReading().weights(words, 200) @ effects).std())
    assert spread[5] == pytest.approx(spread[1], rel=0.1)
    assert spread[25] == pytest.approx(spread[1], rel=0.1)


def margins_of(reading: DemonstrationReading, flipped: bool) -> float:
    """Return the mean margin of right demonstrations, or of those with flipped labels, less that without."""
    quiet = PARAMETERS.model_copy(update={"label_bias": 0.0, "demo_noise": 0.0, "base_alignment": 0.0})
    data = tiny_task(parameters=quiet, test_counts=(50, 50)).draw(Streams(2), 1)
    if flipped:
        data = data._replace(demonstrations=data.demonstrations._replace(y=1 - data.demonstrations.y))
    scorer = Surrogate(demonstrations=reading).attach(data)
    sign = torch.from_numpy(2.0 * data.test.y - 1)
    none, some = (
        (torch.logit(scorer.scores(Prompts(ONE, None, shown, "test", None))[:, 0, 1]) * sign).mean()
        for shown in (None, torch.zeros(1, 2, 1, dtype=torch.int64))
    )
    return float(some - none)


@pytest.mark.parametrize("reader", ["small", "large", "very_large"])
def test_flipped_labels_take_twice_the_labels_share(reader: Reader) -> None:
    reading = DemonstrationReading(reader=reader)
    right, wrong = margins_of(reading, False), margins_of(reading, True)
    # Texts without noise are their class means, where all three parts are the same step.
    assert wrong / right == pytest.approx(1 - 2 * reading.shares.labels)


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found 0\.8 and 0\.375, expected at most 1 together"):
        DemonstrationReading(label_share=0.8)

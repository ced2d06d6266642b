"""Small in-context problems, and the slow plain twin of the surrogate: one prompt and query at a time."""

from __future__ import annotations

import math
from collections import Counter
from statistics import pstdev
from typing import Any

from fedsim.icl.models.reading import DemonstrationReading, FragmentReading
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.tasks.base import TaskData
from fedsim.icl.tasks.gaussian import SurrogateParameters, class_means
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams

PARAMETERS = SurrogateParameters(
    base_alignment=0.5, demo_step=0.3, label_bias=0.8, word_gain=0.7, word_noise=0.4, demo_noise=0.5
)

DEFAULT = Surrogate()
GRADIENT = Surrogate(demonstrations=DemonstrationReading(label_share=1, text_share=0))
"""Whose demonstrations are a step of gradient descent on their labels, and no more."""


def tiny_task(**settings: Any) -> Synthetic:
    sizes = {
        "n_words": 2,
        "n_candidates": 3,
        "n_demonstrations": 2,
        "train_per_class": 2,
        "validation_per_class": 3,
        "test_counts": (4, 3),
    }
    return Synthetic(**({"parameters": PARAMETERS} | sizes | settings))


def tiny_oracle(n_workers: int = 1, pooled: int = 1, seed: int = 0, **settings: Any) -> IclOracle:
    oracle = IclProblem(**({"task": tiny_task()} | settings)).prepare(Streams(seed), n_workers, pooled)
    assert isinstance(oracle, IclOracle)
    return oracle


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def apply(classifier: list[list[float]], x: list[float]) -> list[float]:
    return [
        sum(weight * feature for weight, feature in zip(row, [*x, 1.0], strict=True)) for row in classifier
    ]


def fragment_effects(table: list, words: list[int], reading: FragmentReading) -> list[list[float]]:
    """Return what a fragment adds to a classifier, label by label and feature by feature."""
    places = [(label, feature) for label in range(len(table[0])) for feature in range(len(table[0][0]))]
    added = [[0.0] * len(table[0][0]) for _ in table[0]]
    deviations, sums = [], []
    for label, feature in places:
        column = [row[label][feature] for row in table]
        sums.append(
            sum(
                count**reading.repeat_exponent / len(words) ** reading.length_exponent * column[word]
                for word, count in Counter(words).items()
            )
        )
        deviations.append(pstdev(column) * (len(words) or 1) ** (0.5 - reading.length_exponent))
    for place, (label, feature) in enumerate(places):
        added[label][feature] = sums[place]
        if words and reading.interaction:
            before = sums[place - 1] / deviations[place - 1]
            odds = reading.interaction / (1 - reading.interaction)
            added[label][feature] += math.sqrt(2 * odds) * deviations[place] * math.sin(3 * before)
    return added


def plain_scores(
    data: TaskData,
    worker: int,
    words: list[int] | None,
    shown: list[int] | None,
    x: list[float],
    model: Surrogate = DEFAULT,
) -> list[float]:
    """Return the label probabilities of one query under one prompt."""
    parameters = data.source.parameters
    base = data.source.base.tolist()
    means = class_means(parameters, len(base)).tolist()
    classifier = [list(row) for row in base]
    shares, recency = model.demonstrations.shares, model.demonstrations.recency
    n_slots = len(shown or [])
    per_class = n_slots // len(base)
    order = list(range(n_slots)) if data.order is None else data.order.tolist()
    for slot, k in enumerate(shown or []):
        weakened = per_class**-model.demonstrations.shots_exponent
        place_weight = (1 + recency) ** order.index(slot) / sum((1 + recency) ** i for i in range(n_slots))
        of_class = slot // per_class
        demo_x = data.demonstrations.x[worker, slot, k].tolist()
        demo_y = int(data.demonstrations.y[worker, slot, k])
        nearest = min(range(len(base)), key=lambda u: math.dist(demo_x, means[u]))
        for share, point, label_of in (
            (shares.labels, demo_x, demo_y),
            (shares.texts, demo_x, nearest),
            (shares.presence, means[of_class], of_class),
        ):
            before = softmax(apply(base, point))
            for label, row in enumerate(classifier):
                error = (1.0 if label == label_of else 0.0) - before[label]
                for feature, value in enumerate([*point, 1.0]):
                    row[feature] += weakened * parameters.demo_step * share * error * value
        for label, row in enumerate(classifier):
            bias = float(data.demonstrations.bias[worker, slot, k, label])
            row[-1] += weakened * parameters.label_bias / math.sqrt(2) * bias
            if label == demo_y:
                row[-1] += weakened * parameters.label_bias * (n_slots * place_weight - 1)
    for label, row in enumerate(fragment_effects(data.source.words.tolist(), words or [], model.fragment)):
        for feature, effect in enumerate(row):
            classifier[label][feature] += effect
    return softmax(apply(classifier, x))


def plain_loss(
    data: TaskData,
    worker: int,
    words: list[int] | None,
    shown: list[int] | None,
    floor: float = 1e-2,
    model: Surrogate = DEFAULT,
) -> float:
    """Return the cross entropy of one prompt on all training queries of a worker."""
    losses = []
    for x, y in zip(data.train.x[worker].tolist(), data.train.y[worker].tolist(), strict=True):
        losses.append(-math.log(max(plain_scores(data, worker, words, shown, x, model)[y], floor)))
    return sum(losses) / len(losses)

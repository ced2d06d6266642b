"""How well predicted answers agree with a real model's answers to the same prompts: ranks and calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedsim.streams import Stream, Streams
from fedsim_analysis.statistics import CONFIDENCE

if TYPE_CHECKING:
    from fedsim_analysis.fitting.surrogate import HeldOut

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

RESAMPLES = 500
BINS = 10
BOOTSTRAP_SEED = 1


def losses(probabilities: Floats, labels: Longs, floor: float) -> Floats:
    """Return each prompt's mean over queries of ``-log max(probability of the right label, floor)``, (P,).

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), (1); as runs compute it.
    """
    right = np.take_along_axis(probabilities, labels[:, None, :], axis=1)[:, 0]
    return -np.log(np.maximum(right, floor)).mean(-1)


def margins(probabilities: Floats) -> Floats:
    """Return the log-odds of each label against the first, (P, (U - 1) b)."""
    logs = np.log(np.maximum(probabilities, np.finfo(float).tiny))
    return (logs[:, 1:] - logs[:, :1]).reshape(len(logs), -1)


def within(values: Floats, groups: Longs) -> Floats:
    """Return values less the mean of their group."""
    _, place = np.unique(groups, return_inverse=True)
    return values - (np.bincount(place, values) / np.bincount(place))[place]


def spearman(a: Floats, b: Floats) -> float:
    """Return Spearman's rank correlation; NaN where one side does not vary, so that it ranks nothing."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic) if _varies(a) and _varies(b) else math.nan


def kendall(a: Floats, b: Floats) -> float:
    """Return Kendall's tau-b; NaN where one side does not vary."""
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic) if _varies(a) and _varies(b) else math.nan


def _varies(values: Floats) -> bool:
    # Beyond rounding: the mean of equal numbers may differ from them in the last digit.
    return float(np.ptp(values)) > 1e-9


class Sample(NamedTuple):
    """Prompts of one split, answered by a real model and by one predictor."""

    losses: Floats
    """(P, 2): the real model's, the predictor's."""
    margins: Floats
    """(P, (U - 1) b, 2)."""
    workers: Longs
    """(P,)."""


def _loss(sample: Sample, chosen: Longs) -> Floats:
    return sample.losses[chosen]


def _loss_within_workers(sample: Sample, chosen: Longs) -> Floats:
    columns = [within(column, sample.workers[chosen]) for column in sample.losses[chosen].T]
    return np.stack(columns, axis=-1)


def _margin(sample: Sample, chosen: Longs) -> Floats:
    return sample.margins[chosen].reshape(-1, 2)


QUANTITIES = {"loss": _loss, "loss_within_workers": _loss_within_workers, "margin": _margin}
"""What is ranked, (n, 2), among some of the prompts."""
MEASURES = {"spearman": spearman, "kendall": kendall}


def ranks(held: Sequence[HeldOut], floor: float) -> pd.DataFrame:
    """Return one row per split, predictor, quantity and measure: the rank correlation and its interval.

    ``loss`` is a prompt's loss, ``loss_within_workers`` the same less the mean over the worker's prompts
    (which are about the same queries: what a run has to rank), ``margin`` the log-odds of each answer.

    Args:
        held: held-out prompts.
        floor: the smallest probability that counts in a loss.
    """
    return pd.DataFrame(
        [
            {"split": some.split, "predictor": name, "quantity": quantity, "measure": measure}
            | bootstrapped(_sample(some, name, floor), quantity, measure)
            for some in held
            for name in some.predicted
            for quantity in QUANTITIES
            for measure in MEASURES
        ]
    )


def bootstrapped(sample: Sample, quantity: str, measure: str) -> dict[str, float]:
    """Return a correlation and its 95 % interval by percentile bootstrap over prompts with all their answers.

    Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    n_prompts = len(sample.workers)
    generator = Streams(BOOTSTRAP_SEED).generator(Stream.EVALUATION)
    draws = [np.arange(n_prompts), *generator.integers(n_prompts, size=(RESAMPLES, n_prompts))]
    value, *others = [MEASURES[measure](*QUANTITIES[quantity](sample, chosen).T) for chosen in draws]
    low = high = math.nan
    if not np.isnan(others).all():
        low, high = np.nanquantile(others, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"value": value, "low": low, "high": high, "prompts": n_prompts}


def calibration(held: Sequence[HeldOut]) -> pd.DataFrame:
    """Return one row per split and predictor: how far predicted probabilities are from the model's own.

    ``brier`` is the mean over answers of the squared difference, summed over labels; ``ece``, the expected
    calibration error, is the mean over answers of ``|predicted - real|`` in their bin of `reliability`;
    ``agreement`` the share of answers with the same likeliest label. The model's probabilities stand where
    outcomes 0 and 1 usually do: an exact surrogate has 0, 0 and 1, however unsure the model is.

    Source: Brier, Monthly Weather Review 78, 1950; Naeini, Cooper, Hauskrecht, AAAI 2015, section 2.
    """
    bins = reliability(held).assign(gap=lambda rows: (rows["predicted"] - rows["real"]).abs())
    rows = []
    for some in held:
        for name, found in some.predicted.items():
            own = bins[(bins["split"] == some.split) & (bins["predictor"] == name)]
            rows.append(
                {
                    "split": some.split,
                    "predictor": name,
                    "brier": float(((found - some.real) ** 2).sum(1).mean()),
                    "ece": float(np.average(own["gap"], weights=own["answers"])),
                    "agreement": float((found.argmax(1) == some.real.argmax(1)).double().mean()),
                }
            )
    return pd.DataFrame(rows)


def reliability(held: Sequence[HeldOut]) -> pd.DataFrame:
    """Return one row per split, predictor and bin: mean predicted and real probability of the answers in it.

    Bins have equal width. Every label but the first counts: with two labels that is the positive one alone.
    """
    return pd.concat(
        [
            _bins(found[:, 1:].numpy().ravel(), some.real[:, 1:].numpy().ravel()).assign(
                split=some.split, predictor=name
            )
            for some in held
            for name, found in some.predicted.items()
        ],
        ignore_index=True,
    )


def _bins(predicted: Floats, real: Floats) -> pd.DataFrame:
    number = np.minimum((predicted * BINS).astype(int), BINS - 1)
    rows = pd.DataFrame({"bin": number, "predicted": predicted, "real": real, "answers": 1})
    means = rows.groupby("bin").agg({"predicted": "mean", "real": "mean", "answers": "sum"}).reset_index()
    return means.assign(low=means["bin"] / BINS, high=(means["bin"] + 1) / BINS)


def prompts(held: Sequence[HeldOut], floor: float) -> pd.DataFrame:
    """Return one row per split and prompt: its worker, its real loss, and ``loss_<predictor>`` for each."""
    return pd.concat(
        [
            pd.DataFrame(
                {"split": some.split, "prompt": range(len(some.workers)), "worker": some.workers.numpy()}
                | {
                    f"loss_{name}": losses(answers.numpy(), some.labels.numpy(), floor)
                    for name, answers in {"real": some.real, **some.predicted}.items()
                }
            )
            for some in held
        ],
        ignore_index=True,
    )


def _sample(held: HeldOut, predictor: str, floor: float) -> Sample:
    pair = [answers.numpy() for answers in (held.real, held.predicted[predictor])]
    return Sample(
        np.stack([losses(answers, held.labels.numpy(), floor) for answers in pair], axis=-1),
        np.stack([margins(answers) for answers in pair], axis=-1),
        held.workers.numpy(),
    )

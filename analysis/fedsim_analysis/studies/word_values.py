"""What tuned words are worth on the calibrated tasks: learned, random and least likely ones beside none.

Run as ``python -m fedsim_analysis.studies.word_values [-o FILE]``. Ten machines, each with training data of
its own, tune a fragment as the ablation BDPL does; accuracies are expectations over test sets, so that
nothing but the training data varies. About a minute of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from fedsim.icl.loss import cross_entropy
from fedsim.icl.models.base import Prompts
from fedsim.icl.tasks.calibrated import NAMES
from fedsim.icl.tasks.calibrated.part import FOLDER, parameters, published
from fedsim.learning.one_thread import one_thread
from fedsim.learning.ties import argmax
from fedsim.problems.icl.oracle import IclOracle
from fedsim.terminal import say
from fedsim_analysis.fitting import targets
from fedsim_analysis.fitting.calibrated import ROWS, as_task
from fedsim_analysis.statistics import estimate

SEED, MACHINES, RANDOM_FRAGMENTS = 5_000, 10, 100
MEASURES = (
    "learned_gain",
    "learned_less_random",
    "random_gain",
    "least_likely_gain",
    "rank_correlation",
    "loss_saved_train",
    "loss_saved_test",
)


def measure(name: str, n_machines: int = MACHINES, seed: int = SEED) -> pd.DataFrame:
    """Return what the words that each machine has learned are worth on a task, a row per machine.

    Returns:
        In percent: the accuracies `plain`, `learned` (the likeliest word at each position), `random` (mean of
        100 fragments of words drawn uniformly) and `least_likely` (at each position one of the words of least
        probability, drawn among those that tie). In points: `learned_gain`, `random_gain` and
        `least_likely_gain` over plain, and `learned_less_random`. `rank_correlation` (Spearman) is between
        the probability of each word, averaged over positions, and the accuracy of a fragment of that word.
        `loss_saved_train` and `loss_saved_test`: by how much the learned words lower the loss of the plain
        prompt, on the queries that they were tuned on and on the test set.
    """
    task = as_task(name, parameters()[name])
    oracle, learned, _ = targets.trained(task, ROWS["bdpl"], n_machines, seed)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(
        task.n_candidates, (n_machines, task.n_words, RANDOM_FRAGMENTS), generator=generator
    )
    alone = torch.arange(task.n_candidates).expand(n_machines, 1, -1)
    uniforms = torch.rand(learned.shape[:2], generator=generator, dtype=learned.dtype)
    least = argmax(-learned, uniforms=uniforms)
    values = _accuracies(oracle, alone)
    means = learned.mean(1).numpy()
    likeliest = argmax(learned)[..., None]
    rows = pd.DataFrame(
        {
            "task": name,
            "machine": range(n_machines),
            "plain": targets.plain(task.parameters),
            "learned": _accuracies(oracle, likeliest)[:, 0],
            "random": _accuracies(oracle, drawn).mean(1),
            "least_likely": _accuracies(oracle, least[..., None])[:, 0],
            "rank_correlation": [spearmanr(*pair).statistic for pair in zip(means, values, strict=True)],
            **{f"loss_saved_{split}": _loss_saved(oracle, likeliest, split) for split in ("train", "test")},
        }
    )
    return rows.assign(
        learned_gain=rows["learned"] - rows["plain"],
        random_gain=rows["random"] - rows["plain"],
        least_likely_gain=rows["least_likely"] - rows["plain"],
        learned_less_random=rows["learned"] - rows["random"],
    )


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each measure over machines with its 95 % interval, a row per task."""
    found = []
    for name, group in rows.groupby("task", sort=False):
        paper = published()[str(name)]
        columns = {"task": name, "paper_gain": paper["bdpl"] - paper["plain"]}
        for column in MEASURES:
            columns |= estimate(group[column]).columns(column)
        found.append(columns)
    return pd.DataFrame(found)


def _accuracies(oracle: IclOracle, words: Tensor) -> np.ndarray:
    return targets.accuracies(oracle, Prompts(torch.arange(len(words)), words, None, "test", None))


@torch.no_grad()
def _loss_saved(oracle: IclOracle, words: Tensor, split: Literal["train", "test"]) -> np.ndarray:
    """Return by how much each machine's words lower the loss of the plain prompt, (W,)."""
    labels = torch.from_numpy(getattr(oracle.data, split).y)
    losses = [
        cross_entropy(
            oracle.scorer.scores(Prompts(torch.arange(len(words)), shown, None, split, None)),
            labels,
            oracle.problem.loss_floor,
        )[:, 0]
        for shown in (None, words)
    ]
    return (losses[0] - losses[1]).numpy()


@one_thread()
def main(words: Sequence[str] | None = None) -> None:
    """Measure all six tasks, write the means as a table and say them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=FOLDER / "word_values.csv")
    out = parser.parse_args(words).out
    found = summary(pd.concat([measure(name) for name in NAMES]))
    found.to_csv(out, index=False, float_format="%.3f")
    for row in found.to_dict("records"):
        told = ", ".join(
            f"{column} {row[column]:.2f} ({row[f'{column}_low']:.2f}, {row[f'{column}_high']:.2f})"
            for column in MEASURES
        )
        say(f"{row['task']}: paper {row['paper_gain']:.1f}; {told}")


if __name__ == "__main__":
    main()

"""Shared parameters chosen on five calibrated tasks, looked at on the sixth.

Run as ``python -m fedsim_analysis.studies.leave_one_task_out [-o FILE]``. The noise of words and that of
demonstrations are equal for all tasks. For each candidate pair of them the other parameters are fitted anew,
and the two rows in which words and demonstrations are tuned together are computed: by one machine with all
data (cenDBT without cuts) and by a worker alone (AsynDBT without exchange), both held out from the fit. The
pair that is best for five tasks is then judged on the sixth. About ten minutes of one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from fedsim.icl.tasks.calibrated import NAMES
from fedsim.icl.tasks.calibrated.part import FOLDER, parameters, published
from fedsim.icl.tasks.gaussian import SurrogateParameters
from fedsim.learning.one_thread import one_thread
from fedsim.terminal import say
from fedsim_analysis.fitting import calibrated as fit
from fedsim_analysis.fitting import targets
from fedsim_analysis.fitting.targets import Recipe

CANDIDATES = ((0.1, 0.1), (0.05, 0.1), (0.2, 0.1), (0.1, 0.05), (0.1, 0.2))
"""Noise of words and of demonstrations: those of the committed tasks, and one changed at a time."""

ROWS = {
    "cendbt": Recipe(words=True, demonstrations=True, pooled=fit.POOLED),
    "asyndbt": Recipe(words=True, demonstrations=True, pooled=1),
}
TRIVIAL = "demonstrations_only"
SEED, DRAWS = 6_000, 8
FIT_DRAWS = {"random_icl": 16, "demonstrations_only": 16, "bdpl": 8}
"""Machines of the fits and of what is held out: a third of the committed fit's. All candidates have the same
training data, so that their differences are better known than their accuracies."""


@cache
def demonstrations(name: str, noise: float) -> SurrogateParameters:
    """Return a task's parameters with its demonstrations fitted anew."""
    return fit.fit_demonstrations(
        name, parameters()[name].model_copy(update={"demo_noise": noise}), FIT_DRAWS
    )


@cache
def word_gain(name: str, noise: float) -> float:
    """Return a task's gain of words, fitted anew: demonstrations do not matter to it."""
    return fit.fit_word_gain(name, parameters()[name].model_copy(update={"word_noise": noise}), FIT_DRAWS)


def refitted(name: str, word_noise: float, demo_noise: float) -> SurrogateParameters:
    """Return a task's parameters under other shared ones; the committed ones under those they have."""
    committed = parameters()[name]
    found = committed
    if demo_noise != committed.demo_noise:
        found = demonstrations(name, demo_noise)
    if word_noise != committed.word_noise:
        found = found.model_copy(update={"word_noise": word_noise, "word_gain": word_gain(name, word_noise)})
    return found


def grid(names: Sequence[str] = NAMES) -> pd.DataFrame:
    """Return a row per candidate, task and row of `ROWS`.

    Returns:
        `word_noise, demo_noise, task, row, published, closed_form, trivial` (percent) and `standard_error`.
    """
    found = []
    for word_noise, demo_noise in CANDIDATES:
        for name in names:
            task = fit.as_task(name, refitted(name, word_noise, demo_noise))
            for row, recipe in ROWS.items():
                accuracy = targets.tuned(task, recipe, DRAWS, SEED)
                found.append(
                    {
                        "word_noise": word_noise,
                        "demo_noise": demo_noise,
                        "task": name,
                        "row": row,
                        "published": published()[name][row],
                        "closed_form": accuracy.mean,
                        "standard_error": accuracy.standard_error,
                        "trivial": published()[name][TRIVIAL],
                    }
                )
    return pd.DataFrame(found)


def left_out(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each task, the pair that is best for the other five, and its errors on this one.

    Returns:
        `task, word_noise, demo_noise` and mean absolute errors over the rows, in points: `error_of_five` of
        the chosen pair on the other tasks, `error` on this one, `error_committed` of the first candidate on
        this one, and `error_trivial`.
    """
    rows = rows.assign(
        error=(rows["closed_form"] - rows["published"]).abs(),
        error_trivial=(rows["trivial"] - rows["published"]).abs(),
    )
    pair = ["word_noise", "demo_noise"]
    first = tuple(rows[pair].iloc[0])
    found = []
    for task in dict.fromkeys(rows["task"]):
        of_five = rows[rows["task"] != task].groupby(pair)["error"].mean()
        here = rows[rows["task"] == task].groupby(pair)[["error", "error_trivial"]].mean()
        best = of_five.idxmin()
        found.append(
            {
                "task": task,
                "word_noise": best[0],
                "demo_noise": best[1],
                "error_of_five": of_five[best],
                "error": here.loc[best, "error"],
                "error_committed": here.loc[first, "error"],
                "error_trivial": here.loc[best, "error_trivial"],
            }
        )
    return pd.DataFrame(found)


@one_thread()
def main(words: Sequence[str] | None = None) -> None:
    """Compute the grid, write it as a table and say what leaving one task out gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=FOLDER / "leave_one_task_out.csv")
    out = parser.parse_args(words).out
    rows = grid()
    rows.to_csv(out, index=False, float_format="%.4g")
    for row in left_out(rows).to_dict("records"):
        say(
            f"{row['task']}: chosen on the others: word_noise {row['word_noise']:g}, demo_noise "
            f"{row['demo_noise']:g}; error here {row['error']:.2f} points, committed "
            f"{row['error_committed']:.2f}, trivial {row['error_trivial']:.2f}"
        )


if __name__ == "__main__":
    main()

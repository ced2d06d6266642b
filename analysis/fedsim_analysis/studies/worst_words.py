"""Which word does the most harm when it fills the whole fragment: what an attacker finds by trying them all.

Run as ``python -m fedsim_analysis.studies.worst_words [TASK ...]``. Every candidate word of a calibrated task
is put at all positions of the fragment, beside demonstrations drawn uniformly, and the test loss is measured.
Words belong to the task, not to a run's seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from fedsim.icl.tasks.calibrated import NAMES, Calibrated
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams
from fedsim.terminal import say

SEEDS, N_WORKERS = 1, 10


def losses(task: str) -> pd.Series[float]:
    """Return the mean test loss with each word at every position, by the word's number, worst first."""
    import torch

    of_name = Calibrated.model_validate({"name": task})
    problem = IclProblem(task=of_name, evaluation="sampled", also_measured=())
    found: dict[int, list[float]] = {}
    workers = list(range(N_WORKERS))
    with torch.no_grad():
        for seed in range(SEEDS):
            oracle = problem.prepare(Streams(seed), N_WORKERS)
            uniform = oracle.start_q.expand(N_WORKERS, -1, -1)
            for word in range(problem.task.n_candidates):
                z = torch.zeros_like(oracle.start_p)
                z[:, word] = 1
                measured = oracle.evaluate(workers, z.expand(N_WORKERS, -1, -1), uniform, z)
                found.setdefault(word, []).append(measured["loss"])
    means = pd.Series({word: sum(values) / SEEDS for word, values in found.items()}, name="loss")
    return means.sort_values(ascending=False)


def main(words: Sequence[str] | None = None) -> None:
    """Print the worst, the middle and the best word of each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK")
    for task in parser.parse_args(words).tasks or NAMES:
        found = losses(task)
        places = {"worst": 0, "median": len(found) // 2, "best": -1}
        told = ", ".join(f"{name} {found.index[at]} ({found.iloc[at]:.3f})" for name, at in places.items())
        say(f"{task}: {told}")


if __name__ == "__main__":
    main()

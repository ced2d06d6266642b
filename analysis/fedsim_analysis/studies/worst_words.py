"""Which word does the most harm when it fills the whole fragment: what an attacker finds by trying them all.

Run as ``python -m fedsim_analysis.studies.worst_words [SCENARIO ...]``. Every candidate word of a scenario's
task is put at all positions of the fragment, beside demonstrations drawn uniformly if there are any, and the
test loss is measured. Words belong to the task, not to a run's seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import load_variants
from fedsim.streams import Streams
from fedsim.terminal import say

SEEDS, N_WORKERS = 1, 10
SCENARIOS = tuple(Path("scenarios/poisoning") / f"{name}.toml" for name in ("messages", "calibrated"))


def losses(problem: IclProblem) -> pd.Series[float]:
    """Return the mean test loss with each word at every position, by the word's number, worst first."""
    import torch

    sampled = problem.model_copy(update={"evaluation": "sampled", "also_measured": ()})
    found: dict[int, list[float]] = {}
    workers = list(range(N_WORKERS))
    with torch.no_grad():
        for seed in range(SEEDS):
            oracle = sampled.prepare(Streams(seed), N_WORKERS)
            uniform = oracle.start_q.expand(N_WORKERS, -1, -1)
            for word in range(problem.task.n_candidates):
                z = torch.zeros_like(oracle.start_p)
                z[:, word] = 1
                measured = oracle.evaluate(workers, z.expand(N_WORKERS, -1, -1), uniform, z)
                found.setdefault(word, []).append(measured["loss"])
    means = pd.Series({word: sum(values) / SEEDS for word, values in found.items()}, name="loss")
    return means.sort_values(ascending=False)


def main(words: Sequence[str] | None = None) -> None:
    """Print the worst, the middle and the best word of each scenario's task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", type=Path)
    for file in parser.parse_args(words).scenarios or SCENARIOS:
        # The word on which attackers agree is not looked at: it is what the file does not know yet.
        problem = load_variants(file, ["attacks=[]"])[0].problem
        assert isinstance(problem, IclProblem)
        found = losses(problem)
        places = {"worst": 0, "median": len(found) // 2, "best": -1}
        told = ", ".join(f"{name} {found.index[at]} ({found.iloc[at]:.3f})" for name, at in places.items())
        say(f"{file}: {told}")


if __name__ == "__main__":
    main()

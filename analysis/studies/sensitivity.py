"""Where AsynDBT's saving holds, where it vanishes and where AsynDBT loses: one setting varied at a time.

Run as ``python -m analysis.studies.sensitivity``; ends with `figures/sensitivity.pdf`, PNG and CSV.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from analysis import figures
from fedsim import sweep
from fedsim.console import bar
from fedsim.results import folder_of
from fedsim.scenario import load_variants

SCENARIO = Path("scenarios/sensitivity/sst2.toml")

STUDIES: dict[str, tuple[str, str, list[float]]] = {
    "wait_for": ("asyndbt", "algorithm.wait_for", [1, 2, 3]),
    "cut_interval": ("", "cuts.every", [10, 25, 50, 100, 250]),
    "inner_rounds": ("", "cuts.rounds", [1, 2, 5, 10, 20]),
    "straggler_factor": ("", "workers.1.slow_down", [1, 1.5, 2, 4, 8]),
    "latency_sigma": ("", "llm.latency.sigma", [0, 0.3, 0.6, 1.2, 1.8]),
}
"""Panel: the variant that the setting belongs to (empty: all), the setting, its values."""


def main() -> None:
    """Run the study and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--replicates", type=int, default=5, help="seeds")
    parser.add_argument("--results", type=Path, default=Path("results/sensitivity"))
    parser.add_argument("--output", type=Path, default=Path("figures/sensitivity.pdf"))
    options = parser.parse_args()
    places = [
        (study, value, scenario)
        for study, (only, key, values) in STUDIES.items()
        for value in values
        for variant in ("cendbt", "sdbt", "asyndbt")
        for scenario in sweep.replicates(
            load_variants(SCENARIO, [f"{key}={value}"] if only in ("", variant) else [], [variant]),
            options.replicates,
        )
    ]
    # Many points share runs: cenDBT does not change with S, and every panel passes through the base scenario.
    distinct = {folder_of(scenario, options.results): scenario for _, _, scenario in places}
    summaries = {}
    with bar(len(distinct), "runs") as (progress, task):
        for outcome in sweep.run_all(list(distinct.values()), options.results, options.jobs):
            summaries[outcome.folder] = outcome.summary
            progress.advance(task)
    runs = pd.DataFrame(
        {"study": study, "value": value, "run_id": folder.name} | summaries[folder]
        for study, value, scenario in places
        for folder in [folder_of(scenario, options.results)]
    )
    for file in figures.draw("sensitivity", lambda table: runs, options.output):
        print(file)  # noqa: T201  a script says what it wrote


if __name__ == "__main__":
    main()

"""Where AsynDBT's saving holds, where it vanishes and where AsynDBT loses: one setting varied at a time.

Run as ``python -m fedsim_analysis.studies.sensitivity``; ends with `figures/sensitivity.pdf`, PNG and CSV.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pandas as pd

from fedsim import sweep
from fedsim.scenario import load_variants
from fedsim.terminal import say
from fedsim_analysis import figures
from fedsim_analysis.studies.running import carry_out, finished

STUDIES: dict[str, tuple[str, str, list[float]]] = {
    "wait_for": ("asyndbt", "algorithm.wait_for", [1, 2, 3]),
    "cut_interval": ("", "algorithm.cuts.every", [10, 25, 50, 100, 250]),
    "inner_rounds": ("", "algorithm.cuts.rounds", [1, 2, 5, 10, 20]),
    "straggler_factor": ("", "workers.1.slow_down", [1, 1.5, 2, 4, 8]),
    "latency_sigma": ("", "llm.latency.sigma", [0, 0.3, 0.6, 1.2, 1.8]),
}
"""Panel: the variant that the setting belongs to (empty: all), the setting, its values."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    carry_out(study, words, "sensitivity", __doc__)


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = [
        (panel, value, scenario)
        for panel, (only, key, values) in STUDIES.items()
        for value in values
        for variant in ("cendbt", "sdbt", "asyndbt")
        for scenario in sweep.replicates(
            load_variants(
                options.scenarios / "sst2.toml",
                [f"{key}={value}"] if only in ("", variant) else [],
                [variant],
            ),
            options.replicates,
        )
    ]
    # Many points share runs: cenDBT does not change with S, and every panel passes through the base scenario.
    summaries = finished([(scenario, False) for _, _, scenario in places], options.results, options.jobs)
    runs = pd.DataFrame(
        {"study": panel, "value": value, "run_id": folder.name} | summaries[folder]
        for panel, value, scenario in places
        for folder in [sweep.folder_of(scenario, options.results)]
    )
    for file in figures.draw("sensitivity", lambda table: runs, options.output):
        say(file)


if __name__ == "__main__":
    main()

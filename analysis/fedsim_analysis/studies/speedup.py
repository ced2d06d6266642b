"""How much sooner AsynDBT is done than SDBT: against the straggler, S, tau and the number of workers.

Run as ``python -m fedsim_analysis.studies.speedup``; ends with `speedup` and `idle` below `figures/`, each as
PDF, PNG and CSV. What is finished already is found again. Savings and idle shares come from runs of the clock
alone, times to the target from runs that learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim import sweep
from fedsim.results import read_table
from fedsim.scenario import Scenario, load_variants
from fedsim.scenario.model import Budget
from fedsim.terminal import say
from fedsim_analysis import figures
from fedsim_analysis.studies.running import carry_out, finished

METHODS = ("sdbt", "asyndbt")
ALL_METHODS = ("cendbt", *METHODS)

N_WORKERS = 10
WAIT_FOR = 5
STUDIES: dict[str, tuple[float, ...]] = {
    "straggler_factor": (1, 2, 4, 8, 16),
    "wait_for": (1, 2, 3, 5, 8, 10),
    "tau": (1, 2, 4, 8, 15, 30),
    "n_workers": (3, 10, 30, 100, 300, 1000),
}
"""Panel: values of its setting; all other settings are those of the scenario file."""

MOST_LEARNING = 100
"""With more workers than this a run that learns takes longer than the whole rest of the study."""
ROUNDS = 100
"""Worker updates per worker in the runs of the clock alone."""


class SpeedupPlace(NamedTuple):
    """A place in a figure, and the run that stands there."""

    table: str
    labels: dict[str, Any]
    scenario: Scenario

    @property
    def timing_only(self) -> bool:
        """Whether only the clock runs."""
        return self.table != "tuned"


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    carry_out(study, words, "speedup", __doc__)


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = [
        place._replace(scenario=scenario)
        for place in (*speedup_places(options.scenarios), *idle_places(options.scenarios))
        for scenario in sweep.replicates([place.scenario], options.replicates)
    ]
    runs = [(place.scenario, place.timing_only) for place in places]
    summaries = finished(runs, options.results, options.jobs)
    rows = [(place, sweep.folder_of(place.scenario, options.results, place.timing_only)) for place in places]
    tables = {
        name: pd.DataFrame(
            {"run_id": folder.name} | summaries[folder] | place.labels
            for place, folder in rows
            if place.table == name
        )
        for name in ("timed", "tuned")
    }
    spent = [folder for place, folder in rows if place.table == "spent"]
    tables["runs"] = pd.DataFrame({"run_id": folder.name} | summaries[folder] for folder in spent)
    tables["workers"] = pd.concat(
        [read_table(folder, "workers").assign(run_id=folder.name) for folder in spent], ignore_index=True
    )
    for name in ("speedup", "idle"):
        for file in figures.draw(name, tables.__getitem__, options.output):
            say(file)


def speedup_places(folder: Path) -> Iterator[SpeedupPlace]:
    """Yield the places of the figure `speedup`; the scenarios are in `folder`."""
    for setting, values in STUDIES.items():
        for value in values:
            for method in METHODS:
                labels = {"study": setting, "value": value}
                scenario = _scenario(folder, method, setting, value)
                yield SpeedupPlace("timed", labels, _of_the_clock(scenario))
                if scenario.n_workers <= MOST_LEARNING:
                    yield SpeedupPlace("tuned", labels, scenario)


def idle_places(folder: Path) -> Iterator[SpeedupPlace]:
    """Yield the places of the figure `idle`: with a straggler and without."""
    for name in ("no-straggler", "straggler"):
        for scenario in load_variants(folder / f"{name}.toml", [], ALL_METHODS):
            yield SpeedupPlace("spent", {}, _of_the_clock(scenario))


def _scenario(folder: Path, method: str, setting: str, value: float) -> Scenario:
    """Return the straggler's scenario with one setting varied."""
    n_workers = int(value) if setting == "n_workers" else N_WORKERS
    wait_for = int(value) if setting == "wait_for" else -(-n_workers * WAIT_FOR // N_WORKERS)
    # Both methods are measured once in R updates.
    overrides = [f"workers.0.count={n_workers - 1}", f"evaluation.every_updates={n_workers}"]
    if setting == "straggler_factor":
        overrides.append(f"workers.1.slow_down={value}")
    if method == "asyndbt":
        overrides.append(f"algorithm.wait_for={wait_for}")  # SDBT has no such setting
        if setting == "tau":
            overrides.append(f"algorithm.tau={value}")
    (scenario,) = load_variants(folder / "straggler.toml", overrides, [method])
    return scenario


def _of_the_clock(scenario: Scenario) -> Scenario:
    """Return the scenario for a run of the clock alone: equal work in place of a common end."""
    return scenario.model_copy(update={"budget": Budget(epochs=ROUNDS), "target": None})


if __name__ == "__main__":
    main()

"""Figure 1: training time of three methods on six tasks, with alike workers and with unlike ones.

Run as ``python -m fedsim_analysis.studies.figure1``; ends with the figure `figure1` below `figures/`, as PDF,
PNG and CSV. What is finished already is found again. Runs with alike workers lie in ``results/figure1``,
where `fedsim table figure1` and others read them. Those with unlike workers lie in a folder beside it, and so
do those of the clock alone, with the least and the largest slope that was published for a prompt token. So
do the ablations, which `fedsim table calibration` reads: not drawn, but made by the same processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from fedsim import sweep
from fedsim.errors import InputError
from fedsim.results import load_results
from fedsim.scenario import Scenario, load_variants
from fedsim.scenario.files import read_file
from fedsim.terminal import say
from fedsim_analysis import figures
from fedsim_analysis.frames import BASELINE
from fedsim_analysis.studies.running import carry_out, finished, processes

METHODS = (BASELINE, "sdbt", "asyndbt")
SLOPES_S = (0.000024, 0.00024)
"""Of a prompt token: the least and the largest published (io.net, 70B on two H100; a survey)."""
ABLATIONS = "ablations"
"""The folder beside that of the scenarios, and that of their results: what each part of a prompt is worth."""
PROVIDERS = Path("common") / "providers.toml"
"""Beside the folder of the scenarios: the unlike workers."""
MACHINE = "perplexity"
"""In the place of which of them cenDBT's machine stands: neither the fastest nor the slowest."""
MOST_UNLIKE, MOST_OF_CLOCK = 3, 2
"""Seeds, at most: between seeds a time differs by less than half a percent."""

Table = Literal["runs", "unlike", "slopes"]


class BarPlace(NamedTuple):
    """A run, and where in the figure it stands."""

    table: Table
    scenario: Scenario
    labels: dict[str, object]

    @property
    def timing_only(self) -> bool:
        """Whether only the clock runs."""
        return self.table == "slopes"

    def home(self, results: Path) -> Path:
        """Return the folder of the results with which it lies."""
        return results if self.table == "runs" else results.with_name(f"{results.name}_{self.table}")


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    carry_out(study, words, "figure1", __doc__)


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = list(places_of(options.scenarios, options.replicates))
    tables = {}
    with processes(options.jobs) as engine:
        for table in ("runs", "unlike", "slopes"):
            here = [place for place in places if place.table == table]
            home = here[0].home(options.results)
            runs = [(place.scenario, place.timing_only) for place in here]
            finished(runs, home, options.jobs, engine)
            own = [sweep.folder_of(place.scenario, home, place.timing_only) for place in here]
            rows = [{"run_id": folder.name} | place.labels for folder, place in zip(own, here, strict=True)]
            # Runs of other settings may lie beside these.
            tables[table] = load_results(own).merge(pd.DataFrame(rows), on="run_id", validate="1:1")
        ablations = ablations_beside(options.scenarios, options.replicates)
        home = options.results.with_name(ABLATIONS)
        finished([(scenario, False) for scenario in ablations], home, options.jobs, engine)
    more: dict[str, Any] = {name: tables[name] for name in ("unlike", "slopes")}
    for file in figures.draw("figure1", tables.__getitem__, options.output, **more):
        say(file)


def places_of(folder: Path, n_seeds: int) -> Iterator[BarPlace]:
    """Yield all runs: tasks and methods, with alike and unlike workers, and slopes.

    Raises:
        InputError: there is no scenario in the folder.
    """
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise InputError(f"{folder}: found no scenario files, expected those of the tasks")
    providers = read_file(folder.parent / PROVIDERS).table["workers"]
    for scenario in (scenario for file in files for scenario in load_variants(file, [], METHODS)):
        unlike = among(scenario, providers)
        for one in sweep.replicates([scenario], n_seeds):
            yield BarPlace("runs", one, {})
        for one in sweep.replicates([unlike], min(n_seeds, MOST_UNLIKE)):
            yield BarPlace("unlike", one, {})
        for slope_s in SLOPES_S:
            for mix, workers in (("alike", scenario), ("unlike", unlike)):
                other = workers.replace("llm.per_input_token_s", slope_s)
                for one in sweep.replicates([other], min(n_seeds, MOST_OF_CLOCK)):
                    yield BarPlace("slopes", one, {"mix": mix, "slope_s": slope_s})


def ablations_beside(folder: Path, n_seeds: int) -> list[Scenario]:
    """Return the ablations of the tasks, if there are some beside the folder of their scenarios."""
    files = sorted(folder.with_name(ABLATIONS).glob("*.toml"))
    return sweep.replicates([scenario for file in files for scenario in load_variants(file)], n_seeds)


def among(scenario: Scenario, providers: Sequence[object]) -> Scenario:
    """Return a scenario with unlike workers."""
    changes: dict[str, object] = {"workers": providers}
    if scenario.schedule.machine is not None:
        changes["algorithm.machine"] = MACHINE
    return scenario.replace(changes)


if __name__ == "__main__":
    main()

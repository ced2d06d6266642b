"""All methods on three networks, with and without one slow worker, on a real model and real texts.

Run as ``python -m fedsim_analysis.studies.comparison``; ends with the figure `comparison` below `figures/`,
as PDF, PNG and CSV, and prints the table `comparison`. What is finished already is found again.

Each scenario file is a set of texts, and its variants are the methods; files whose texts are not there are
left out with a sentence. The clock of every method runs on every network, alone. Where learning cannot depend
on times (nobody steps before all have reported) one run learns for all networks, the one on the first network
without a slow worker; the others learn wherever their clock is another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim import sweep
from fedsim.errors import InputError, ResultsError
from fedsim.scenario import Scenario
from fedsim.scenario.files import ScenarioFile, read_file
from fedsim.schedule import Schedule, Steps
from fedsim.terminal import say, show
from fedsim.whole_files import write_whole
from fedsim_analysis import figures, tables
from fedsim_analysis.studies.running import carry_out, finished

NETWORKS = Path("common") / "networks.toml"
"""Beside the folder of the scenarios: its variants are networks, with the access line of a worker."""
SLOW_DOWN = 4.0
"""Of the slow worker, which is the last group."""
OF_LEARNING = ("accuracy", "loss")
"""What a run that learns has and its clock alone has not, and all columns that begin so."""


class ComparisonPlace(NamedTuple):
    """A place in the comparison: a run of the clock, and the run that learns for it."""

    labels: dict[str, Any]
    clock: Scenario
    learns: Scenario | None
    """None: there is nothing to learn, the method is a model of costs."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the study, draw it and print its table."""
    carry_out(study, words, "comparison", __doc__)


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = [
        place
        for file in files_there(options.scenarios)
        for place in places_of(file, networks(options.scenarios), options.replicates)
    ]
    clocks = [(place.clock, True) for place in places]
    learning = [(place.learns, False) for place in places if place.learns is not None]
    summaries = finished([*clocks, *learning], options.results, options.jobs)
    rows = pd.DataFrame(row(place, summaries, options.results) for place in places)
    for file in figures.draw("comparison", {"joined": rows}.__getitem__, options.output):
        say(file)
    found, rendered = tables.make("comparison", rows)
    show(rendered)
    file = options.output / "comparison.tex"
    write_whole(file, tables.latex("comparison", found))
    say(file)


def files_there(folder: Path) -> list[ScenarioFile]:
    """Return the scenario files whose texts are there; say of the others that they are left out.

    Raises:
        InputError: no texts are there.
    """
    found = []
    for path in sorted(folder.glob("*.toml")):
        file = read_file(path)
        texts = path.parent / file.table["problem"]["task"]["file"]
        if texts.exists():
            found.append(file)
        else:
            say(f"{path}: left out, as there are no texts in {texts}", err=True)
    if not found:
        raise InputError(f"{folder}: found no scenario whose texts are there; `make comparison` makes some")
    return found


def networks(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each network says of a worker's access line."""
    variants = read_file(folder.parent / NETWORKS).variants
    return {name: layers[-1]["workers"][0] for name, layers in variants.items()}


def places_of(
    file: ScenarioFile, lines: Mapping[str, Mapping[str, Any]], n_seeds: int
) -> Iterator[ComparisonPlace]:
    """Yield all places of a set of texts: methods, networks, with and without a slow worker, seeds."""
    first = next(iter(lines))
    for variant in file.chosen():
        plain = file.scenario(variant)
        for network, straggler in product(lines, (False, True)):
            scenario = placed(plain, network, lines[network], straggler)
            if not plain.algorithm.learns:
                learns = None
            elif depends_on_times(plain):
                # Workers that exchange nothing meet no network.
                learns = placed(plain, first, lines[first], straggler) if plain.schedule.alone else scenario
            else:
                learns = placed(plain, first, lines[first], straggler=False)
            labels = {"task": file.name, "method": variant, "network": network, "straggler": straggler}
            for number in range(n_seeds):
                seed = plain.seed + number
                yield ComparisonPlace(
                    labels | {"seed": seed},
                    scenario.with_seed(seed),
                    learns and learns.with_seed(seed),
                )


def placed(scenario: Scenario, network: str, line: Mapping[str, Any], straggler: bool) -> Scenario:
    """Return a scenario on a network, perhaps with its last worker slow."""
    slow = ".straggler" if straggler else ""
    changes: dict[str, Any] = {"name": f"{scenario.name}.{network}{slow}"}
    last = len(scenario.workers) - 1
    for number in range(last + 1):
        changes |= {f"workers.{number}.{key}": line[key] for key in _read(scenario.schedule, line)}
    if straggler:
        changes[f"workers.{last}.slow_down"] = SLOW_DOWN
    return scenario.replace(changes)


def _read(schedule: Schedule, line: Mapping[str, Any]) -> list[str]:
    """Return what matters of an access line: where nothing is sent there is none, and bytes may be none."""
    if schedule.alone or schedule.machine is not None:
        return []
    used = {"upload_mbps": schedule.sends_up, "download_mbps": schedule.sends_down}
    return [key for key in line if used.get(key, True)]


def depends_on_times(scenario: Scenario) -> bool:
    """Whether a step may come before all workers have reported, so that times decide who is in it."""
    rule = scenario.schedule.rule
    return isinstance(rule, Steps) and rule.tau > 1 and rule.wait_for < scenario.n_machines


def row(place: ComparisonPlace, summaries: Mapping[Path, dict[str, Any]], results: Path) -> dict[str, Any]:
    """Return the times of the clock and what the run that learns for it has measured.

    Raises:
        ResultsError: the two are not the same run but for their times.
    """
    folder = sweep.folder_of(place.clock, results, timing_only=True)
    timed = summaries[folder]
    found = {"run_id": folder.name} | timed | place.labels
    if place.learns is None:
        return found
    learned = summaries[sweep.folder_of(place.learns, results)]
    for column in ("server_steps", "worker_updates", "llm_calls"):
        if learned[column] != timed[column]:
            raise ResultsError(
                f"{place.clock.label}: {column}: found {learned[column]} where it learns and {timed[column]} "
                "by the clock alone, expected the same"
            )
    return found | {key: value for key, value in learned.items() if key.startswith(OF_LEARNING)}


if __name__ == "__main__":
    main()

"""What workers share: a rate limit, a queue at the LLM service, a network; three figures of the clock alone.

Run as ``python -m fedsim_analysis.studies.systems``; ends with `rate_limit`, `queue` and `topology` below
`figures/`, each as PDF, PNG and CSV. Nothing is learned in these runs: no learned value moves the clock. What
is finished already is found again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim import sweep
from fedsim.results import read_table
from fedsim.scenario import Scenario, load_variants
from fedsim.terminal import say
from fedsim_analysis import figures
from fedsim_analysis.studies.running import carry_out, finished

LIMITS: tuple[float | None, ...] = (300.0, 1000.0, 3000.0, 10000.0, 30000.0, None)
"""Requests per minute, for all workers together; none: no limit."""
AT_THE_LIMIT = ("llm.burst_s=1.0", "llm.over_limit=queue")
"""Hardly any burst: the limit alone then bounds the time."""
WORKERS = (3, 10, 30, 100)


class SystemsPlace(NamedTuple):
    """A place in a figure, and the run that stands there."""

    labels: dict[str, Any]
    """Settings that the figure reads, by the names that they have in a table of runs."""
    scenario: Scenario


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    carry_out(study, words, "systems", __doc__, only=PLACES)


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = {
        name: [
            SystemsPlace(place.labels, scenario)
            for place in PLACES[name](options.scenarios)
            # A network is drawn as one run leaves it: a panel has no room for more.
            for scenario in sweep.replicates(
                [place.scenario], 1 if name == "topology" else options.replicates
            )
        ]
        for name in options.only or PLACES
    }
    runs = [(place.scenario, True) for of_one in places.values() for place in of_one]
    summaries = finished(runs, options.results, options.jobs)
    for name, of_one in places.items():
        folders = [sweep.folder_of(place.scenario, options.results, timing_only=True) for place in of_one]
        rows = [
            {"run_id": folder.name} | summaries[folder] | place.labels
            for folder, place in zip(folders, of_one, strict=True)
        ]
        load = _tables(pd.DataFrame(rows), folders)
        for file in figures.draw(name, load, options.output):
            say(file)


def _tables(runs: pd.DataFrame, folders: list[Path]) -> Callable[[str], pd.DataFrame]:
    def load(name: str) -> pd.DataFrame:
        if name == "runs":
            return runs
        parts = [read_table(folder, name).assign(run_id=folder.name) for folder in folders]
        return pd.concat(parts, ignore_index=True)

    return load


def _rate_limit(folder: Path) -> Iterator[SystemsPlace]:
    for method, n_workers, limit in product(("sdbt", "asyndbt"), WORKERS, LIMITS):
        overrides = [f"workers.0.count={n_workers}"]
        if method == "asyndbt":
            overrides.append(f"algorithm.wait_for={(n_workers + 1) // 2}")
        if limit is not None:
            overrides += [f"llm.requests_per_minute={limit}", *AT_THE_LIMIT]
        (scenario,) = load_variants(folder / "rate_limit.toml", overrides, [method])
        yield SystemsPlace({"llm.requests_per_minute": limit}, scenario)


def _queue(folder: Path) -> Iterator[SystemsPlace]:
    for scenario in load_variants(folder / "queue.toml"):
        outages = getattr(scenario.llm, "outages", ())
        yield SystemsPlace(
            {
                f"llm.outages.{number}.{edge}": getattr(outage, edge)
                for number, outage in enumerate(outages)
                for edge in ("start_s", "stop_s")
            },
            scenario,
        )


def _topology(folder: Path) -> Iterator[SystemsPlace]:
    for scenario in load_variants(folder / "topology.toml"):
        yield SystemsPlace({}, scenario)


PLACES: dict[str, Callable[[Path], Iterator[SystemsPlace]]] = {
    "rate_limit": _rate_limit,
    "queue": _queue,
    "topology": _topology,
}

if __name__ == "__main__":
    main()

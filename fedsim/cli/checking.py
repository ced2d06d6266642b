"""The command that tells what will happen before anything runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsim.cli.options import Files, Only, Overrides, scenarios_of
from fedsim.terminal import give, say

if TYPE_CHECKING:
    from fedsim.scenario import Scenario
    from fedsim.scenario.files import ScenarioFile
    from fedsim.sweep.plan import Plan


def check(
    files: Files,
    overrides: Overrides = None,
    only: Only = None,
    out: Annotated[Path, typer.Option(help="Folder for results: can they be written?")] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON and nothing else.")] = False,
) -> None:
    """Check scenario files, and tell what a run will do: work, time, limits, calls and price.

    Nothing is run and no model is asked. Of a file that states a sweep all runs are checked and added up, and
    the first is told in detail.
    """
    from fedsim.scenario.files import read_file

    told: list[dict[str, Any]] = []
    for file in map(read_file, files):
        found = _of_sweep(file, overrides, only, as_json) if file.sweep is not None else None
        told += [found] if found is not None else _of_scenarios(file, overrides, only, as_json)
    unwritable = _unwritable(out)
    if unwritable and not as_json:
        say(f"fedsim: note: {unwritable}", err=True)
    if as_json:
        told = [each | {"unwritable": unwritable} for each in told]
        give(json.dumps(told[0] if len(told) == 1 else told, indent=2) + "\n")


def _of_scenarios(
    file: ScenarioFile, overrides: list[str] | None, only: list[str] | None, as_json: bool
) -> list[dict[str, Any]]:
    """Check the scenarios of a file and tell about each."""
    scenarios = scenarios_of([file], overrides, only)
    notes: dict[str, list[str]] = {}
    found = []
    for scenario in scenarios:
        _check(scenario)
        if not as_json:
            say(f"{scenario.label}: {scenario.algorithm.kind}, {scenario.n_workers} workers: fine")
        told, of_scenario = _told(scenario, as_json)
        found.append(told)
        for note in of_scenario:
            notes.setdefault(note, []).append(scenario.label)
    for note, labels in notes.items():
        everywhere = 1 < len(labels) == len(scenarios)
        who = f"{scenarios[0].name}, all variants" if everywhere else ", ".join(labels)
        if not as_json:
            say(f"fedsim: note: {who}: {note}", err=True)
    return found


def _unwritable(out: Path) -> str:
    """Say why results cannot be written there; nothing where they can."""
    from fedsim.results import UnwritableError, check_writable

    try:
        check_writable(out / "name" / "address")
    except UnwritableError as error:
        return str(error)
    return ""


def _check(scenario: Scenario) -> None:
    from fedsim.faults import names_parts
    from fedsim.scenario.sizes import check_data, check_memory

    check_memory(scenario)
    names_parts(check_data)(scenario)


def _told(scenario: Scenario, as_json: bool, with_zeros: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Print what is expected of a run unless that is for a program; return it, and what is to be noted."""
    from fedsim.faults import names_parts
    from fedsim.scenario.times import off_at_the_start, silent_zeros
    from fedsim_analysis.outlook import expected, telling

    outlook = names_parts(expected.outlook)(scenario)
    notes = list(names_parts(expected.noted)(outlook))
    if with_zeros and (zeros := names_parts(silent_zeros)(scenario)):
        notes.append(f"0 s, as nothing is said of it: {', '.join(zeros)}")
    if off := names_parts(off_at_the_start)(scenario):
        notes.append(off)
    if not as_json:
        for line in telling.lines(telling.told(outlook)):
            say(line)
    return telling.as_json(outlook, notes), notes


def _of_sweep(
    file: ScenarioFile, overrides: list[str] | None, only: list[str] | None, as_json: bool
) -> dict[str, Any]:
    """Check all runs of a sweep, add up what they ask, and tell about the first."""
    from fedsim.scenario.implausible import NOBODY, implausible
    from fedsim.sweep.plan import read_plan
    from fedsim_analysis.outlook import telling
    from fedsim_analysis.outlook.whole_sweep import SweepOutlook

    plan: Plan = read_plan(file, overrides or [], only or [])
    n_runs, keys = plan.count(), ", ".join(plan.keys) or "nothing"
    if not as_json:
        say(f"{plan.name}: a sweep of {n_runs:,} runs over {keys}: fine")
    whole, notes = SweepOutlook(), Counter[str]()
    for planned in plan.runs():
        whole.add(planned.scenario)
        notes.update(implausible(planned.scenario))
    first = next(plan.runs())
    if not as_json:
        for line in telling.lines(whole.told()):
            say(line)
        say(f"the first run ({first.point.label or first.scenario.label}, seed {first.scenario.seed}):")
    told, of_first = _told(first.scenario, as_json, with_zeros=False)
    said = [
        note if n == n_runs else f"{n:,} of {n_runs:,} runs: {note}"
        for note, n in notes.items()
        if n == n_runs or not note.endswith(NOBODY)  # runs without attackers are what others are held against
    ]
    said += [f"the first run: {note}" for note in of_first if note not in notes]
    for note in said:
        if not as_json:
            say(f"fedsim: note: {plan.name}: {note}", err=True)
    return {
        "sweep": plan.name,
        "runs": n_runs,
        "keys": plan.keys,
        **whole.as_json(),
        "notes": said,
        "first": told,
    }

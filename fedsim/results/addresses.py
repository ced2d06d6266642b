"""The folder of a run: a hash of its scenario."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fedsim.scenario import Scenario, dump, resolved

TIMING_ONLY = "timing-only"
"""The folder, among results, of runs of the clock alone."""


def run_id(scenario: Scenario) -> str:
    """Return the address of a run: a hash of the resolved scenario, its seed included."""
    return address(scenario, dump(scenario))


def address(scenario: Scenario, dumped: str) -> str:
    """Return the address of a run whose scenario has been dumped already."""
    if "sha256" in dumped:  # it states the content of files: wherever those are, it is the same run
        import tomli_w

        dumped = tomli_w.dumps(_without_places(resolved(scenario)))
    return hashlib.sha256(dumped.encode()).hexdigest()[:12]


def folder_of(scenario: Scenario, out: Path) -> Path:
    """Return where the results of a scenario go."""
    return out / scenario.name / run_id(scenario)


def settings_of(scenario: Scenario) -> dict[str, Any]:
    """Return every setting of a scenario under its dotted name."""
    return dict(_flat(resolved(scenario)))


def _without_places(value: Any) -> Any:
    """Leave out the paths of files whose content is stated."""
    if isinstance(value, list):
        return [_without_places(part) for part in value]
    if not isinstance(value, dict):
        return value
    places = {"file", "folder"} if "sha256" in value else set()
    return {key: _without_places(part) for key, part in value.items() if key not in places}


def _flat(table: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested tables and lists under dotted names."""
    if isinstance(table, dict):
        items = list(table.items())
    elif isinstance(table, list) and any(isinstance(part, dict) for part in table):
        items = [(str(place), part) for place, part in enumerate(table)]
    else:
        return [(prefix, table)]
    return [leaf for key, value in items for leaf in _flat(value, f"{prefix}.{key}" if prefix else key)]

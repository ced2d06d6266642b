"""The folder of a run: a hash of its scenario, and of the code of parts that are not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsim.part_code import PartCode, code_of, has_own_kinds, with_own_kinds
from fedsim.scenario import Scenario, dump, resolved
from fedsim.scenario.files import without_idle_attacks, without_places
from fedsim.scenario.names import TIMING_ONLY as TIMING_ONLY
from fedsim.scenario.overrides import UNSET


def run_id(scenario: Scenario, timing_only: bool = False) -> str:
    """Return the address of a run: a hash of the resolved scenario, its seed included.

    A run of the clock alone is another run, with an address of its own.
    """
    return address(scenario, dump(scenario), timing_only)


def address(
    scenario: Scenario, dumped: str, timing_only: bool, parts: Mapping[str, PartCode] | None = None
) -> str:
    """Return the address of a run whose scenario has been dumped already.

    What changes no number is left out of it: the description, and where files are whose content is stated.

    Args:
        scenario: of the run.
        dumped: the same, as TOML.
        timing_only: whether the clock alone runs.
        parts: the code of parts that are not ours; as it is here and now if not given.
    """
    scenario = without_idle_attacks(scenario)
    parts = code_of(scenario) if parts is None else parts
    if "sha256" in dumped or scenario.description or parts or not has_own_kinds(scenario):
        import tomli_w

        table = without_places(with_own_kinds(resolved(scenario), scenario), scenario) | {"description": ""}
        # No scenario has such a key: a run of parts of ours alone has the address that it always had.
        table |= {"parts": {place: code._asdict() for place, code in parts.items()}} if parts else {}
        dumped = tomli_w.dumps(table)
    if timing_only:
        dumped += "timing_only = true\n"
    return hashlib.sha256(dumped.encode()).hexdigest()[:12]


def folder_of(scenario: Scenario, out: Path, timing_only: bool = False) -> Path:
    """Return where the results of a run go; those of the clock alone lie together, apart from the others."""
    place = out / TIMING_ONLY if timing_only else out
    return place / scenario.name / run_id(scenario, timing_only)


def settings_of(scenario: Scenario) -> dict[str, Any]:
    """Return every setting of a scenario under its dotted name, and a mark for the code of parts not ours.

    Runs before and after a change of that code are runs of different settings.
    """
    marks = {f"parts.{place}": code.mark for place, code in code_of(scenario).items()}
    settings = {key: value for key, value in _flat(resolved(scenario)) if key.rpartition(".")[2] != UNSET}
    return settings | marks


def _flat(table: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested tables and lists under dotted names."""
    if isinstance(table, dict):
        items = list(table.items())
    elif isinstance(table, list) and any(isinstance(part, dict) for part in table):
        items = [(str(place), part) for place, part in enumerate(table)]
    else:
        return [(prefix, table)]
    return [leaf for key, value in items for leaf in _flat(value, f"{prefix}.{key}" if prefix else key)]

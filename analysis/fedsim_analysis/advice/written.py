"""The scenario file with the advised settings put in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsim.errors import InputError
from fedsim.scenario import Scenario, resolved
from fedsim.scenario.files import ScenarioFile, dump, load_scenario
from fedsim.whole_files import write_whole


def write(
    file: Path,
    origin: ScenarioFile,
    variant: str,
    table: Mapping[str, Any],
    advised: Scenario,
    remark: str = "",
) -> str:
    """Write a scenario file that has the advised settings, and return how, in half a sentence.

    It extends the file that was asked about, with a small table; where that would give another scenario (an
    option has overridden something, or the file came through a pipe), it states all settings.

    Args:
        file: to be written.
        origin: the file that was asked about.
        variant: which of its variants.
        table: what goes over it.
        advised: the scenario that is to come out.
        remark: what stands at the top.

    Raises:
        InputError: it cannot be written.
    """
    import tomli_w

    small: dict[str, Any] = {"extends": os.path.relpath(origin.path, file.parent), "name": advised.name}
    if origin.variants:
        small["unset"] = ["variants"]
        for layer in origin.variants[variant]:
            small = _over(small, layer)
    small = _over(small, table)
    head = f"# {remark}\n" if remark else ""
    write_whole(file, head + tomli_w.dumps(small))
    if _gives(file, advised):
        return f"it extends {small['extends']}"
    write_whole(file, head + dump(advised))
    if not _gives(file, advised):
        raise InputError(f"{file}: what was written does not give the advised settings; a fault of fedsim's")
    return "it states all settings"


def _gives(file: Path, advised: Scenario) -> bool:
    """Whether a file gives this scenario, whatever the name of its variant and its seed."""
    try:
        found = load_scenario(file)
    except InputError:
        return False
    tables = [resolved(scenario.trusted_copy({"variant": "", "seed": 0})) for scenario in (found, advised)]
    return tables[0] == tables[1]


def _over(table: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a table over another as text: what takes something away takes it away from the file below."""
    found = dict(table)
    for key, value in over.items():
        old = found.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            found[key] = _over(old, value)
        elif key == "unset" and isinstance(old, list) and isinstance(value, list):
            found[key] = [*old, *(name for name in value if name not in old)]
        else:
            found[key] = value
    return found

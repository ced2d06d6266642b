"""The data that a scenario names, known by their hash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fedsim.catalog import Strict
from fedsim.scenario import Scenario
from fedsim.scenario.spots import Spot


class NamedData(NamedTuple):
    """A file or folder that a scenario names."""

    key: str
    """The dotted key of its path."""
    path: Path
    sha256: str
    """Of its content; empty where the scenario does not know it."""

    @property
    def place(self) -> str:
        """Where it lies among the scenarios of a packed study."""
        return f"data/{self.sha256[:12]}/{self.path.name}"


def data_of(scenario: Scenario) -> list[NamedData]:
    """Return the data that a scenario names by path; what its text holds itself is none of them."""
    return list(_data(scenario, ""))


def _data(value: Any, inside: str) -> Iterator[NamedData]:
    if isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from _data(part, f"{inside}{number}.")
    if not isinstance(value, Strict):
        return
    for key, field in type(value).model_fields.items():
        part, spot = getattr(value, key, None), Spot(field)
        if spot.path is None:
            yield from _data(part, f"{inside}{key}.")
        elif spot.is_kept and isinstance(part, str) and part not in spot.path.names:
            yield NamedData(f"{inside}{key}", Path(part), getattr(value, "sha256", None) or "")

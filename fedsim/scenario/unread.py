"""Settings without effect: which places of a scenario the chosen parts do not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fedsim.catalog import Strict

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario


def unread(scenario: Scenario) -> dict[str, str]:
    """Return the dotted places that have no effect, each with the reason."""
    found = dict(_idle(scenario, ""))
    found |= scenario.algorithm.unread(scenario)
    if scenario.llm is not None and not any(work.cost.calls for work in scenario.schedule.work.values()):
        found["llm"] = "no job makes an LLM call"
    return found


def stated(scenario: Scenario, place: str) -> bool:
    """Whether a scenario states the setting at this dotted place, and does not leave it to its default."""
    value: Any = scenario
    for step in place.split("."):
        if isinstance(value, tuple):
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, Strict) and step in value.model_fields_set:
            value = getattr(value, step)
        else:
            return False
    return True


def without_effect(place: str, reason: str) -> str:
    """Say that a setting must not be stated, and how one that was inherited is taken away."""
    *steps, last = place.split(".")
    unset = ".".join([*steps, "unset"])
    return f'{place}: has no effect: {reason}; leave it out, or take it away by {unset} = ["{last}"]'


def without_unread(table: dict[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """Return a resolved table without these places."""
    for place in places:
        *steps, last = place.split(".")
        inside: Any = table
        for step in steps:
            if isinstance(inside, list):
                inside = inside[int(step)]
            elif isinstance(inside, dict):
                inside = inside.get(step)
        if isinstance(inside, dict):
            inside.pop(last, None)
    return table


def _idle(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield what settings switch off in their own table, at any depth."""
    if isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from _idle(part, f"{place}{number}.")
    elif isinstance(value, Strict):
        for name, reason in value.idle().items():
            yield place + name, reason
        for name in type(value).model_fields:
            yield from _idle(getattr(value, name), f"{place}{name}.")

"""Settings without effect: which places of a scenario the chosen parts do not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fedsim.catalog import Strict

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario


def unread(scenario: Scenario) -> dict[str, str]:
    """Return the dotted places that have no effect, each with the reason."""
    found = dict(_idle(scenario, ""))
    found |= _of_jobs(scenario)
    found |= scenario.algorithm.unread(scenario)
    for number, attack in enumerate(scenario.attacks):
        for name, reason in scenario.problem.unread(attack).items():
            found[f"attacks.{number}.{name}"] = reason
    daily = (group.availability is not None and group.availability.reads_clock for group in scenario.machines)
    if not any(daily):
        found["clock"] = "no worker is on at some hours of the day (availability 'diurnal')"
    target = scenario.target
    if target is not None and target.metric.startswith("accuracy") and not scenario.problem.has_accuracy:
        found["target.metric"] = f"problem {scenario.problem.kind!r} has no accuracy"
    if target is not None and target.metric.endswith("_sampled") and not scenario.problem.measures_drawn:
        found["target.metric"] = (
            f"problem {scenario.problem.kind!r} measures no drawn prompts "
            '("sampled" in problem.also_measured)'
        )
    if not scenario.problem.on_device:
        found["device"] = f"problem {scenario.problem.kind!r} is computed by the processor"
    if not scenario.problem.asks_model:
        found["record.answers"] = "no real model is asked"
    if not scenario.algorithm.keeps:
        kind = scenario.algorithm.kind
        found["record.learned"] = f"nothing takes up again what algorithm {kind!r} has learned"
    # What a table is left out for is said once, and not of each of its settings.
    return {place: reason for place, reason in found.items() if not _within(place, found)}


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
    return value is not None


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


def _within(place: str, places: Mapping[str, str]) -> bool:
    """Whether a dotted place lies within another one of these."""
    steps = place.split(".")
    return any(".".join(steps[:length]) in places for length in range(1, len(steps)))


def _of_jobs(scenario: Scenario) -> dict[str, str]:
    """Return what the jobs of the algorithm have no use for."""
    schedule = scenario.schedule
    costs = [work.cost for work in schedule.work.values()]
    off, found = {}, {}
    if not any(cost.calls for cost in costs):
        found["llm"] = off["lanes"] = "no job makes an LLM call"
    if not any(cost.own_tokens or cost.own_gradient_tokens for cost in costs):
        off["own_model"] = "no job asks the workers' own model"
    # One machine for all sends nothing, which its algorithm says itself.
    if schedule.machine is None and not schedule.sends_up:
        off["upload_mbps"] = "jobs send no bytes up"
    if schedule.machine is None and not schedule.sends_down:
        off["download_mbps"] = "jobs send no bytes down"
    if schedule.alone:
        reason = "workers exchange nothing"
        found |= dict.fromkeys(("network", "server"), reason)
        off |= dict.fromkeys(("upload", "download"), reason)
    for number in range(len(scenario.workers)):
        found |= {f"workers.{number}.{key}": reason for key, reason in off.items()}
    return found


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

"""What would help: a scenario with one thing changed of what a method meets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedsim.errors import InputError
from fedsim.scenario import Scenario
from fedsim.timing.delays import DELAYS, Delay
from fedsim.timing.network.links import Link
from fedsim_analysis.advice.limits import LIMITS


@dataclass(frozen=True)
class Help:
    """One thing that could be otherwise."""

    words: str
    scenario: Scenario


def helps(scenario: Scenario) -> list[Help]:
    """Return the scenario with one thing at a time twice as good; of what is there, and limited."""
    found = []
    for words, settings in _changes(scenario):
        if not settings:
            continue
        try:
            changed = scenario.replace(settings)
        except InputError:
            continue  # what the method does not read
        if changed != scenario:
            found.append(Help(words, changed))
    return found


def _changes(scenario: Scenario) -> Iterator[tuple[str, dict[str, Any]]]:
    llm, groups = scenario.llm, list(enumerate(scenario.workers))
    for name, words in LIMITS.items():
        limit = getattr(llm, name, None)
        if limit is not None:
            yield f"twice the {words} ({limit:g} to {2 * limit:g})", {f"llm.{name}": 2 * limit}
    if llm is not None:
        yield "calls that are answered in half the time", _quicker(llm, "llm")
        lanes = {f"workers.{number}.lanes": 2 * group.lanes for number, group in groups}
        had = " and ".join(str(each) for each in sorted({group.lanes for group in scenario.workers}))
        yield f"twice the calls that a worker keeps open (lanes, now {had})", lanes
    slow = [(number, group) for number, group in groups if group.slow_down > _usual(scenario)]
    if slow:
        names = " and ".join(dict.fromkeys(group.name for _, group in slow))
        settings = {f"workers.{number}.slow_down": _usual(scenario) for number, _ in slow}
        yield f"the slow workers ({names}) as fast as the others", settings
    passing = {f"workers.{n}.transient.probability": 0.0 for n, group in groups if group.transient}
    yield "no jobs that are slow now and then", passing
    gone = {
        f"workers.{number}": {
            "unset": [key for key in ("availability", "on_return") if key in group.model_fields_set]
        }
        for number, group in groups
        if group.availability is not None
    }
    yield "workers that are always on", gone
    quick = {f"workers.{n}.compute_speed": 2 * group.compute_speed for n, group in groups}
    yield "workers' own arithmetic twice as fast", quick
    yield "twice the bandwidth", _wider(scenario)
    near: dict[str, Any] = {}
    for number, group in groups:
        for name in ("upload", "download"):
            near |= _scaled(getattr(group, name), f"workers.{number}.{name}")
    for place, link in _links(scenario):
        near |= _scaled(link.latency, f"{place}.latency")
    yield "messages with half the latency", near
    if scenario.server.step_s > 0:
        yield "a server that steps in half the time", {"server.step_s": scenario.server.step_s / 2}


def _usual(scenario: Scenario) -> float:
    """Return the slow-down of the fastest group."""
    return min(group.slow_down for group in scenario.workers)


def _quicker(llm: Any, place: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in type(llm).model_fields:
        value = getattr(llm, name)
        if isinstance(value, Delay):
            found |= _scaled(value, f"{place}.{name}")
        elif name.endswith("_token_s") and value:
            found[f"{place}.{name}"] = value / 2
        elif name.endswith("_tokens_per_s") and value:
            found[f"{place}.{name}"] = 2 * value
    return found


def _wider(scenario: Scenario) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, group in enumerate(scenario.workers):
        for name in ("upload_mbps", "download_mbps"):
            if (mbps := getattr(group, name)) is not None:
                found[f"workers.{number}.{name}"] = 2 * mbps
    for place, link in _links(scenario):
        if link.mbps is not None:
            found[f"{place}.mbps"] = 2 * link.mbps
    return found


def _links(scenario: Scenario) -> Iterator[tuple[str, Link]]:
    for name in type(scenario.network).model_fields:
        if isinstance(value := getattr(scenario.network, name), Link):
            yield f"network.{name}", value


def _scaled(delay: Delay, place: str) -> dict[str, Any]:
    """Return a delay of half the length; nothing where there is none, or one that is not ours."""
    if not delay.mean_value_s or DELAYS.builtin.get(delay.kind) is not type(delay):
        return {}
    return {place: _half(delay.model_dump(mode="json", exclude_none=True))}


def _half(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _half(part, key) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_half(part, name) for part in value]
    return value / 2 if name.endswith("_s") and isinstance(value, int | float) else value

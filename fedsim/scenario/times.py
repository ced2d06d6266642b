"""Whether the times of a scenario make sense: a clock that can move, and that can hold them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fedsim.catalog import Strict
from fedsim.scenario.unread import stated, unread
from fedsim.streams import Streams
from fedsim.timing.delays import Delay
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.pace import LONGEST_S
from fedsim.timing.time_of_day import spoken_time

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario


MOST_LOOKED_AT = 10_000
"""Workers of whom it is found out whether they are on at the start."""


def check_times(scenario: Scenario) -> None:
    """Check that simulated time can pass, and that no delay is longer than the clock.

    Raises:
        ValueError: one sentence with the place, what was found and what was expected.
    """
    for name in ("workers", "llm", "network"):
        for place, delay in delays(getattr(scenario, name), name):
            mean_s = delay.mean_value_s
            if math.isfinite(mean_s) and mean_s > LONGEST_S:
                raise ValueError(
                    f"{place}: found a mean of {mean_s:g} s, expected at most {LONGEST_S:g} s (272 years): "
                    "later times the clock cannot tell apart by microseconds"
                )
    budget = scenario.budget
    if scenario.llm is not None:
        lasts_s = LONGEST_S if budget.horizon_s is None else budget.horizon_s
        try:
            costs = [work.cost for work in scenario.schedule.work.values() if work.cost.calls]
            call_tokens = max(
                ((cost.tokens_in + cost.tokens_out) / cost.calls for cost in costs), default=0.0
            )
            # Who loses patience with its workers does not wait for a service.
            scenario.llm.check(lasts_s, call_tokens, scenario.server.evict_after_s is None)
        except ValueError as error:
            raise ValueError(f"llm.{error}") from error
    by_time_alone = budget.server_steps is None and budget.updates(scenario.n_machines) is None
    if by_time_alone and _nothing_takes_time(scenario):
        raise ValueError(
            f"budget: found horizon_s = {budget.horizon_s:g} alone, but arithmetic, calls, transfers and "
            "server.step_s all take 0 s, so that no time would ever pass; expected a time above 0, or a "
            "budget of epochs, server_steps or worker_updates"
        )


def silent_zeros(scenario: Scenario) -> list[str]:
    """Return the dotted places of what takes no time because nothing is said of it."""
    off = unread(scenario)
    found = []
    for name in ("workers", "llm", "network"):
        for place, delay in delays(getattr(scenario, name), name):
            shut = place in off or any(place.startswith(f"{other}.") for other in off)
            shut |= ".availability." in place  # no part of a job
            if delay.mean_value_s == 0 and not shut and not stated(scenario, place):
                found.append(place)
    return found


def off_at_the_start(scenario: Scenario) -> str:
    """Say who is off at time 0, and what the server does about it; nothing where everybody is on."""
    streams = Streams(scenario.seed)
    off, longest_s, later, number = [], 0.0, 0, 0
    for group in scenario.machines:
        moved = group.starting_at(scenario.clock.starts_at)
        for place in range(group.count if group.availability is not None else 0):
            worker = number + place
            if worker >= MOST_LOOKED_AT:
                break
            if moved.joins_s(streams, worker) > 0:
                later += 1
            elif (on_s := next(iter(moved.stretches(streams, worker, place) or ()), (0.0, 0.0))[0]) > 0:
                off.append(worker)
                longest_s = max(longest_s, on_s)
        number += group.count
    looked_at = f"of {number}" if number <= MOST_LOOKED_AT else f"of the first {MOST_LOOKED_AT}"
    said = []
    if off:
        patience_s = scenario.server.evict_after_s
        waits = (
            "waits for them, as it evicts nobody" if patience_s is None else f"evicts after {patience_s:g} s"
        )
        named = ", ".join(map(str, off[:10])) + (", ..." if len(off) > 10 else "")
        time = spoken_time(scenario.clock.starts_at)
        said.append(
            f"at time 0, {time}, {len(off)} {looked_at} workers are off ({named}), for up to "
            f"{longest_s:,.0f} s: the server {waits} "
            "(server.evict_after_s)"
        )
    if later:
        said.append(f"{later} {looked_at} workers join later")
    return "; ".join(said)


def delays(value: Any, place: str) -> Iterator[tuple[str, Delay]]:
    """Yield the delays of a table and of the tables in it, each with its dotted place."""
    if isinstance(value, Delay):
        yield place, value
    if isinstance(value, tuple):
        for number, part in enumerate(value):
            if isinstance(part, Strict):
                yield from delays(part, f"{place}.{number}")
    elif isinstance(value, Strict):
        for name in type(value).model_fields:
            yield from delays(getattr(value, name), f"{place}.{name}")


def _nothing_takes_time(scenario: Scenario) -> bool:
    schedule, llm = scenario.schedule, scenario.llm
    costs = [work.cost for work in schedule.work.values()]
    return (
        (scenario.server.step_s == 0 or schedule.alone)
        and all(_is_instant(group, scenario) for group in scenario.machines)
        and (llm is None or all(llm.instant(cost) for cost in costs if cost.calls))
        and scenario.network.instant(scenario.n_machines, schedule.sends_up or schedule.sends_down)
    )


def _is_instant(group: WorkerGroup, scenario: Scenario) -> bool:
    """Whether whatever workers of a group do by themselves takes no time."""
    schedule = scenario.schedule
    sent = schedule.sends_up and (group.upload_mbps or group.devices)
    got = schedule.sends_down and (group.download_mbps or group.devices)
    costs = [work.cost for work in schedule.work.values()]
    asked = any(cost.own_tokens or cost.own_gradient_tokens for cost in costs) and group.has_own_model
    drawn = (group.compute, group.upload, group.download)
    return not (sent or got or asked or any(delay.mean_value_s for delay in drawn))

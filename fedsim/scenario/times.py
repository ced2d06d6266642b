"""Whether the times of a scenario make sense: a clock that can move, and that can hold them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fedsim.catalog import Strict
from fedsim.timing.delays import Delay
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.pace import LONGEST_S

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario


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
    # Who loses patience with its workers does not wait for a service.
    if scenario.llm is not None and scenario.server.evict_after_s is None:
        try:
            costs = [work.cost for work in scenario.schedule.work.values() if work.cost.calls]
            call_tokens = max(
                ((cost.tokens_in + cost.tokens_out) / cost.calls for cost in costs), default=0.0
            )
            scenario.llm.check(LONGEST_S if budget.horizon_s is None else budget.horizon_s, call_tokens)
        except ValueError as error:
            raise ValueError(f"llm.{error}") from error
    by_time_alone = budget.server_steps is None and budget.updates(scenario.n_machines) is None
    if by_time_alone and _nothing_takes_time(scenario):
        raise ValueError(
            f"budget: found horizon_s = {budget.horizon_s:g} alone, but arithmetic, calls, transfers and "
            "server.step_s all take 0 s, so that no time would ever pass; expected a time above 0, or a "
            "budget of epochs, server_steps or worker_updates"
        )


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
    calls = any(work.cost.calls for work in scenario.schedule.work.values())
    return (
        scenario.server.step_s == 0
        and scenario.network.instant
        and not (calls and scenario.llm is not None and not scenario.llm.instant)
        and all(_is_instant(group, scenario) for group in scenario.machines)
    )


def _is_instant(group: WorkerGroup, scenario: Scenario) -> bool:
    """Whether whatever workers of a group do by themselves takes no time."""
    costs = [work.cost for work in scenario.schedule.work.values()]
    sent = any(cost.bytes_up for cost in costs) and group.upload_mbps is not None
    got = any(cost.bytes_down for cost in costs) and group.download_mbps is not None
    own = (group.compute, group.upload, group.download)
    return not (sent or got or group.own_model or group.devices or any(delay.mean_value_s for delay in own))

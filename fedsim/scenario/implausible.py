"""What a scenario says that may be meant, but is more likely a slip: another unit, a zero too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedsim.scenario.times import delays
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.network.links import Link

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario

MOST_CALL_S = 60.0
"""Mean time of an LLM call (s). A client gives up after 60 s to 10 min; a label takes a second or so, which
is some hundreds of milliseconds."""
MOST_TOKEN_S = 1.0
"""Mean time of an output token (s): a model on a laptop writes several in a second."""
MOST_MESSAGE_S = 60.0
"""Mean latency of a message (s): the way to the Moon and back takes 2.6 s."""
MOST_MBPS = 800_000.0
"""Of a link: the fastest Ethernet, IEEE 802.3df of 2024, has 800 Gbit/s."""
SLOW_DOWNS = (0.01, 1000.0)
"""A slow-down of 0.01 is a worker a hundred times faster than the others; beyond 1,000, the slowest phone is
compared with a data centre."""
MOST_PRICE = 1000.0
"""For a million tokens: the dearest model on sale in 2025, o1-pro, took 600 dollars for a million written."""
CALLS_EACH_HOUR = 1.0
"""Fewer calls of a worker in an hour are no limit of a service, but one meant for a second, or a thousand."""

NOBODY = "attacks nobody"


def implausible(scenario: Scenario) -> Iterator[str]:
    """Yield a sentence for each number that is likely to be a slip, with its dotted place."""
    yield from _of_calls(scenario)
    yield from _of_messages(scenario)
    for number, group in enumerate(scenario.workers):
        place, (least, most) = f"workers.{number}", SLOW_DOWNS
        for name, value in (("slow_down", group.slow_down), ("compute_speed", 1 / group.compute_speed)):
            if not least <= value <= most:
                stated = getattr(group, name)
                said = "faster" if value < least else "slower"
                factor = 1 / value if value < least else value
                yield f"{place}.{name} = {stated:g}: {factor:,.4g} times {said} than normal"
    for number, (attack, workers) in enumerate(scenario.assigned):
        if not workers:
            yield f"attacks.{number}: {attack.kind!r} {NOBODY}"


def _of_calls(scenario: Scenario) -> Iterator[str]:
    llm = scenario.llm
    costs = [work.cost for work in scenario.schedule.work.values() if work.cost.calls]
    if llm is None or not costs:
        return
    if all(llm.instant(cost) for cost in costs):
        yield "llm: calls are answered in 0 s"
    for place, delay in delays(llm, "llm"):
        of_token = "token" in place.rpartition(".")[2]
        if delay.mean_value_s > (MOST_TOKEN_S if of_token else MOST_CALL_S):
            of = "a token" if of_token else "a call"
            yield f"{place}: {delay.mean_value_s:,.4g} s for {of} on average; milliseconds meant?"
    prices = [("llm", llm), ("problem.model", getattr(scenario.problem, "model", None))]
    for place, part in prices:
        for name in ("price_per_million_tokens_in", "price_per_million_tokens_out"):
            if ((price := getattr(part, name, None)) or 0.0) > MOST_PRICE:
                yield f"{place}.{name} = {price:,g}: more than any model takes; is it the price of a million?"
    if not isinstance(llm, Shared):
        return
    groups = len(scenario.machines) if llm.shared_by == "group" else 1
    workers = scenario.n_machines / groups
    tokens = min((cost.tokens_in + cost.tokens_out) / cost.calls for cost in costs)
    for name, each in (("requests_per_minute", 1.0), ("tokens_per_minute", tokens)):
        limit = getattr(llm, name)
        if limit is not None and each and limit * 60 < CALLS_EACH_HOUR * workers * each:
            calls = limit * 60 / (workers * each)
            yield f"llm.{name} = {limit:g}: {calls:.2g} calls of a worker in an hour"


def _of_messages(scenario: Scenario) -> Iterator[str]:
    schedule = scenario.schedule
    ways = [("upload", schedule.sends_up), ("download", schedule.sends_down)]
    for number, group in enumerate(scenario.workers):
        for name in (name for name, sends in ways if sends):
            yield from _latency(f"workers.{number}.{name}", getattr(group, name).mean_value_s)
            yield from _bandwidth(f"workers.{number}.{name}_mbps", getattr(group, f"{name}_mbps"))
    network = scenario.network
    for name in type(network).model_fields if schedule.sends_up or schedule.sends_down else ():
        if isinstance(link := getattr(network, name), Link):
            yield from _latency(f"network.{name}.latency", link.latency.mean_value_s)
            yield from _bandwidth(f"network.{name}.mbps", link.mbps)


def _latency(place: str, mean_s: float) -> Iterator[str]:
    if mean_s > MOST_MESSAGE_S:
        yield f"{place}: {mean_s:,.4g} s for a message on average; milliseconds meant?"


def _bandwidth(place: str, mbps: float | None) -> Iterator[str]:
    if mbps is not None and mbps > MOST_MBPS:
        yield f"{place} = {mbps:,.10g}: faster than any link there is; bits or kilobits per second meant?"

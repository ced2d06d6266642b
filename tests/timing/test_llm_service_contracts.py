"""What every LLM service of the catalog keeps to. A new kind needs example settings here."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from service_cases import Asked, Found, serve

from fedsim.messages import JobCost
from fedsim.timing.activities import Activity
from fedsim.timing.llm_service import LLM_SERVICES, LlmProvider

SECOND = {"kind": "constant", "value_s": 1.0}
CHANCE = {"kind": "exponential", "mean_s": 1.0}


class Example(NamedTuple):
    """Settings of a kind by which every call is answered in a second, if it need not wait."""

    settings: dict[str, Any]
    latency: str
    """Which setting that second is."""
    disturbs: bool = True
    """Whether one worker's calls make another's wait."""
    counts: bool = True
    """Whether requests are counted."""


EXAMPLES: dict[str, list[Example]] = {
    "independent": [Example({}, "latency", disturbs=False, counts=False)],
    "shared": [
        Example(dict(limits), "ttft", disturbs=bool(limits))
        for limits in (
            {},
            {"concurrency": 2},
            {"requests_per_minute": 60, "burst_s": 2},
            {"concurrency": 2, "outages": ({"start_s": 1.5, "stop_s": 4.0},)},
        )
    ],
}
ROWS = [(kind, example) for kind, examples in EXAMPLES.items() for example in examples]

every_service = pytest.mark.parametrize(
    ("kind", "example"), ROWS, ids=[f"{kind} {number}" for number, (kind, _) in enumerate(ROWS)]
)


def provider(kind: str, example: Example, latency: dict[str, Any] = SECOND) -> LlmProvider:
    found = LLM_SERVICES[kind].model_validate({**example.settings, example.latency: latency})
    assert isinstance(found, LlmProvider)
    return found


JOBS = [
    Asked(0.0, calls=4, lanes=2),
    Asked(0.5, calls=1),
    Asked(0.5, calls=7, lanes=3, scale=2.0),
    Asked(3.0, calls=2, lanes=5),
]


def seconds(found: Found, worker: int) -> float:
    """Return how long a worker was calling and queueing (s), which must be in order and within its job."""
    spans = [span for span in found.clock.spans if span.entity == worker]
    assert all(span.start_s < span.end_s for span in spans)
    assert all(before.end_s == after.start_s for before, after in pairwise(spans))
    return math.fsum(
        found.clock.seconds[activity][worker] for activity in (Activity.CALLING, Activity.QUEUEING)
    )


def test_every_kind_has_a_row() -> None:
    assert set(EXAMPLES) == set(LLM_SERVICES.builtin)


@every_service
def test_all_calls_are_answered_and_never_sooner_than_they_can_be(kind: str, example: Example) -> None:
    found = serve(provider(kind, example), JOBS)
    for job, ends_s in zip(JOBS, found.ends_s, strict=True):
        least_s = math.ceil(job.calls / job.lanes) * job.scale
        assert job.begin_s + least_s - 1e-9 <= ends_s < math.inf
        if not example.disturbs:
            assert ends_s == pytest.approx(job.begin_s + least_s)
    requests, too_many, errors, abandoned, _ = found.served
    answered = sum(job.calls for job in JOBS) if example.counts else 0
    assert requests - too_many - errors - abandoned == answered


@every_service
def test_every_second_of_a_job_is_calling_or_queueing(kind: str, example: Example) -> None:
    found = serve(provider(kind, example), JOBS)
    for worker, job in enumerate(JOBS):
        assert seconds(found, worker) == pytest.approx(found.ends_s[worker] - job.begin_s)
    assert (sum(found.clock.seconds[Activity.QUEUEING]) > 0) == example.disturbs


@every_service
def test_an_inner_round_is_not_booked(kind: str, example: Example) -> None:
    found = serve(provider(kind, example), [job._replace(booked=False) for job in JOBS])
    assert found.ends_s == serve(provider(kind, example), JOBS).ends_s
    booked = [found.clock.seconds[activity] for activity in (Activity.CALLING, Activity.QUEUEING)]
    assert not np.any(booked)


@every_service
def test_the_same_seed_gives_the_same_run(kind: str, example: Example) -> None:
    by_chance = provider(kind, example, CHANCE)
    first, again, other = (serve(by_chance, JOBS, seed) for seed in (0, 0, 1))
    assert first.ends_s == again.ends_s
    assert first.clock.spans == again.clock.spans
    assert first.ends_s != other.ends_s


@every_service
def test_a_worker_more_changes_nobody_elses_calls(kind: str, example: Example) -> None:
    """Where workers do not disturb each other; where they do, what is drawn is still the worker's own."""
    by_chance = provider(kind, example, CHANCE)
    alone = serve(by_chance, JOBS[:1]).ends_s[0]
    later = Asked(1000.0, calls=50, lanes=5)
    assert serve(by_chance, [JOBS[0], later]).ends_s[0] == alone
    if not example.disturbs:
        assert serve(by_chance, JOBS).ends_s[0] == alone
        first, second = serve(by_chance, [JOBS[0]] * 2).ends_s
        assert first != second


@every_service
@pytest.mark.parametrize("leaves_s", [0.0, 0.7, 1.0, 2.0, 3.999])
def test_nothing_happens_to_a_worker_that_went_down(kind: str, example: Example, leaves_s: float) -> None:
    going = Asked(0.0, calls=8, lanes=2, leaves_s=leaves_s)
    found = serve(provider(kind, example), [going, Asked(0.0, calls=4)])
    assert found.ends_s[0] == leaves_s
    assert seconds(found, 0) == pytest.approx(leaves_s)
    assert all(span.end_s <= leaves_s for span in found.clock.spans if span.entity == 0)
    assert 4.0 <= found.ends_s[1] < math.inf
    requests, too_many, errors, abandoned, _ = found.served
    if example.counts:
        assert abandoned <= going.lanes
        assert 4 <= requests - too_many - errors - abandoned <= 4 + going.calls


@every_service
def test_who_has_gone_down_is_in_nobodys_way(kind: str, example: Example) -> None:
    going, later = Asked(0.0, calls=10_000, lanes=8, leaves_s=1.0), Asked(50.0, calls=4)
    found = serve(provider(kind, example), [going, later])
    assert found.ends_s[1] == pytest.approx(serve(provider(kind, example), [later]).ends_s[0])


@pytest.mark.parametrize(("kind", "example"), [row for row in ROWS if not row[1].disturbs])
def test_a_job_is_as_slow_as_its_worker(kind: str, example: Example) -> None:
    """Where nothing is limited; elsewhere who comes later may be luckier."""
    normal, slow = (
        serve(provider(kind, example, CHANCE), [Asked(0.0, calls=9, lanes=3, scale=scale)]).ends_s[0]
        for scale in (1.0, 2.0)
    )
    assert slow == pytest.approx(2 * normal)


@every_service
def test_prices_and_cached_tokens_are_never_negative(kind: str, example: Example) -> None:
    of = provider(kind, example)
    cost = JobCost(calls=4, tokens_in=1000, tokens_out=4, bytes_up=0, bytes_down=0)
    assert 0 <= of.cached_tokens(cost) <= cost.tokens_in
    assert of.cached_tokens(cost._replace(calls=0, tokens_in=0)) == 0
    priced = of.model_copy(update={"price_per_million_tokens_in": 2.0, "price_per_million_tokens_out": 8.0})
    assert priced.price(3_000_000, 500_000) == pytest.approx(2 * 3 + 8 / 2)
    assert priced.price(0, 0) == 0

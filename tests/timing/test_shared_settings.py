"""What a scenario says of a shared LLM service: wrong settings are refused in a sentence, prices add up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fedsim.errors import InputError
from fedsim.messages import JobCost
from fedsim.scenario.files import dump, load_scenario, parse
from fedsim.timing.llm_service.shared import Backoff, PrefixCache, Shared

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
REQUESTS, ARRIVALS = str(PROFILES / "requests.csv"), str(PROFILES / "arrivals.csv")
TIMED = {"ttft": {"kind": "constant", "value_s": 0.5}}
HEADER = "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n"


def scenario(llm: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "limited",
        "algorithm": {"kind": "asyndbt", "wait_for": 2, "tau": 3},
        "problem": {"kind": "quadratic", "dimension": 3},
        "workers": [{"count": 3}],
        "llm": {"kind": "shared", **llm},
        "budget": {"server_steps": 12},
    }


@pytest.mark.parametrize(
    ("llm", "sentence"),
    [
        ({"concurrency": 0}, "llm.concurrency: found 0, expected at least 1"),
        ({"concurrency": 2.5}, "llm.concurrency: found 2.5, expected an integer"),
        ({"queue_limit": -1}, "llm.queue_limit: found -1, expected at least 0"),
        ({"requests_per_minute": 0.0}, "llm.requests_per_minute: found 0.0, expected more than 0"),
        ({"tokens_per_minute": -5.0}, "llm.tokens_per_minute: found -5.0, expected more than 0"),
        ({"burst_s": 0.0}, "llm.burst_s: found 0.0, expected more than 0"),
        ({"prefill_tokens_per_s": 0.0}, "llm.prefill_tokens_per_s: found 0.0, expected more than 0"),
        ({"server_error_probability": 1.0}, "llm.server_error_probability: found 1.0, expected less than 1"),
        ({"over_limit": "wait"}, "llm.over_limit: found 'wait', expected 'reject' or 'queue'"),
        ({"detail": "per_round"}, "llm.detail: unknown key"),
        ({"concurency": 3}, "llm.concurency: unknown key; did you mean 'concurrency'?"),
        ({"backoff": {"factor": 0.5}}, "llm.backoff.factor: found 0.5, expected at least 1"),
        ({"backoff": {"first_s": 0.0}}, "llm.backoff.first_s: found 0.0, expected at least 0.001"),
        # pauses too short to count would keep a client busy for ever at one instant
        ({"backoff": {"longest_s": 1e-12}}, "llm.backoff.longest_s: found 1e-12, expected at least 0.001"),
        ({"backoff": {"jitter": 2.0}}, "llm.backoff.jitter: found 2.0, expected at most 1"),
        ({"prefix_cache": {"share": 1.5}}, "llm.prefix_cache.share: found 1.5, expected at most 1"),
        ({"prefix_cache": {}}, "llm.prefix_cache.share: missing; this key is required"),
        (
            {"outages": [{"start_s": 60.0, "stop_s": 30.0}]},
            "llm.outages.0.stop_s: found 30, expected more than start_s = 60",
        ),
        (
            {"outages": [{"start_s": -1.0, "stop_s": 30.0}]},
            "llm.outages.0.start_s: found -1.0, expected at least 0",
        ),
        (
            {"outages": [{"start_s": 10.0, "stop_s": 30.0}, {"start_s": 20.0, "stop_s": 40.0}]},
            "llm.outages: found start_s = 20 in outage 1, expected at least 30, when the one before it ends",
        ),
        (
            {"outages": [{"start_s": 50.0, "stop_s": 60.0}, {"start_s": 20.0, "stop_s": 40.0}]},
            "llm.outages: found start_s = 20 in outage 1, expected at least 60, when the one before it ends",
        ),
        ({"background": {}}, "llm.background: expected either arrivals, a trace, or requests_per_minute"),
        (
            {"background": {"requests_per_minute": 60.0, "arrivals": {"file": ARRIVALS}}},
            "llm.background: expected either arrivals, a trace, or requests_per_minute",
        ),
        (
            {"background": {"requests_per_minute": -60.0}},
            "llm.background.requests_per_minute: found -60.0, expected more than 0",
        ),
        ({"background": {"arrivals": {"file": REQUESTS}}}, f"llm.background.arrivals: {REQUESTS}: unknown"),
        (
            {"background": {"arrivals": {"csv": "time_s,tokens_in,tokens_out\n0,1,1\n"}}},
            "llm.background.arrivals: the trace ends at 0 s, expected its last request after",
        ),
        (
            {"background": {"arrivals": {"csv": "time_s,tokens_in,tokens_out\n1.7e9,1,1\n"}}},
            "llm.background.arrivals: csv, line 2, column 'time_s': expected seconds since the trace began",
        ),
        ({"requests": {"file": ARRIVALS}}, f"llm.requests: {ARRIVALS}: unknown column 'time_s'"),
        ({"requests": {"file": "nowhere.csv"}}, "llm.requests: cannot read nowhere.csv"),
        ({"requests": {"csv": ""}}, "llm.requests: "),
        (
            {"requests": {"csv": HEADER + ",,,,429\n1,2,3,4,503\n"}},
            "llm.requests: all requests of the trace failed, expected at least one that did not",
        ),
        (
            {"requests": {"file": REQUESTS}, "ttft": {"kind": "constant", "value_s": 1.0}},
            "llm: ttft: found beside requests, expected none: times come from the trace",
        ),
        (
            {"requests": {"file": REQUESTS}, "per_output_token": {"kind": "exponential", "mean_s": 1.0}},
            "llm: per_output_token: found beside requests, expected none: times come from the trace",
        ),
        (
            {"requests": {"file": REQUESTS}, "prefill_tokens_per_s": 100.0},
            "llm: prefill_tokens_per_s: found beside requests, expected none: times come from the trace",
        ),
    ],
)
def test_bad_settings(llm: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(scenario(llm), "file.toml")
    message = str(refused.value)
    assert message.startswith(f"file.toml: {sentence}")
    assert "\n" not in message


def test_the_command_line_says_it_and_exits_with_2(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "limited.toml"
    file.write_text(
        dump(parse(scenario({"concurrency": 3} | TIMED))).replace("concurrency = 3", "concurrency = 0")
    )
    answer = command("check", file)
    assert answer.code == 2
    assert "llm.concurrency: found 0, expected at least 1" in " ".join(answer.err.split())


def test_what_is_unusual_and_fine() -> None:
    """Outages that touch, a bucket smaller than a request, no place to wait in."""
    touching = [{"start_s": 1.0, "stop_s": 2.0}, {"start_s": 2.0, "stop_s": 3.0}]
    parse(scenario({"concurrency": 1, "queue_limit": 0} | TIMED))
    parse(scenario({"outages": touching, "tokens_per_minute": 1.0, "burst_s": 0.001} | TIMED))


@pytest.mark.parametrize(
    "llm",
    [
        {"requests": {"file": REQUESTS}, "background": {"arrivals": {"file": ARRIVALS}}, "concurrency": 9},
        {"outages": [{"start_s": 1.0, "stop_s": 2.0}], "prefix_cache": {"share": 0.5}, **TIMED},
    ],
)
def test_a_resolved_scenario_is_the_same_and_needs_no_trace(llm: dict[str, Any], tmp_path: Path) -> None:
    first = parse(scenario(llm))
    file = tmp_path / "again.toml"
    file.write_text(dump(first))
    assert "file =" not in file.read_text()
    assert load_scenario(file) == first


def test_pauses_double_up_to_the_longest() -> None:
    pauses_s = [Backoff().longest_pause_s(refusals) for refusals in range(1, 8)]
    assert pauses_s == [0.5, 1, 2, 4, 8, 8, 8]
    assert Backoff(first_s=3.0, longest_s=2.0).longest_pause_s(1) == 2
    assert Backoff(factor=1.0).longest_pause_s(100) == 0.5
    assert Backoff(factor=10.0, longest_s=1e300).longest_pause_s(10**6) == 1e300


def test_cached_tokens_have_a_price_of_their_own() -> None:
    """Ten calls of 100 tokens: half of the prompt is in the cache for nine of them, 450 tokens."""
    llm = Shared(
        price_per_million_tokens_in=2.0,
        price_per_million_tokens_out=8.0,
        prefix_cache=PrefixCache(share=0.5, price_per_million_tokens=0.2),
    )
    cost = JobCost(10, 1000, 40, 0, 0)
    assert llm.cached_tokens(cost) == 450
    assert llm.price(1000, 40, 450) == pytest.approx((550 * 2 + 450 * 0.2 + 40 * 8) / 1e6)
    assert Shared(price_per_million_tokens_in=2.0).price(1000, 40) == pytest.approx(2e-3)
    assert Shared().cached_tokens(cost) == 0
    assert llm.cached_tokens(JobCost(0, 0, 0, 0, 0)) == 0


@pytest.mark.parametrize(
    ("llm", "limited"),
    [
        ({}, False),
        ({"queue_limit": 3, "burst_s": 1.0, "server_error_probability": 0.1}, False),
        ({"concurrency": 3}, True),
        ({"requests_per_minute": 3.0}, True),
        ({"tokens_per_minute": 3.0}, True),
        ({"outages": ({"start_s": 0.0, "stop_s": 1.0},)}, True),
        ({"background": {"requests_per_minute": 3.0}}, True),
    ],
)
def test_what_is_a_limit(llm: dict[str, Any], limited: bool) -> None:
    assert Shared.model_validate(llm).has_limits is limited


@pytest.mark.parametrize(("first_s", "late"), [(99.0, False), (100.0, True), (4e6, True)])
def test_requests_of_others_that_come_after_the_run(first_s: float, late: bool) -> None:
    csv = f"time_s,tokens_in,tokens_out\n{first_s},1,1\n5e6,1,1\n"
    table = scenario({"background": {"arrivals": {"csv": csv}}, "concurrency": 1} | TIMED)
    table["budget"] = {"horizon_s": 100.0}
    if not late:
        parse(table, "file.toml")
        return
    sentence = (
        f"llm.background.arrivals: the first request of others comes at {first_s:g} s, expected one before"
    )
    with pytest.raises(InputError, match=re.escape(sentence)):
        parse(table, "file.toml")

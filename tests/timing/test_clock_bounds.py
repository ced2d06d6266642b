"""A clock that cannot move, that moves too far, and runs in which nothing is done."""

from __future__ import annotations

import json

import pytest

from fedsim import load_scenario
from fedsim import run as simulate
from fedsim.simulation import raise_if_failed

INSTANT = ["llm.latency.value_s=0.0", "workers.0.compute={ kind = 'constant', value_s = 0.0 }"]
ALONE = ["budget={ horizon_s = 10.0, unset = ['server_steps'] }"]
SHARED = "llm={ kind = 'shared', ttft = { kind = 'constant', value_s = 1.0 } }"
SECONDS = ["workers.0.compute={ kind = 'constant', value_s = 1.0 }"]


SECOND = "{ kind = 'constant', value_s = 1.0 }"
STILL = [*INSTANT, "server.step_s=0.0", *ALONE]
SERVED_AT_ONCE = [SHARED, "llm.ttft.value_s=0.0", *STILL[1:]]


def overridden(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            [*INSTANT, "server.step_s=0.0", *ALONE],
            "budget: found horizon_s = 10 alone, but arithmetic, calls",
        ),
        (
            [SHARED, "llm.ttft.value_s=0.0", INSTANT[1], "server.step_s=0.0", *ALONE],
            "budget: found horizon_s = 10 alone",
        ),
        (
            ["llm.latency.value_s=1e18"],
            "llm.latency: found a mean of 1e+18 s, expected at most 8.58993e+09 s",
        ),
        (["workers.0.compute.mean_s=1e307"], "workers.0.compute: found a mean of 1e+307 s"),
        (["budget.horizon_s=1e10"], "budget.horizon_s: found 10000000000.0, expected at most"),
        (
            [SHARED, "llm.outages=[{ start_s = 0, stop_s = 1e300 }]"],
            "llm.outages.0: found a wait of 8.58993e+09 s, in which each call would be sent",
        ),
        (
            [SHARED, "llm.requests_per_minute=1e-300"],
            "llm.requests_per_minute: found a wait of 8.58993e+09 s",
        ),
    ],
    ids=["no delay", "instant service", "call", "compute", "horizon", "outage", "rate"],
)
def test_times_that_no_clock_can_hold_are_refused(command, small, settings, sentence):
    for how in ("check", "run"):
        answer = command(how, small, *overridden(settings))
        assert answer.code == 2
        assert f"small.toml: {sentence}" in answer.err
    assert "fine" not in answer.out


@pytest.mark.parametrize(
    "settings",
    [
        [*SERVED_AT_ONCE, "llm.concurrency=1"],
        [*SERVED_AT_ONCE, "llm.concurrency=1", "llm.background={ requests_per_minute = 60.0 }"],
        [*SERVED_AT_ONCE, "llm.outages=[{ start_s = 1, stop_s = 2 }]"],
        [*SERVED_AT_ONCE, "llm.prefill_tokens_per_s=1.0"],  # calls of this problem have no tokens
        [*SERVED_AT_ONCE, f"llm.per_output_token={SECOND}"],
        [*STILL, "llm.per_input_token_s=1.0"],
        [*STILL, "network={ kind = 'star' }"],
        [*STILL, "network={ kind = 'star', link = { mbps = 1.0 } }"],  # messages of no bytes
        [*STILL, f"workers.0.availability={{ kind = 'on_off', on = {SECOND}, off = {SECOND} }}"],
        ["algorithm={ kind = 'bdpl', unset = true }", *INSTANT, *ALONE],
    ],
    ids=[
        *("places", "others", "outage to come", "no tokens in", "no tokens out", "no tokens to read"),
        *("links", "no bytes", "on and off", "alone"),
    ],
)
def test_times_that_only_seem_to_pass_are_refused(command, small, settings):
    answer = command("check", small, *overridden(settings))
    assert answer.code == 2
    assert "small.toml: budget: found horizon_s = 10 alone, but arithmetic, calls" in answer.err


@pytest.mark.parametrize(
    "settings",
    [
        [*SERVED_AT_ONCE, "llm.requests_per_minute=60.0"],
        [*SERVED_AT_ONCE, "llm.concurrency=1", "llm.queue_limit=0", "problem.calls=9"],
        [*SERVED_AT_ONCE, "llm.server_error_probability=0.5"],
        [*SERVED_AT_ONCE, "llm.outages=[{ start_s = 0, stop_s = 20 }]"],
        [*STILL, "network={ kind = 'star', link = { mbps = 1.0 } }", "problem.bytes_up=1000"],
        [*STILL, "network={ kind = 'star', link = { latency = { kind = 'exponential', mean_s = 0.1 } } }"],
        [*STILL, "problem.bytes_up=1000", "workers.0.upload_mbps=1.0"],
    ],
    ids=["rate", "refused", "errors", "outage from the start", "bytes", "latency", "access"],
)
def test_times_that_may_pass_are_not_refused(command, small, settings, monkeypatch):
    monkeypatch.setattr("fedsim.timing.loop.EVENTS_A_LOOK", 20_000)
    answer = command("run", small, "--timing-only", "--json", *overridden(settings))
    summary = json.loads(answer.out)
    assert (summary["ended"], summary["simulated_time_s"]) in {("budget", 10.0), ("no update", 10.0)}


@pytest.mark.parametrize(
    ("settings", "ended"),
    [
        (["llm.latency.value_s=1e-300", "server.step_s=0.0", *INSTANT[1:], *ALONE], "standstill"),
        (["llm.latency.value_s=1e-15", "server.step_s=0.0", *INSTANT[1:], *ALONE], "standstill"),
        (
            # the loss is so rare that no message is lost
            ["network={ kind = 'star', link = { loss = 1e-12, retransmit_s = 1.0 } }", *STILL],
            "standstill",
        ),
        (["workers.0.slow_down=1e307", *SECONDS], "overdue"),
        (["workers.0.compute={ kind = 'constant', value_s = 3e9 }"], "overdue"),
        (
            ["network={ kind = 'star', link = { mbps = 1000.0 } }", "workers.0.slow_down=1e300", *SECONDS],
            "overdue",
        ),
        (["workers.0.slow_down=1e308", "workers.0.compute={ kind = 'constant', value_s = 10.0 }"], "stalled"),
    ],
    ids=["1e-300", "1e-15", "star", "1e307", "days of the sun", "slow star", "beyond floats"],
)
def test_a_run_that_cannot_come_to_its_end_ends_with_a_sentence(command, small, settings, ended, monkeypatch):
    monkeypatch.setattr("fedsim.timing.loop.EVENTS_A_LOOK", 20_000)
    answer = command("run", small, "--timing-only", "--json", *overridden(settings))
    assert answer.code == 1
    assert json.loads(answer.out)["ended"] == ended
    assert command("verify", "results").code == 0


def test_a_budget_of_steps_ends_even_where_no_time_passes(command, small, monkeypatch):
    monkeypatch.setattr("fedsim.timing.loop.EVENTS_A_LOOK", 10)
    settings = [*INSTANT, "server.step_s=0.0", "budget.server_steps=500"]
    summary = json.loads(command("run", small, "--timing-only", "--json", *overridden(settings)).out)
    assert (summary["ended"], summary["server_steps"], summary["simulated_time_s"]) == ("budget", 500, 0)


@pytest.mark.parametrize(
    ("settings", "ended"),
    [
        (["llm={ kind = 'silent_service:Silent' }"], "stalled"),
        (["llm={ kind = 'silent_service:Silent' }", "budget.horizon_s=100.0"], "stalled"),
        (
            [SHARED, "llm.outages=[{ start_s = 0, stop_s = 1e9 }]", "budget.horizon_s=100.0"],
            "no update",
        ),
        (
            [SHARED, "llm.burst_s=0.001", "llm.requests_per_minute=1e-4", "budget.horizon_s=100.0"],
            "no update",
        ),
        (["budget.horizon_s=0.1", *SECONDS], "no update"),
        (
            [
                "workers.0.availability={ kind = 'diurnal', from_s = 50000, to_s = 60000 }",
                "budget.horizon_s=100.0",
            ],
            "no update",
        ),
        (
            [
                "network={ kind = 'star', link = { loss = 0.999999999, retransmit_s = 10.0 } }",
                "budget.horizon_s=100.0",
            ],
            "no update",
        ),
        (["server.evict_after_s=0.01"], "deserted"),
    ],
    ids=["silent", "silent to the horizon", "outage", "rate", "horizon", "off", "lost messages", "evicted"],
)
def test_a_run_without_any_update_is_no_success(command, small, settings, ended):
    answer = command("run", small, "--timing-only", "--json", *overridden(settings))
    summary = json.loads(answer.out)
    assert (answer.code, summary["ended"], summary["worker_updates"]) == (1, ended, 0)
    assert answer.err.splitlines()[-1].startswith("fedsim: small: ")
    assert command("verify", "results").code == 0


def test_what_took_the_time_of_a_run_without_updates_is_said(small):
    found = simulate(load_scenario(small, overrides=["budget.horizon_s=0.25", *SECONDS]), timing_only=True)
    with pytest.raises(
        Exception, match=r"no worker update in 0\.25 s of simulated time, of which workers spent"
    ):
        raise_if_failed(found.summary)


def test_no_steps_are_a_run_that_measures_the_start(small):
    found = simulate(load_scenario(small, overrides=["budget={ server_steps = 0 }"]))
    raise_if_failed(found.summary)
    assert (found.summary["ended"], found.summary["simulated_time_s"], len(found.steps)) == ("budget", 0, 1)
    assert found.summary["loss"] == found.steps.loss.iloc[0] > 0

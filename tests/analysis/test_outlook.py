"""What `fedsim check` tells before a run: by hand, against the clock, and as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedsim.errors import FedsimError
from fedsim.scenario import load_variants
from fedsim.scenario.files import read_file
from fedsim.scenario.implausible import implausible
from fedsim.simulation import run
from fedsim.sweep.plan import read_plan
from fedsim_analysis.advice.course import Totals
from fedsim_analysis.advice.limits import Bottleneck, Used, used
from fedsim_analysis.outlook.expected import Outlook, noted, outlook
from fedsim_analysis.outlook.telling import ERROR, WORST_ERROR

SCENARIOS = Path(__file__).parents[2] / "scenarios"
COUNTED = {
    "calls": "llm_calls",
    "tokens_in": "tokens_in",
    "tokens_out": "tokens_out",
    "bytes_up": "bytes_up",
    "bytes_down": "bytes_down",
}
# The file, the variant, by how many percent seconds may be off, and the limit that binds.
AGAINST_THE_CLOCK = [
    ("features/straggler", "asyndbt", ERROR, "lanes of workers"),
    ("features/straggler", "sdbt", 1, "lanes of workers"),
    ("features/bandwidth", "", ERROR, "lanes of workers"),
    ("features/systems", "", WORST_ERROR, "requests per minute"),
    ("features/fail-stop", "", WORST_ERROR, "lanes of workers"),
    ("failures/permanent-loss", "", WORST_ERROR, "lanes of workers"),
    ("llm_service/rate-limit", "rpm-300", ERROR, "requests per minute"),
    ("llm_service/rate-limit", "rpm-5000", ERROR, "lanes of workers"),
    ("llm_service/tokens-per-minute", "burst-of-a-second", ERROR, "tokens per minute"),
    ("llm_service/concurrency", "places-3", ERROR, "places at the service"),
    ("llm_service/prefix-cache", "with", ERROR, "places at the service"),
    ("network/star", "shared-0_02", ERROR, None),
]


def of(file: str, variant: str = "", *settings: str) -> Outlook:
    scenario = read_file(SCENARIOS / f"{file}.toml").scenario(variant, list(settings))
    return outlook(scenario)


@pytest.mark.parametrize(("file", "variant", "percent", "binds"), AGAINST_THE_CLOCK)
def test_against_the_clock(file: str, variant: str, percent: float, binds: str | None) -> None:
    found = of(file, variant)
    measured = run(found.scenario, timing_only=True).summary
    assert found.estimated is not None
    assert found.total_s == pytest.approx(measured["simulated_time_s"], rel=percent / 100)
    # What others than all workers together do is a mean; where workers are lost, a mean of too many.
    part = 0 if found.exact else 0.045 if percent < WORST_ERROR else 0.2
    for name, column in COUNTED.items():
        assert getattr(found.run, name) == pytest.approx(measured[column], rel=part), name
    assert found.price == pytest.approx(measured["cost"], rel=part)
    bound = [each.words for each in found.estimated.limits if each.binds]
    assert bound == ([binds] if binds else bound)
    if measured["llm_too_many_requests"]:
        assert bound == ["requests per minute"]


def test_how_much_of_a_limit_is_used_by_hand() -> None:
    """Ten updates of 2 s each at the limit, of which 10 s are let through at the start."""
    limits = [Bottleneck("requests", "rate limit", 2.0, 0.0, 10.0), Bottleneck("nothing", "places", 0.0, 0.0)]
    slow, quick = (Totals(seconds, 10.0, 0.0, 0, 0.0) for seconds in (30.0, 5.0))
    assert used(limits, slow, 30.0) == (Used("requests", "rate limit", 20 / (30 + 10), False),)
    assert used(limits, quick, 20.0 - 10.0) == (Used("requests", "rate limit", 1.0, True),)


def test_a_synchronous_run_by_hand(command, small) -> None:
    """12 steps of 3 jobs of 4 calls on 5 lanes, and 3 interludes of 2 rounds; every job takes 2 s."""
    words = ["problem.calls=4", "problem.bytes_up=10", "llm.latency.value_s=2.0", "algorithm.tau=1"]
    words += [
        "algorithm.wait_for=3",
        "server.step_s=0.0",
        "workers.0.compute={ kind = 'constant', value_s = 0.0 }",
    ]
    settings = [each for word in words for each in ("--set", word)]
    found = json.loads(command("check", small, "--json", *settings).out)
    jobs = 12 * 3 + 3 * 2 * 3
    told = found["run"]
    assert (told["exact"], told["server_steps"], told["worker_updates"]) == (True, 12, 36)
    assert (told["llm_calls"], told["bytes_up"], told["measurements"]) == (4 * jobs, 10 * jobs, 1 + 12 // 3)
    assert told["simulated_time_s"] == pytest.approx(2.0 * (12 + 3 * 2))
    assert found["job"]["seconds"]["calls"] == pytest.approx(2.0)
    (lanes,) = found["limits"]
    assert lanes == {"limit": "lanes of workers", "used": pytest.approx(4 / 5), "binds": False}
    assert found["unwritable"] == ""


SHARED = "llm={{ kind = 'shared', ttft = {{ kind = 'constant', value_s = 1.0 }}, requests_per_minute = {}, "
SHARED += "unset = ['latency'] }}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["llm.latency={ kind = 'lognormal', median_s = 340.0, sigma = 0.1 }"], "milliseconds meant?"),
        (["llm.latency.value_s=0.0"], "llm: calls are answered in 0 s"),
        (["llm.per_output_token_s=0.1"], ""),
        (["workers.0.slow_down=0.001"], "workers.0.slow_down = 0.001: 1,000 times faster than normal"),
        (["workers.0.slow_down=0.5"], ""),
        (["workers.0.upload_mbps=2000000", "problem.bytes_up=9"], "upload_mbps = 2,000,000: faster"),
        (["workers.0.upload_mbps=10000", "problem.bytes_up=9"], ""),
        (["workers.0.upload={ kind = 'constant', value_s = 90.0 }", "problem.bytes_up=9"], "90 s for"),
        (["attacks=[{ kind = 'rushing', fraction = 0.0 }]"], "attacks.0: 'rushing' attacks nobody"),
        (["llm.price_per_million_tokens_in=2500000.0"], "is it the price of a million?"),
        (["server.evict_after_s=0.01"], "server.evict_after_s = 0.01: shorter than a job"),
        ([SHARED.format(0.01)],
         "llm.requests_per_minute = 0.01: 0.2 calls of a worker in an hour"),
        ([SHARED.format(1.0)], ""),
        (["workers.0.compute={ kind = 'constant', value_s = 1e7 }"], "years by its own clock"),
    ],
)  # fmt: skip
def test_slips_are_told_and_nothing_else(command, small, settings, sentence) -> None:
    answer = command("check", small, *(each for word in settings for each in ("--set", word)))
    assert (answer.code, answer.out.splitlines()[0]) == (0, "small: asyndbt, 3 workers: fine"), answer.err
    notes = [line for line in answer.err.splitlines() if "as nothing is said of it" not in line]
    assert len(notes) == (1 if sentence else 0), answer.err
    assert sentence in answer.err
    assert max(map(len, answer.out.splitlines())) <= 80


def test_what_is_shipped_has_no_slips() -> None:
    seen = 0
    for path in sorted(SCENARIOS.rglob("*.toml")):
        if path.parent.name == "common":
            continue
        try:
            file = read_file(path)
            if file.sweep is not None:
                scenarios = [next(iter(read_plan(file).runs())).scenario]
            else:
                scenarios = load_variants(path)
        except FedsimError:  # texts that are not here
            continue
        for scenario in scenarios:
            seen += 1
            assert [note for note in implausible(scenario) if "attacks nobody" not in note] == [], path
    assert seen > 100


def test_a_run_that_ends_before_the_attack_and_one_that_stalls(command, small) -> None:
    found = outlook(load_variants(small, ["attacks=[{ kind = 'rushing', workers = [1], start_s = 1e6 }]"])[0])
    (note,) = noted(found)
    assert "begins at 1,000,000 s, and the run is expected to end at " in note
    answer = command("check", small, "--set", "workers.0.stops_at_s=5.0")
    assert "never evicted" not in answer.out
    assert "stop at 5 s and nobody is evicted" in " ".join(answer.out.split())
    assert "the others then wait for ever" in " ".join(answer.out.split())


def test_a_sweep_is_added_up(command, small) -> None:
    small.write_text(small.read_text() + '[sweep]\nreplicates = 2\n[sweep.grid]\n"problem.calls" = [1, 5]\n')
    answer = command("check", small)
    lines = answer.out.splitlines()
    assert lines[0] == "small: a sweep of 4 runs over problem.calls: fine"
    jobs = 12 * 2 + 3 * (3 - 2) + 3 * 2 * 3  # steps of S = 2, drained, rounds
    assert (
        lines[1] == f"  all runs   about {2 * 6 * jobs:,} LLM calls, {jobs} calls to {5 * jobs} calls a run"
    )
    assert lines[2].startswith("the first run (problem.calls = 1, seed 0):")
    found = json.loads(command("check", small, "--json").out)
    assert (found["runs"], found["llm_calls"], found["first"]["job"]["llm_calls"]) == (4, 2 * 6 * jobs, 1)


def test_a_folder_that_cannot_be_written_is_told(command, small, tmp_path) -> None:
    (tmp_path / "taken").write_text("")
    assert "fedsim: note: cannot write results to taken" in command("check", small, "--out", "taken").err
    assert not (tmp_path / "results").exists()


def test_who_sleeps_by_the_time_of_day_is_told_and_left_out_of_the_times(command, small) -> None:
    """As a worker that is off for the first six hours: all wait for it, and no estimate knows how long."""
    always, sleeps = outlook(load_variants(small)[0]), "{ kind = 'diurnal', from_s = '6:00', to_s = '22:00' }"
    answer = command("check", small, "--set", f"workers.0.availability={sleeps}", "--json")
    found = json.loads(answer.out)
    assert found["run"]["simulated_time_s"] == pytest.approx(always.total_s)
    assert "availability is 'diurnal'" in found["why_no_estimate"]
    assert any("3 of 3 workers are off (0, 1, 2), for up to 21,600 s" in note for note in found["notes"])
    assert any("are off at times and never evicted" in sentence for sentence in found["waits"])


@pytest.mark.parametrize(
    "settings",
    [
        [f"{place}={{ kind = 'constant', value_s = 0.0 }}" for place in ("workers.0.compute", "llm.latency")]
        + ["server.step_s=0.0"],
        ["problem.calls=100000000"],
        [SHARED.format(1.0).replace("unset", "server_error_probability = 0.999999, unset")],
    ],
)  # fmt: skip
def test_what_cannot_be_estimated_is_checked_all_the_same(small, settings) -> None:
    found = outlook(load_variants(small, settings)[0])
    assert found.estimated is None
    assert found.unestimated.startswith("there is no estimate for ")
    assert found.run.calls > 0

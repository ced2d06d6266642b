"""What time it is when a run begins, and times that are 0 because nothing is said of them."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from fedsim.scenario.schema import json_schema
from fedsim.streams import Streams
from fedsim.timing.availability.diurnal import Diurnal

HOUR = 3600.0
SMALL_HOURS = """
name = "night"
algorithm = { kind = "asyndbt", wait_for = 2, tau = 3, cuts = false }
problem = { kind = "quadratic", dimension = 3 }
llm = { kind = "independent", latency = { kind = "constant", value_s = 0.0 } }
server = { step_s = 0.0 }
budget = { server_steps = 2 }

[[workers]]
count = 2
compute = { kind = "constant", value_s = 600.0 }
availability = { kind = "diurnal", from_s = "6:00", to_s = "22:00" }
"""


@pytest.fixture
def night(tmp_path):
    file = tmp_path / "night.toml"
    file.write_text(SMALL_HOURS)
    return file


def finish_s(command, file, *settings):
    words = [word for setting in settings for word in ("--set", setting)]
    return json.loads(command("run", file, "--timing-only", "--json", *words).out)["simulated_time_s"]


def test_a_run_begins_at_the_time_of_day_that_is_said(command, night):
    assert finish_s(command, night) == 6 * HOUR + 1200  # midnight: both wait until six
    assert finish_s(command, night, "clock.starts_at=20:00") == 1200
    # The first job ends at 22:00, when they go down, and so it does not: it is begun again at six.
    assert finish_s(command, night, "clock.starts_at='21:50'") == 600 + 8 * HOUR + 1200
    # One job is finished at 21:55, and the second one is begun again.
    assert finish_s(command, night, "clock.starts_at=21:45") == 900 + 8 * HOUR + 600
    assert finish_s(command, night, "clock.starts_at=79200") == 8 * HOUR + 1200
    assert finish_s(command, night, "clock.starts_at=5:59:30") == 30 + 1200


@pytest.mark.parametrize(
    ("starts_at_s", "expected"),
    [
        (20 * HOUR, [(0, 2 * HOUR), (10 * HOUR, 26 * HOUR), (34 * HOUR, 50 * HOUR)]),
        (6 * HOUR, [(0, 16 * HOUR), (24 * HOUR, 40 * HOUR)]),
        (22 * HOUR, [(8 * HOUR, 24 * HOUR), (32 * HOUR, 48 * HOUR)]),
        (0, [(6 * HOUR, 22 * HOUR), (30 * HOUR, 46 * HOUR)]),
    ],
)
def test_stretches_of_a_run_that_begins_later(starts_at_s, expected):
    moved = Diurnal(from_s=6 * HOUR, to_s=22 * HOUR).starting_at(starts_at_s)
    assert list(islice(moved.stretches(Streams(0), 0, 0), len(expected))) == expected


def test_check_tells_who_is_off_at_the_start(command, night):
    def note(*settings):
        words = [word for setting in settings for word in ("--set", setting)]
        answer = command("check", night, *words)
        assert (answer.code, answer.out.splitlines()[0]) == (0, "night: asyndbt, 2 workers: fine")
        return answer.err

    assert (
        "at time 0, 00:00, 2 of 2 workers are off (0, 1), for up to 21,600 s: the server waits for them, as "
        "it evicts nobody" in note()
    )
    assert "23:30, 2 of 2 workers are off (0, 1), for up to 23,400 s: the server evicts after 50 s" in note(
        "clock.starts_at=23:30", "server.evict_after_s=50.0"
    )
    assert "off" not in note("clock.starts_at=20:00")
    joins = "workers.0.availability={ kind = 'lifetime', joins = { kind = 'constant', value_s = 9.0 } }"
    assert "2 of 2 workers join later" in note(joins)


@pytest.mark.parametrize("time", ["'25:00'", "'24:00'", "'noon'", "'7:60'", "'-1:00'", "86400", "-1", "true"])
def test_what_is_no_time_of_day_is_refused(command, night, time):
    answer = command("check", night, "--set", f"clock.starts_at={time}")
    assert (answer.code, answer.out) == (2, "")
    assert "clock.starts_at: found " in answer.err


def test_a_time_of_day_that_nobody_reads_is_refused(command, small):
    answer = command("check", small, "--set", "clock.starts_at=20:00")
    assert (answer.code, answer.out) == (2, "")
    assert "clock: has no effect: no worker is on at some hours of the day" in answer.err


def test_the_schema_knows_both_ways_of_writing_a_time():
    said = json.dumps(json_schema()["$defs"]["ClockSettings"]["properties"]["starts_at"])
    assert '"number"' in said
    assert '"string"' in said


@pytest.mark.parametrize(
    ("llm", "code"),
    [
        ("requests_per_minute = 100000.0", 2),
        ("concurrency = 2", 2),
        ("concurrency = 2, ttft = { kind = 'constant', value_s = 0.0 }", 0),
        ("concurrency = 2, prefill_tokens_per_s = 100.0", 0),
    ],
)
def test_a_service_of_which_no_time_is_said_is_refused(command, small, llm, code):
    answers = '[llm]\nkind = "independent"\nlatency = { kind = "constant", value_s = 0.5 }\n'
    text = small.read_text()
    assert answers in text
    small.write_text(f"llm = {{ kind = 'shared', {llm} }}\n" + text.replace(answers, ""))
    answer = command("check", small)
    assert answer.code == code
    assert ("llm.ttft: missing: nothing says how long an answer takes" in answer.err) == (code == 2)


def test_check_names_what_takes_no_time_by_silence(command, small):
    assert command("check", small).err == (
        "fedsim: note: small: 0 s, as nothing is said of it: workers.0.upload, workers.0.download\n"
    )
    said = [f"workers.0.{way}={{ kind = 'constant', value_s = 0.0 }}" for way in ("upload", "download")]
    assert command("check", small, *(word for setting in said for word in ("--set", setting))).err == ""
    star = command("check", small, "--set", "network={ kind = 'star', link = { mbps = 10.0 } }").err
    assert "network.link.latency, network.server_link.latency" in star
    small.write_text(small.read_text() + "[variants.a]\n[variants.b]\n[variants.c.algorithm]\nwait_for = 1\n")
    assert command("check", small).err.count("small, all variants: 0 s, as") == 1
    assert command("check", small, "--only", "a").err.count("small a: 0 s, as") == 1

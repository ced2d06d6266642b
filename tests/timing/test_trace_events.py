"""Trace events: one run by hand, and what holds for every run."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fedsim.errors import ResultsError
from fedsim.results import write
from fedsim.scenario import Scenario, load_scenario
from fedsim.simulation import Run, run
from fedsim_analysis.trace_events.events import Event, events, levels
from fedsim_analysis.trace_events.tables import numbered, read

# Two workers, S = 1. A job takes worker 0 1 s of arithmetic, 0.5 s of calls and 0.5 s of upload, worker 1
# 1.75 s, 0.5 s and nothing; a server step takes 0.5 s. One column is 0.25 s.
#
#             0   1   2   3
#   worker 0  cccclluu..cc      c computing, l calling, u uploading, . waiting
#   worker 1  cccccccll...
#   server    ........1122
#
# Worker 0 is there at 2: step 1 from 2 to 2.5. Worker 1 comes at 2.25 and waits in the inbox until 2.5:
# step 2 from 2.5 to 3, its ticket one step stale. The second step ends the run.
BY_HAND = """
name = "hand"
[algorithm]
cuts = false
kind = "asyndbt"
wait_for = 1
tau = 9
[problem]
kind = "quadratic"
dimension = 2
[[workers]]
count = 1
compute = { kind = "constant", value_s = 1.0 }
upload = { kind = "constant", value_s = 0.5 }
[[workers]]
count = 1
compute = { kind = "constant", value_s = 1.75 }
[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.5 }
[server]
step_s = 0.5
[budget]
server_steps = 2
[record]
spans = true
"""

BUSY = """
name = "busy"
[algorithm]
kind = "asyndbt"
wait_for = 2
tau = 3
[problem]
kind = "quadratic"
dimension = 2
[[workers]]
count = 3
compute = { kind = "exponential", mean_s = 1.0 }
upload = { kind = "exponential", mean_s = 0.3 }
download = { kind = "exponential", mean_s = 0.1 }
[[workers]]
count = 2
compute = { kind = "exponential", mean_s = 2.0 }
[llm]
kind = "independent"
latency = { kind = "exponential", mean_s = 0.5 }
[algorithm.cuts]
every = 4
rounds = 2
[budget]
server_steps = 40
[record]
spans = true
"""

CASES: dict[str, list[str]] = {
    "steps take no time": [],
    "steps take time": ["server.step_s=0.2"],
    "a slow server": ["server.step_s=3.0", "algorithm.wait_for=1", "algorithm.tau=20"],
    "synchronous": ["algorithm.wait_for=5"],
    "cut off in a step": ["server.step_s=0.2", "budget={horizon_s=17.3}"],
    "cuts of the active": ["algorithm.cuts.participation=active"],
    "cuts in the background": ["algorithm.cuts.participation=rolling"],
    "cuts in the background, a few": ["algorithm.cuts.participation=rolling", "budget.server_steps=9"],
    "nothing takes time but the calls": [
        "workers=[{count=3, compute={kind='constant', value_s=0.0}}]",
        "llm.latency={kind='constant', value_s=0.5}",
    ],
    "no step": ["budget={horizon_s=0.05}"],
}


def scenario(text: str, folder: Any, overrides: list[str]) -> Scenario:
    file = folder / "scenario.toml"
    file.write_text(text)
    return load_scenario(file, overrides=overrides)


def traced(done: Run) -> list[Event]:
    assert done.spans is not None
    assert done.tickets is not None
    return list(events(numbered("run", done.steps, done.workers, done.spans, done.tickets)))


def named(what: str, pid: int, tid: int, **args: object) -> Event:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": args}


def stretch(name: str, tid: int, start_s: float, seconds: float, **args: object) -> Event:
    found = {
        "name": name, "cat": "activity", "ph": "X",
        "ts": 1e6 * start_s, "dur": 1e6 * seconds, "pid": tid // 100 * 100, "tid": tid,
    }  # fmt: skip
    return found | {"args": args} if args else found


def arrow(end: str, number: int, tid: int, at_s: float) -> Event:
    binding = {"bp": "e"} if end == "f" else {}
    place = {"ts": 1e6 * at_s, "pid": tid // 100 * 100, "tid": tid}
    return {"name": "ticket", "cat": "ticket", "id": number, "ph": end, **binding, **place}


def count(name: str, at_s: float, **args: float) -> Event:
    return {"name": name, "ph": "C", "ts": 1e6 * at_s, "pid": 100, "args": args}


SET, STALE, QUEUE, CALLS = "active set", "staleness", "tickets at the server", "workers calling the LLM"


def test_a_run_by_hand(tmp_path) -> None:
    found = traced(run(scenario(BY_HAND, tmp_path, []), timing_only=True))
    assert found[:24] == [
        named("process_name", 100, 100, name="run: server"),
        named("process_sort_index", 100, 100, sort_index=0),
        named("process_name", 200, 200, name="run: worker 0"),
        named("process_sort_index", 200, 200, sort_index=1),
        named("process_name", 300, 300, name="run: worker 1"),
        named("process_sort_index", 300, 300, sort_index=2),
        *(
            event
            for tid, activity in (
                *((105, "waiting"), (106, "stepping")),
                *((201, "computing"), (202, "calling"), (203, "uploading"), (205, "waiting")),
                *((301, "computing"), (302, "calling"), (303, "uploading")),
            )
            for event in (
                named("thread_name", tid // 100 * 100, tid, name=activity),
                named("thread_sort_index", tid // 100 * 100, tid, sort_index=tid % 100 - 1),
            )
        ),
    ]
    assert found[24:] == [
        named("thread_name", 300, 305, name="waiting"),
        named("thread_sort_index", 300, 305, sort_index=4),
        stretch("computing", 201, 0, 1),
        stretch("computing", 301, 0, 1.75),
        stretch("waiting", 105, 0, 2),
        count(QUEUE, 0, waiting=0),
        count(CALLS, 0, workers=0),
        stretch("calling", 202, 1, 0.5),
        count(CALLS, 1, workers=1),
        stretch("uploading", 203, 1.5, 0.5, job=0, taken="active", step=1, staleness=0),
        arrow("s", 1, 203, 1.5),
        count(CALLS, 1.5, workers=0),
        stretch("calling", 302, 1.75, 0.5),
        count(CALLS, 1.75, workers=1),
        stretch("stepping", 106, 2, 0.5, step=1, active=1),
        arrow("f", 1, 106, 2),
        stretch("waiting", 205, 2, 0.5),
        stretch("uploading", 303, 2.25, 0, job=0, taken="active", step=2, staleness=1),
        arrow("s", 2, 303, 2.25),
        stretch("waiting", 305, 2.25, 0.75),
        count(QUEUE, 2.25, waiting=1),
        count(CALLS, 2.25, workers=0),
        stretch("stepping", 106, 2.5, 0.5, step=2, active=1),
        arrow("f", 2, 106, 2.5),
        stretch("computing", 201, 2.5, 0.5),
        count(SET, 2.5, tickets=1),
        count(STALE, 2.5, mean=0.0, max=0),
        count(QUEUE, 2.5, waiting=0),
        count(SET, 3, tickets=1),
        count(STALE, 3, mean=1.0, max=1),
    ]


def test_a_ticket_that_no_step_used_still_waits(tmp_path) -> None:
    """The horizon cuts step 2 off: the ticket of worker 1 has come at 2.25 and was never used."""
    cut_off = scenario(BY_HAND, tmp_path, ["budget={horizon_s=2.75}"])
    found = traced(run(cut_off, timing_only=True))
    assert [event for event in found if event["name"] == QUEUE] == [
        count(QUEUE, 0, waiting=0),
        count(QUEUE, 2.25, waiting=1),
    ]
    assert [event["id"] for event in found if event["ph"] in "sf"] == [1, 1]


def test_a_ticket_that_the_server_has_not_read_waits_and_is_no_job_yet(tmp_path) -> None:
    """The horizon cuts step 1 off, from 2 to 2.5: the ticket of worker 1 has come at 2.25."""
    done = run(scenario(BY_HAND, tmp_path, ["budget={horizon_s=2.4}"]), timing_only=True)
    assert done.workers.jobs.tolist() == [1, 0]
    assert sum(count["jobs"] for count in done.summary["by_kind"].values()) == 1
    assert done.summary["worker_updates"] == 0
    waiting = [(event["ts"], event["args"]["waiting"]) for event in traced(done) if event["name"] == QUEUE]
    assert waiting == [(0.0, 0), (2_000_000.0, 1), (2_250_000.0, 2)]


def test_tickets_of_the_barrier_go_to_the_update(tmp_path) -> None:
    """An update after step 1, S = 1: worker 1's ticket comes at 2.25 at its barrier, which began at 2."""
    overrides = ["algorithm.cuts={every=1, rounds=1}", "server.step_s=0.0", "budget.server_steps=2"]
    found = traced(run(scenario(BY_HAND, tmp_path, overrides), timing_only=True))
    # The inner round: 2.25 to 4.5, worker 0 at 4.25. Both begin anew at 4.5, worker 0 makes step 2 at 6.5.
    assert [event for event in found if event.get("pid") == 100 and event["ph"] in "Xf"] == [
        stretch("waiting", 105, 0, 2),
        stretch("stepping", 106, 2, 0, step=1, active=1),
        arrow("f", 1, 106, 2),
        stretch("cutting", 110, 2, 2.5, after_step=1, drained=1),
        arrow("f", 2, 110, 2.25),
        stretch("waiting", 105, 4.5, 2),
        stretch("stepping", 106, 6.5, 0, step=2, active=1),
        arrow("f", 3, 106, 6.5),
    ]
    queue = [(event["ts"], event["args"]["waiting"]) for event in found if event["name"] == QUEUE]
    assert queue == [(0.0, 0)]


def test_an_inner_round_that_the_end_cuts_off_waits_for_nothing(tmp_path) -> None:
    """As above: worker 0 has done its inner round at 4.25, and the run ends before worker 1 has."""
    overrides = ["algorithm.cuts={every=1, rounds=1}", "server.step_s=0.0", "budget={horizon_s=4.4}"]
    found = traced(run(scenario(BY_HAND, tmp_path, overrides), timing_only=True))
    assert [event for event in found if event["name"] == QUEUE] == [count(QUEUE, 0, waiting=0)]


def test_a_late_ticket_of_an_evicted_worker_waits_for_nothing(tmp_path) -> None:
    """Worker 1 is given up when step 1 ends at 2.5; its ticket comes at 4.75, in step 2 (4.5 to 5)."""
    text = BY_HAND.replace("1.75", "4.25")
    overrides = ["server.evict_after_s=2.1", "budget.server_steps=3"]
    done = run(scenario(text, tmp_path, overrides), timing_only=True)
    assert done.workers.jobs.tolist() == [3, 1]
    assert done.workers.evicted_s[1] == 2.5
    found = traced(done)
    assert [event for event in found if event["name"] == QUEUE] == [count(QUEUE, 0, waiting=0)]
    assert [event["id"] for event in found if event["ph"] == "f"] == [1, 2, 3]


def test_a_job_that_takes_no_time_has_an_upload_of_its_own() -> None:
    """One worker: job 0 ends with an upload from 1 to 2; job 1 begins and ends at 2, each makes a step."""
    steps = pd.DataFrame({"step": [0, 1, 2], "time_s": [0.0, 2.0, 2.0], "active": [0, 1, 1]})
    steps = steps.assign(staleness_mean=0.0, staleness_max=0)
    workers = pd.DataFrame({"worker": [0], "jobs": [2], "evicted_s": [np.nan], "expelled_s": [np.nan]})
    spans = [
        ("worker 0", "computing", 0.0, 1.0),
        ("server", "waiting", 0.0, 2.0),
        ("worker 0", "uploading", 1.0, 2.0),
    ]
    tickets = [("active", 1, 0, 0, 0, 0.0, 2.0), ("active", 2, 0, 0, 1, 2.0, 2.0)]
    columns = ["kind", "step", "staleness", "worker", "job", "start_s", "finish_s"]
    tables = numbered(
        "one",
        steps,
        workers,
        pd.DataFrame(spans, columns=["entity", "activity", "start_s", "end_s"]),
        pd.DataFrame(tickets, columns=columns),
    )
    assert [event for event in events(tables) if event["ph"] in "Xsf"] == [
        stretch("computing", 201, 0, 1),
        stretch("waiting", 105, 0, 2),
        stretch("uploading", 203, 1, 1, job=0, taken="active", step=1, staleness=0),
        arrow("s", 1, 203, 1),
        stretch("stepping", 106, 2, 0, step=1, active=1),
        arrow("f", 1, 106, 2),
        stretch("uploading", 203, 2, 0, job=1, taken="active", step=2, staleness=0),
        arrow("s", 2, 203, 2),
        stretch("stepping", 106, 2, 0, step=2, active=1),
        arrow("f", 2, 106, 2),
    ]


def with_queue(rows: list[tuple[int, float, int, int]], folder: Any) -> list[Event]:
    """Return the counters of the queue in the run by hand, had it kept these rows."""
    done = run(scenario(BY_HAND, folder, []), timing_only=True)
    assert done.spans is not None
    assert done.tickets is not None
    queue = pd.DataFrame(rows, columns=["service", "time_s", "queued", "serving"])
    tables = numbered("run", done.steps, done.workers, done.spans, done.tickets, queue)
    found = list(events(tables))
    times = [event["ts"] for event in found if event["ph"] != "M"]
    assert times == sorted(times)
    counters = [event for event in found if "queued" in event.get("args", {})]
    assert [event for event in found if event not in counters] == traced(done)
    return counters


def test_the_queue_at_the_llm_service(tmp_path) -> None:
    """Three calls come at 1, two places; at 1.5 one leaves and the third takes its place."""
    rows = [(0, 0.0, 0, 0), (0, 1.0, 0, 1), (0, 1.0, 0, 2), (0, 1.0, 1, 2), (0, 1.5, 0, 2), (0, 2.25, 0, 0)]
    assert with_queue(rows, tmp_path) == [
        count("LLM queue", 0, queued=0, serving=0),
        count("LLM queue", 1, queued=1, serving=2),
        count("LLM queue", 1.5, queued=0, serving=2),
        count("LLM queue", 2.25, queued=0, serving=0),
    ]


def test_each_service_has_a_queue_of_its_own(tmp_path) -> None:
    rows = [(1, 1.0, 2, 1), (0, 1.0, 0, 1), (1, 1.5, 1, 1)]
    assert with_queue(rows, tmp_path) == [
        count("LLM queue 1", 1, queued=2, serving=1),
        count("LLM queue 0", 1, queued=0, serving=1),
        count("LLM queue 1", 1.5, queued=1, serving=1),
    ]


def test_a_run_folder_with_a_queue(tmp_path) -> None:
    done = run(scenario(BY_HAND, tmp_path, []), timing_only=True)
    folder = write(done, tmp_path / "without", 1.0)
    assert read(folder).queue is None
    table = pd.DataFrame([(0, 1.0, 2, 1)], columns=["service", "time_s", "queued", "serving"])
    folder = write(replace(done, queue=table), tmp_path / "with", 1.0)
    assert [event for event in events(read(folder)) if event["name"] == "LLM queue"] == [
        count("LLM queue", 1, queued=2, serving=1)
    ]


def test_a_damaged_queue(tmp_path) -> None:
    done = run(scenario(BY_HAND, tmp_path, []), timing_only=True)
    folder = write(replace(done, queue=pd.DataFrame({"service": [0]})), tmp_path, 1.0)
    with pytest.raises(ResultsError, match="damaged"):
        read(folder)


def test_levels() -> None:
    """Up at 1, 1, 5 and 7; down at 2, 5 and 9: 0, 2, 1, unchanged at 5, 2, 1."""
    times, level = levels(np.array([1, 7, 1, 5]), np.array([5, 9, 2]))
    assert times.tolist() == [0, 1, 2, 7, 9]
    assert level.tolist() == [0, 2, 1, 2, 1]


def twin_levels(up: list[int], down: list[int]) -> list[tuple[int, int]]:
    found = [(0, sum(time == 0 for time in up) - sum(time == 0 for time in down))]
    for now in sorted({*up, *down} - {0}):
        level = sum(time <= now for time in up) - sum(time <= now for time in down)
        if level != found[-1][1]:
            found.append((now, level))
    return found


def ns(microseconds: float) -> int:
    return round(1000 * microseconds)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_every_trace(overrides: list[str], seed: int, tmp_path) -> None:
    done = run(scenario(BUSY, tmp_path, [*overrides, f"seed={seed}"]), timing_only=True)
    found = traced(done)
    check_form(found)
    check_seconds(found, done)
    check_arrows(found, done)
    check_counters(found, done)


def check_form(found: list[Event]) -> None:
    """Every event has its keys, and no two tracks their number in common; names first, then by time."""
    keys = {
        "M": {"args"},
        "X": {"ts", "dur", "cat"},
        "s": {"ts", "id", "cat"},
        "f": {"ts", "id", "cat", "bp"},
        "C": {"ts", "args"},
    }
    for event in found:
        assert {"name", "ph", "pid"} | keys[event["ph"]] <= set(event)
        assert event["ph"] == "C" or "tid" in event
    phases = [event["ph"] for event in found]
    assert "M" not in phases[phases.count("M") :]
    times = [event["ts"] for event in found if event["ph"] != "M"]
    assert times == sorted(times)
    places = {(event["tid"], event["pid"]) for event in found if "tid" in event}
    assert len(places) == len({tid for tid, _ in places})
    assert 0 not in {event["pid"] for event in found}
    told = {event["tid"] for event in found if event["name"] == "thread_name"}
    assert told == {event["tid"] for event in found if event["ph"] == "X"}


def check_seconds(found: list[Event], done: Run) -> None:
    """No two stretches of a track overlap, and a machine's stretches add up to its seconds."""
    free: dict[int, int] = defaultdict(int)
    seconds: dict[tuple[int, str], float] = defaultdict(float)
    for event in found:
        if event["ph"] == "X":
            assert ns(event["ts"]) >= free[event["tid"]]
            free[event["tid"]] = ns(event["ts"]) + ns(event["dur"])
            seconds[event["pid"], event["name"]] += event["dur"] / 1e6
    for worker in range(len(done.workers)):
        for label in done.summary["seconds_by_activity"]:
            booked = done.workers[f"seconds_{label}"][worker]
            assert seconds[100 * (worker + 2), label] == pytest.approx(booked, abs=1e-6)
    for activity, booked in done.summary["server_seconds_by_activity"].items():
        assert seconds[100, activity] == pytest.approx(booked, abs=1e-6)


def check_arrows(found: list[Event], done: Run) -> None:
    """An arrow goes from an upload of its worker to the step that used it, by either rule of binding."""
    assert done.tickets is not None
    outer = done.tickets[done.tickets.kind != "inner"]
    begun: dict[int, Event] = {}
    ends: dict[str, dict[int, Event]] = {"s": {}, "f": {}}
    for event in found:
        if event["ph"] == "X":
            begun[event["tid"]] = event
        elif event["ph"] in "sf":
            around = begun[event["tid"]]  # the rule of Perfetto
            assert around["ts"] <= event["ts"] <= around["ts"] + around["dur"]  # that of the document
            assert event["id"] not in ends[event["ph"]]
            ends[event["ph"]][event["id"]] = around | {"at": event["ts"]}
    assert ends["s"].keys() == ends["f"].keys()
    seen: Counter[tuple[Any, ...]] = Counter()
    for number, start in ends["s"].items():
        end = ends["f"][number]
        assert start["name"] == "uploading"
        assert end["pid"] == 100
        assert end["at"] >= start["at"]
        args = start["args"]
        step = end["args"]["step"] if end["name"] == "stepping" else end["args"]["after_step"]
        assert step == args["step"]
        kind = {"stepping": "active", "cutting": "drained"}[end["name"]]
        finish_ns = ns(start["ts"]) + ns(start["dur"])
        worker = start["pid"] // 100 - 2
        seen[kind, step, args["staleness"], worker, args["job"], finish_ns] += 1
    assert seen == Counter(
        (row.kind, row.step, row.staleness, row.worker, row.job, round(row.finish_s * 1e9))
        for row in outer.itertuples()
    )
    steps = [
        event for event in found if event["name"] == "stepping" and "args" in event and event["ph"] == "X"
    ]
    taken = done.steps[done.steps.step > 0]
    assert [event["args"] for event in steps] == [
        {"step": step, "active": active} for step, active in zip(taken.step, taken.active, strict=True)
    ]
    assert [ns(event["ts"]) + ns(event["dur"]) for event in steps] == [round(at * 1e9) for at in taken.time_s]


def check_counters(found: list[Event], done: Run) -> None:
    """Counters agree with the steps, and with counting spans and tickets one by one."""
    assert done.spans is not None
    assert done.tickets is not None
    taken = done.steps[done.steps.step > 0]
    at_ns = [round(at * 1e9) for at in taken.time_s]

    def series(name: str) -> list[tuple[int, dict[str, float]]]:
        return [
            (ns(event["ts"]), event["args"])
            for event in found
            if event["name"] == name and event["ph"] == "C"
        ]

    assert series(SET) == [(at, {"tickets": n}) for at, n in zip(at_ns, taken.active, strict=True)]
    assert series(STALE) == [
        (at, {"mean": mean, "max": most})
        for at, mean, most in zip(at_ns, taken.staleness_mean, taken.staleness_max, strict=True)
    ]
    calls = done.spans[done.spans.activity == "calling"]
    up, down = ([round(at * 1e9) for at in calls[edge]] for edge in ("start_s", "end_s"))
    assert series(CALLS) == [(at, {"workers": level}) for at, level in twin_levels(up, down)]

    step_s = done.scenario.server.step_s
    time_s = dict(zip(done.steps.step, done.steps.time_s, strict=True))
    came, went, counted = [], [], Counter(done.tickets.worker)
    used_s = done.tickets.groupby("worker").finish_s.max()
    barrier: dict[int, float] = {}
    for row in done.tickets.itertuples():
        if row.kind == "drained":
            barrier[row.step] = max(barrier.get(row.step, time_s[row.step]), row.finish_s)
    for row in done.tickets.itertuples():
        if row.kind != "inner":
            came.append(round(row.finish_s * 1e9))
            # Within a nanosecond: the start of the step is taken back from its end here.
            went.append(
                round((barrier[row.step] if row.kind == "drained" else time_s[row.step] - step_s) * 1e9)
            )
    for worker, jobs in enumerate(done.workers.jobs):
        mine = done.spans[done.spans.entity == f"worker {worker}"]
        did = ["", *mine.activity]
        since_s = mine.start_s.iloc[-1]
        # the server has read its last report and not used it, or not read it
        unused = jobs > counted[worker] or (did[-2] not in ("", "down") and since_s > used_s.get(worker, -1))
        if did[-1] == "waiting" and did[-2] != "cutting" and unused:
            came.append(round(since_s * 1e9))
    queue = series(QUEUE)
    assert [level for _, level in queue] == [{"waiting": level} for _, level in twin_levels(came, went)]
    assert np.allclose([at for at, _ in queue], [at for at, _ in twin_levels(came, went)], rtol=0, atol=2)
    assert all(args["waiting"] >= 0 for _, args in queue)


def test_who_has_reported_for_a_round_in_the_background_waits_for_nothing(tmp_path) -> None:
    """It goes on; where its next report is in the last step, it waits for no other reason than that."""
    overrides = ["algorithm.cuts.participation=rolling", "server.step_s=0.2", "budget.server_steps=21"]
    done = run(scenario(BUSY, tmp_path, overrides), timing_only=True)
    found = [event for event in traced(done) if event["name"] == QUEUE]
    assert done.summary["by_kind"]["outer"]["jobs"] == done.summary["worker_updates"]
    assert done.tickets is not None
    rounds = (done.tickets.kind == "inner").sum()
    assert done.summary["by_kind"]["inner"]["jobs"] > rounds
    assert found[-1]["args"]["waiting"] == 0

"""The benchmarks measure what they say: yardsticks do the same work, the meter sees every part.

Nothing here depends on how fast anything is.
"""

from __future__ import annotations

import pytest
import torch

from fedsim import simulation
from fedsim.streams import Stream, Streams
from fedsim.timing.loop import run_timeline
from tests.benchmarks.bench.meter import NAMES, Marks, PartMeter
from tests.benchmarks.bench.turns import Nothing, fedsim_turn, measured
from tests.benchmarks.bench.workloads import WORKLOADS, named
from tests.benchmarks.bench.yardsticks import PlainIcl, Recording, bare_simpy

TINY = 1e-9
"""Of the updates of a turn: what is left are the fewest steps that can be measured."""
LEARNING = [work.name for work in WORKLOADS if work.learns and work.has_yardstick]


@pytest.mark.parametrize("wait_for", [1, 3, 7])
def test_bare_simpy_has_the_same_events(wait_for):
    work = named("clock")
    timeline = simulation.timeline(work.scenario(7, wait_for, 1e-3))
    steps = work.steps(7, wait_for, 1e-3)
    assert bare_simpy(7, wait_for, steps) == run_timeline(timeline, Nothing(), Streams(0)).time_s


@pytest.mark.parametrize("wait_for", [1, 3, 7])
@pytest.mark.parametrize("name", LEARNING)
def test_the_plain_loop_ends_with_the_tables_of_fedsim(name, wait_for):
    work, recording, ends = named(name), Recording(), []

    def at_the_end(recorder, tickets, report):
        ends.append(recorder)
        return take_step(recorder, tickets, report)

    take_step = simulation.Recorder.take_step
    with pytest.MonkeyPatch.context() as patch, recording.recording(), torch.no_grad():
        patch.setattr(simulation.Recorder, "take_step", at_the_end)
        fedsim_turn(work, 7, wait_for, 20 / work.updates, recording.start)
        plain = recording.plain.copied()
        if isinstance(plain, PlainIcl):
            streams = Streams(0)
            plain.uniforms = lambda *address: torch.from_numpy(streams.uniforms(Stream.PROMPTS, *address))
        before = plain.P.clone()
        plain.replay(plain.prepared(recording.events))
    tuner = ends[-1]._learner
    assert not torch.equal(plain.P, before)
    for ours, theirs in [
        (plain.P, tuner.tables.P),
        (plain.Q, tuner.tables.Q),
        (plain.received, tuner.received),
        (plain.z, tuner.state.z),
        (plain.now, tuner.state.multipliers.now),
    ]:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_copy_of_the_plain_loop_leaves_the_tables_as_they_were():
    recording = Recording()
    with recording.recording(), torch.no_grad():
        fedsim_turn(named("quadratic"), 4, 2, TINY, recording.start)
        before = recording.plain.P.clone()
        recording.plain.copied().replay(recording.plain.prepared(recording.events))
    assert torch.equal(recording.plain.P, before)


@pytest.mark.parametrize("work", WORKLOADS, ids=lambda work: work.name)
def test_a_cell_has_all_its_figures(work):
    found = measured(work.name, 4, 2, TINY, 0.0, 2)
    assert found["updates"] >= work.updates_a_period(4, 2) - 4 * work.drains
    assert len(found["us"]) == len(found["wall_us"]) == len(found["setup_s"]) == 1
    assert len(found["yard_us"]) == work.has_yardstick
    assert all(value > 0 for value in (*found["us"], *found["yard_us"], *found["setup_s"]))
    assert found["peak_mib"] >= found["before_mib"] > 0
    assert set(found["parts"]) == set(NAMES)
    assert sum(found["parts"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timing only", {"recording"}),
        ("quadratic, cuts", {"recording", "server step", "gradient", "cuts", "optimizer", "other"}),
        ("paper's sizes, cuts", set(NAMES) - {"event loop"}),
    ],
)
def test_the_meter_sees_the_parts(name, expected):
    work, meter = named(name), PartMeter()
    with meter.metering():
        fedsim_turn(work, 4, 2, TINY, meter.clear)
    seen = {part for part, spent_s in meter.shares(0.0).items() if spent_s > 0}
    assert seen == expected


def test_a_part_is_told_without_what_it_has_called(monkeypatch):
    meter, seconds = PartMeter(), iter(range(100))
    monkeypatch.setattr("tests.benchmarks.bench.meter.perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr("tests.benchmarks.bench.meter.looking_s", lambda: 0.0)

    inner = meter.metered(lambda: None, "sampling")  # from 1 to 2, and from 3 to 4

    def outer():
        inner()
        inner()

    meter.metered(outer, "other")()  # from 0 to 5
    shares = meter.shares(10.0)
    assert (shares["sampling"], shares["other"], shares["event loop"]) == (0.2, 0.3, 0.5)


def test_the_rounds_of_an_interlude_are_metered(monkeypatch):
    meter, seconds = PartMeter(), iter(range(100))
    monkeypatch.setattr("tests.benchmarks.bench.meter.perf_counter", lambda: float(next(seconds)))
    monkeypatch.setattr("tests.benchmarks.bench.meter.looking_s", lambda: 0.0)

    def rounds(first):
        second = yield first
        third = yield second
        return third

    inside = meter.metered(rounds, "cuts")("a")
    assert (next(inside), inside.send("b")) == ("a", "b")
    with pytest.raises(StopIteration) as end:
        inside.send("c")
    assert end.value.value == "c"
    assert meter.shares(4.0)["cuts"] == 0.75


def test_marks_tell_the_start_and_the_end_from_what_is_measured():
    marks = fedsim_turn(named("timing only"), 4, 2, 10 / 40_000)
    assert (marks.started.updates, marks.ended.updates) == (2, 12)
    times_s = [moment.cpu_s for moment in (marks.begun, marks.looping, marks.started, marks.ended)]
    assert times_s == sorted(times_s)
    assert simulation.Recorder.take_step.__name__ == "take_step"
    assert Marks(3).skipped == 3

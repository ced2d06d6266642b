"""What holds in every run: books that add up, bounded staleness, enough tickets, one job in flight."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_cases import OPENING, REGULAR, ROUND, Books, by, expulsions, interlude, simulate, workers

from fedsim.attack import Assigned
from fedsim.messages import JobCost
from fedsim.schedule import Adapt
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.attacks.sleeper import Sleeper
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.loop import Ending
from fedsim.timing.worker import Transient, WorkerGroup

# few values, so that many things happen at one instant; and draws, so that nothing does
DELAYS: st.SearchStrategy[Delay] = st.sampled_from([0.0, 0.5, 1.0, 2.75]).map(
    lambda value_s: Constant(value_s=value_s)
) | st.sampled_from([0.3, 2.0]).map(lambda mean_s: Exponential(mean_s=mean_s))

GROUPS: st.SearchStrategy[WorkerGroup] = st.builds(
    workers,
    DELAYS,
    count=st.integers(1, 4),
    upload=DELAYS,
    download=DELAYS,
    slow_down=st.sampled_from([1.0, 4.0]),
    transient=st.none() | st.just(Transient(probability=0.3, factor=5.0)),
    stops_at_s=st.none() | st.sampled_from([0.0, 0.5, 3.0, 11.0]),
)

INTERLUDES = st.none() | st.builds(
    interlude,
    every=st.integers(1, 4),
    rounds=st.integers(1, 3),
    stop_after=st.none() | st.integers(0, 5),
    participation=st.sampled_from(["all", "active", "rolling"]),
    restart=st.sampled_from(["after", "before"]),
)

BOTH, START, LENGTH = st.booleans(), st.sampled_from([0.0, 1.5]), st.sampled_from([0.4, 1.0, 3.0])
PLAIN_ATTACKS: st.SearchStrategy[TimingAttack] = st.one_of(
    st.builds(Rushing, skip_calls=BOTH, start_s=START),
    st.builds(SlowRolling, skip_calls=BOTH, start_s=START, margin_steps=st.integers(0, 2)),
    st.builds(Flapping, skip_calls=BOTH, on_s=LENGTH, off_s=LENGTH, phase_s=START),
)
TIMING_ATTACKS: st.SearchStrategy[TimingAttack] = PLAIN_ATTACKS | st.builds(
    Sleeper, wakes_at_s=LENGTH, then=st.none() | PLAIN_ATTACKS
)


@st.composite
def assigned(draw: st.DrawFn, n_workers: int) -> list[Assigned]:
    attacks = draw(st.lists(TIMING_ATTACKS, max_size=3))
    return [by(attack, *draw(st.sets(st.integers(0, n_workers - 1)))) for attack in attacks]


OPENINGS = st.none() | st.integers(0, 3).map(
    lambda calls: JobCost(calls, tokens_in=5, tokens_out=2, bytes_up=2, bytes_down=8)
)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.lists(GROUPS, min_size=1, max_size=3))
    n_workers = sum(group.count for group in groups)
    plan, participants = draw(INTERLUDES), draw(st.none() | st.integers(1, n_workers + 1))
    if plan is not None and plan.participation == "rolling":
        participants = None  # refused
    return {
        "groups": groups,
        "wait_for": draw(st.integers(1, n_workers)),
        "tau": draw(st.integers(1, 6)),
        "adapt": draw(st.sampled_from([None, Adapt(every_steps=1, gain=0.0), Adapt(2, 4, every_steps=3)])),
        "seed": draw(st.integers(0, 3)),
        "step_s": draw(st.sampled_from([0.0, 0.001, 0.5])),
        "evict_after_s": draw(st.none() | st.sampled_from([0.5, 2.0, 9.0])),
        "interlude": plan,
        "cost": JobCost(calls=draw(st.integers(0, 3)), tokens_in=3, tokens_out=1, bytes_up=9, bytes_down=4),
        "opening": draw(OPENINGS),
        "latency": draw(DELAYS),
        "leaves_bytes": 6,
        "max_steps": draw(st.integers(1, 15)),
        "horizon_s": draw(st.none() | st.sampled_from([0.5, 7.0, 40.0])),
        "attacks": draw(assigned(n_workers)),
        "participants": participants,
        "expels": draw(expulsions(n_workers)),
    }


@settings(deadline=None, max_examples=400)
@given(runs())
def test_invariants(setting: dict[str, Any]) -> None:
    ending, books = simulate(**setting, keep_spans=True)
    check_seconds(ending)
    check_spans(ending)
    check_steps(books, setting)
    check_calls(books, setting)
    check_end(ending, books, setting)


def check_seconds(ending: Ending) -> None:
    """Every second of every entity belongs to exactly one activity."""
    n_entities = len(ending.jobs) + 1
    for entity in range(n_entities):
        booked = [of_all[entity] for of_all in ending.clock.seconds]
        assert sum(booked) == pytest.approx(ending.time_s, rel=1e-12, abs=1e-12)
        assert min(booked) >= 0


def check_spans(ending: Ending) -> None:
    """The stretches of each entity follow each other without a gap, and the books are their sums."""
    for entity in range(len(ending.jobs) + 1):
        own = [span for span in ending.clock.spans if span.entity == entity]
        joints = [0.0, *(span.end_s for span in own)]
        assert [span.start_s for span in own] == joints[:-1]
        assert joints[-1] == ending.time_s
        assert all(span.end_s > span.start_s for span in own)
        for activity, of_all in enumerate(ending.clock.seconds):
            summed = sum(span.end_s - span.start_s for span in own if span.activity == activity)
            assert summed == pytest.approx(of_all[entity])


def check_steps(books: Books, setting: dict[str, Any]) -> None:
    n_workers = sum(group.count for group in setting["groups"])
    rows = zip(books.gone_by, books.active, books.staleness, books.reports, strict=True)
    for gone, active, stale, report in rows:
        if setting["participants"] is None:
            assert report.wait_for == setting["wait_for"] or setting["adapt"] is not None
        if in_background(setting):
            away = setting["wait_for"] if setting["adapt"] is None else n_workers
            assert len(active) >= min(report.wait_for, max(1, n_workers - gone - away))
        elif setting["participants"] is None:
            assert len(active) >= min(report.wait_for, n_workers - gone)
        else:
            assert len(active) <= setting["participants"]
        assert len(set(active)) == len(active)
        assert min(stale) >= 0
        assert max(stale) < (setting["tau"] if setting["participants"] is None else 1)
    for report, active, stale in zip(books.reports, books.active, books.staleness, strict=True):
        assert (report.active, report.staleness_max) == (len(active), max(stale))
        assert report.staleness_mean == pytest.approx(sum(stale) / len(stale))
    assert books.counted == [(row.worker_updates, row.drained, row.openings) for row in books.reports]
    for before, after in pairwise(books.reports):
        assert after.step == before.step + 1
        for counter in (
            "time_s",
            "drained",
            "interludes",
            "llm_calls",
            "tokens_in",
            "bytes_up",
            "bytes_down",
        ):
            assert getattr(after, counter) >= getattr(before, counter)


def in_background(setting: dict[str, Any]) -> bool:
    return setting["interlude"] is not None and setting["interlude"].participation == "rolling"


def check_calls(books: Books, setting: dict[str, Any]) -> None:
    """Without late tickets, calls are those of the jobs taken that were not skipped."""
    if books.evicted or setting["interlude"]:
        return
    costs, calls, bytes_up = {REGULAR: setting["cost"], OPENING: setting["opening"]}, 0, 0
    for report, tickets in zip(books.reports, books.tickets, strict=True):
        calls += sum(costs[ticket.kind].calls for ticket in tickets if not ticket.skipped)
        bytes_up += sum(costs[ticket.kind].bytes_up for ticket in tickets)
        assert (report.llm_calls, report.bytes_up) == (calls, bytes_up)


def check_end(ending: Ending, books: Books, setting: dict[str, Any]) -> None:
    horizon_s = setting["horizon_s"]
    assert set(ending.evicted) | set(ending.expelled) == set(books.evicted)
    assert set(ending.expelled) == set(books.expelled)
    assert not (ending.stalled and setting["evict_after_s"])
    assert bool(ending.waiting_for) is ending.stalled
    if ending.stalled:
        members = [group for group in setting["groups"] for _ in range(group.count)]
        for worker in ending.waiting_for:
            stops_at_s = members[worker].stops_at_s
            silent_s = [
                attack.wakes_at_s
                for attack, malicious in setting["attacks"]
                if isinstance(attack, Sleeper) and attack.then is None and worker in malicious
            ]
            assert min([*silent_s, *([] if stops_at_s is None else [stops_at_s])]) <= ending.time_s
    elif horizon_s is None:
        # nobody who withholds a report, and nobody who will come back, keeps the server from its last step
        everybody = len(books.evicted) == len(ending.jobs)
        assert everybody or ending.report.step == setting["max_steps"]
        assert everybody or ending.time_s == books.times_s[-1]
    if horizon_s is not None:
        assert ending.time_s <= horizon_s
        assert all(time_s < horizon_s for time_s in books.times_s)


def check_jobs(books: Books, setting: dict[str, Any]) -> None:
    """A worker's jobs start when they are handed out: versions never fall.

    But a round in the background has begun before some of its jobs, and all read what it began with.
    """
    for history in books.handed.values():
        versions = [version for kind, version in history if kind != ROUND or not in_background(setting)]
        assert versions == sorted(versions)
        first = OPENING if setting["opening"] else REGULAR
        assert history[0] == (first, 0) or setting["participants"] is not None


@settings(deadline=None, max_examples=60)
@given(runs())
def test_tickets_never_overlap(setting: dict[str, Any]) -> None:
    """One job in flight per worker (`Books` fails otherwise), each starting after the one before was done."""
    _, books = simulate(**setting)
    check_jobs(books, setting)
    free_s: dict[int, float] = {}
    for report, tickets in zip(books.reports, books.tickets, strict=True):
        for ticket in tickets:
            assert free_s.get(ticket.worker, 0.0) <= ticket.start_s <= ticket.finish_s <= report.time_s
            free_s[ticket.worker] = ticket.finish_s

"""What a schedule may say, and how the clock drives rounds behind a barrier, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from timing_cases import (
    FREE,
    OPENING,
    REGULAR,
    ROUND,
    Books,
    by,
    chain,
    interlude,
    schedule_of,
    seconds,
    simulate,
    stretches,
    workers,
)

from fedsim.schedule import Rounds, Schedule, Steps, Work
from fedsim.streams import Streams
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays.constant import Constant
from fedsim.timing.loop import Ending, Timeline, run_timeline
from fedsim.timing.rounds import RoundRule
from fedsim.timing.rule import StepRule
from fedsim.timing.settings import ServerSettings

PLAN = interlude(every=100, rounds=3)
CALL = FREE._replace(calls=1)


def timeline(schedule: Schedule, **settings: Any) -> Timeline:
    group = workers(1.0, name="phones", **settings)
    return Timeline([group], None, ServerSettings(step_s=0.0), schedule, max_steps=2)


def ending_of(schedule: Schedule, books: Books | None = None) -> Ending:
    return run_timeline(timeline(schedule), books or Books(), Streams(0))


SCHEDULE = schedule_of(wait_for=1, interlude=PLAN, opening=FREE)
NO_MODEL = "workers 'phones': found no own_model, expected one: jobs of kind 'round' pass tokens through it"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"regular": "regulr"},
            (
                "schedule.regular: found 'regulr', expected one of regular, round, opening; "
                "did you mean 'regular'?"
            ),
        ),
        ({"opening": "first"}, "schedule.opening: found 'first', expected one of regular, round, opening"),
        (
            {"interlude": PLAN._replace(work="rounds")},
            (
                "schedule.interlude.work: found 'rounds', expected one of regular, round, opening; "
                "did you mean 'round'?"
            ),
        ),
        (
            {"interlude": PLAN._replace(work=REGULAR)},
            (
                "schedule.regular: found 'regular', which is schedule.interlude.work too; "
                "expected another kind of job"
            ),
        ),
        (
            {"interlude": PLAN._replace(work=OPENING)},
            (
                "schedule.opening: found 'opening', which is schedule.interlude.work too; "
                "expected another kind of job"
            ),
        ),
        (
            {"opening": REGULAR},
            "schedule.regular: found 'regular', which is schedule.opening too; expected another kind of job",
        ),
        (
            {"work": {**SCHEDULE.work, ROUND: Work(FREE, "waiting")}},
            (
                "schedule.work: found the activity 'waiting', expected none of the clock's own names: "
                "computing, calling, uploading, downloading, waiting, stepping, down, holding, queueing"
            ),
        ),
        (
            {"work": {**SCHEDULE.work, OPENING: Work(CALL)}},
            "schedule.work.opening: found 1 LLM calls in a job, expected none: there is no LLM service",
        ),
        (
            {"work": {**SCHEDULE.work, ROUND: Work(FREE._replace(own_tokens=5))}},
            NO_MODEL,
        ),
        (
            {"work": {**SCHEDULE.work, ROUND: Work(FREE._replace(own_gradient_tokens=5))}},
            NO_MODEL,
        ),
    ],
)
def test_bad_schedules(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        ending_of(SCHEDULE._replace(**changed))
    assert str(caught.value) == sentence


def test_steps_and_rounds_make_their_rules() -> None:
    steps = timeline(schedule_of(wait_for=2, tau=5)).rule(3, Streams(0), lambda: 0.0)
    assert isinstance(steps, StepRule)
    assert (steps.wait_for, steps.tau, len(steps)) == (2, 5, 3)
    rounds = timeline(SCHEDULE._replace(rule=Rounds(2))).rule(3, Streams(0), lambda: 0.0)
    assert isinstance(rounds, RoundRule)
    assert len(rounds.ask([])) == 2


def test_a_run_without_an_llm_service() -> None:
    only = Schedule(Steps(1, 9), {"job": Work(FREE)}, "job")
    group = workers(1.0)
    done = run_timeline(
        Timeline([group], None, ServerSettings(step_s=0.0), only, max_steps=3), AnyKind(), Streams(0)
    )
    assert (done.time_s, done.report.worker_updates, done.served) == (3, 3, done.served.__class__())
    # an algorithm that names no activity has none beside the clock's
    assert done.clock.labels == [
        *("computing", "calling", "uploading", "downloading", "waiting", "stepping", "down", "holding"),
        "queueing",
    ]


class AnyKind(Books):
    """Jobs are of whatever kind."""

    def hand_out(self, *job: Any) -> None: ...

    def take_step(self, *step: Any) -> str:
        return ""


# Step 1 at 1 s. Rounds of 1 s follow, three of them in the schedule; what the generator asks for decides.
# Then a regular job of 1 s.
@pytest.mark.parametrize("asked", [0, 1, 2, 3])
def test_an_interlude_may_end_early(asked: int) -> None:
    ending, books = simulate(
        [workers(1.0)],
        wait_for=1,
        interlude=PLAN,
        rounds_asked=asked,
        max_steps=2,
        leaves_bytes=11,
        cost=FREE._replace(bytes_down=7),
    )
    assert books.times_s == [1, 2 + asked]
    assert books.read[0] == ["first", *(f"round {number}" for number in range(asked)), "interlude 1"]
    assert (books.ended_interludes, ending.report.interludes) == (1, 1)
    assert ending.report.bytes_down == 7 * asked + 7 + 11


def test_an_interlude_that_asks_for_too_many_rounds() -> None:
    with pytest.raises(RuntimeError) as caught:
        simulate([workers(1.0)], wait_for=1, interlude=PLAN, rounds_asked=4, max_steps=2)
    assert str(caught.value) == (
        "the algorithm asks for round 4 of an interlude, expected at most 3: the rounds of its schedule"
    )


# Step 1 at 1 s; worker 0 stops at 2.5 s, in the second round: given up at 2 + 4 = 6 s. Nobody is left there,
# and worker 1, which was not asked (2.25 s per job), goes on with what step 1 has made. Its ticket of 2.25 s
# is step 2, made when the interlude is off.
def test_an_interlude_that_loses_everybody_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []  # else Python would close what nobody refers to
    begin = Books.interlude
    monkeypatch.setattr(Books, "interlude", lambda *told: kept.append(begin(*told)) or kept[-1])
    groups = [workers(1.0, stops_at_s=2.5), workers(2.25)]
    plan = interlude(every=100, rounds=3, participation="active")
    _, books = simulate(
        groups,
        wait_for=1,
        interlude=plan,
        evict_after_s=4.0,
        leaves_bytes=11,
        max_steps=3,
        cost=FREE._replace(bytes_down=7),
    )
    assert (books.abandoned_interludes, books.ended_interludes, books.rounds) == (1, 0, [[0]])
    assert books.times_s == [1, 6, 8.25]
    assert books.read[1] == ["first", "step 2"]
    # two rounds and a regular job, without what an interlude would have left
    assert books.reports[-1].bytes_down == 3 * 7


# 1 s of download from version 1 on, 2 s of arithmetic, a call of 4 s, 1 s of upload.
PHASES: dict[str, Any] = {
    "cost": FREE._replace(calls=1),
    "latency": Constant(value_s=4.0),
}


def all_phases(**settings: Any) -> Any:
    return workers(2.0, download=Constant(value_s=1.0), upload=Constant(value_s=1.0), **settings)


def test_a_kind_of_job_that_is_booked_as_one_activity() -> None:
    ending, books = simulate(
        [all_phases()], wait_for=1, activity="probing", opening=CALL, max_steps=2, keep_spans=True, **PHASES
    )
    assert books.times_s == [7, 15]
    assert stretches(ending, 0) == chain(("computing", 2), ("calling", 6), ("uploading", 7), ("probing", 15))
    assert seconds(ending, 0) == {"computing": 2, "calling": 4, "uploading": 1, "probing": 8}
    assert ending.clock.labels[-2:] == ["probing", "interlude"]


# Worker 1 is ready at 2 + 4 s and silent in [5, 7): it uploads from 7 s on.
def test_a_job_of_one_activity_is_interrupted_by_silence_alone() -> None:
    attack = Flapping(on_s=5.0, off_s=2.0)
    ending, _ = simulate(
        [all_phases()],
        wait_for=1,
        activity="probing",
        max_steps=1,
        keep_spans=True,
        attacks=[by(attack, 0)],
        **PHASES,
    )
    assert stretches(ending, 0) == chain(("probing", 6), ("down", 7), ("probing", 8))


# tau = 3, margin 1: worker 1, ready at 6 s, withholds until step 1, worker 0's of 10 s.
def test_a_job_of_one_activity_is_interrupted_by_withholding_alone() -> None:
    groups = [workers(6.0), all_phases()]
    ending, _ = simulate(
        groups,
        wait_for=1,
        tau=3,
        activity="probing",
        max_steps=2,
        keep_spans=True,
        attacks=[by(SlowRolling(), 1)],
        **PHASES,
    )
    assert stretches(ending, 1) == chain(("probing", 6), ("holding", 10), ("probing", 11))


# Without a name of its own, a round is booked by phase; the server still books the interlude as a whole.
def test_rounds_that_are_booked_by_phase() -> None:
    schedule = schedule_of(wait_for=1, interlude=interlude(every=100, rounds=1))
    schedule = schedule._replace(work={REGULAR: Work(FREE), ROUND: Work(FREE)})
    ending = ending_of(schedule, Books(rounds_asked=1))
    assert ending.clock.labels[-1] == "interlude"
    assert seconds(ending, 0) == {"computing": 3}
    assert seconds(ending, 1) == {"waiting": 2, "interlude": 1}


def test_two_kinds_may_share_an_activity() -> None:
    work = {REGULAR: Work(FREE, "probing"), ROUND: Work(FREE, "probing")}
    schedule = schedule_of(wait_for=1, interlude=interlude(every=100, rounds=1))._replace(work=work)
    assert schedule.activities == ["probing"]
    ending = ending_of(schedule, Books(rounds_asked=1))
    assert seconds(ending, 0) == {"probing": 3}
    assert seconds(ending, 1) == {"waiting": 2, "probing": 1}


def test_two_kinds_may_have_an_activity_each() -> None:
    work = {ROUND: Work(FREE, "cutting"), REGULAR: Work(FREE, "probing")}
    schedule = schedule_of(wait_for=1, interlude=interlude(every=100, rounds=1))._replace(work=work)
    assert schedule.activities == ["cutting", "probing"]
    ending = ending_of(schedule, Books(rounds_asked=1))
    assert seconds(ending, 0) == {"probing": 2, "cutting": 1}
    assert seconds(ending, 1) == {"waiting": 2, "cutting": 1}

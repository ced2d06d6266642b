"""Sampled rounds: who is asked, what the others do, and that asking everybody is the synchronous form."""

from __future__ import annotations

from typing import Any

import pytest
from timing_cases import REGULAR, by, interlude, seconds, simulate, workers

from fedsim.messages import JobCost
from fedsim.schedule import Interlude
from fedsim.streams import Stream, Streams
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.rounds import RoundRule

COST = JobCost(calls=10, tokens_in=0, tokens_out=0, bytes_up=3, bytes_down=7)


def asked(seed: int, members: list[int], participants: int, number: int) -> list[int]:
    """Return whom round `number` asks: the draw at its address, written out."""
    generator = Streams(seed).generator(Stream.PARTICIPANTS, 0, number)
    return sorted(members[place] for place in generator.choice(len(members), participants, replace=False))


# Workers 0 to 3 take 1, 2, 3, 4 s, and 0.5 s of download but for version 0. With seed 0 the rounds ask
# {0, 1}, {1, 2}, {1, 3}, {2, 3}: 2 s, then 3 + 0.5, 4 + 0.5 and 4 + 0.5 s.
def test_rounds_by_hand() -> None:
    rounds = [[0, 1], [1, 2], [1, 3], [2, 3]]
    assert [asked(0, [0, 1, 2, 3], 2, number) for number in range(4)] == rounds
    groups = [workers(1.0 + number, download=Constant(value_s=0.5)) for number in range(4)]
    ending, books = simulate(groups, wait_for=4, cost=COST, participants=2, max_steps=4)
    assert [sorted(active) for active in books.active] == rounds
    assert books.times_s == [2, 5.5, 10, 14.5]
    assert books.staleness == [[0, 0]] * 4
    assert ending.jobs == [1, 3, 2, 2]
    assert [report.llm_calls for report in books.reports] == [20, 40, 60, 80]
    # version 0 is everybody's; two downloads for each later round that has begun
    assert [report.bytes_down for report in books.reports] == [0, 14, 28, 42]
    assert seconds(ending, 0) == {"computing": 1, "waiting": 13.5}
    assert seconds(ending, 1) == {"computing": 6, "downloading": 1, "waiting": 7.5}
    assert seconds(ending, 2) == {"computing": 6, "downloading": 1, "waiting": 7.5}
    assert seconds(ending, 3) == {"computing": 8, "downloading": 1, "waiting": 5.5}


def test_who_is_not_asked_starts_nothing() -> None:
    _, books = simulate([workers(1.0, count=5)], wait_for=5, participants=1, max_steps=3)
    begun = {worker for active in books.active for worker in active}
    assert set(books.handed) == begun
    assert all(kind is REGULAR for history in books.handed.values() for kind, _ in history)


@pytest.mark.parametrize("plan", [None, interlude(every=3, rounds=2)])
@pytest.mark.parametrize("evict_after_s", [None, 4.0])
@pytest.mark.parametrize("delay", [Exponential(mean_s=1.0), Constant(value_s=1.0)])
def test_asking_everybody_is_the_synchronous_form(
    plan: Interlude | None, evict_after_s: float | None, delay: Any
) -> None:
    """Bit for bit, ties, barriers and evictions included."""
    groups = [workers(delay, count=3, upload=delay), workers(delay, count=2, download=Constant(value_s=0.1))]

    def run(**settings: Any) -> tuple[Any, ...]:
        ending, books = simulate(
            groups,
            **settings,
            step_s=0.01,
            interlude=plan,
            cost=COST,
            evict_after_s=evict_after_s,
            max_steps=20,
            keep_spans=True,
            attacks=[by(Rushing(), 3)],
        )
        reports = [report._replace(wait_for=0) for report in books.reports]  # S is another number
        return reports, books.active, books.handed, ending.clock.spans, ending.evicted

    synchronous = run(wait_for=5, tau=1)
    assert synchronous == run(wait_for=5, tau=1, participants=5) == run(wait_for=1, tau=7, participants=9)
    assert synchronous != run(wait_for=5, tau=1, participants=4)


def test_all_are_asked_equally_often() -> None:
    """m of R in each of n rounds: a worker is asked n m / R times, a pair together n m (m-1) / (R (R-1))."""
    rule, n_rounds = RoundRule(range(6), 3, Streams(1)), 4000
    times = [[0] * 6 for _ in range(6)]
    for _ in range(n_rounds):
        members = rule.ask([])
        assert len(set(members)) == 3
        for one in members:
            rule.report(one)
            for other in members:
                times[one][other] += 1
        rule.stepped()
    for one in range(6):
        for other in range(6):
            share = 0.5 if one == other else 0.2
            standard_error = (n_rounds * share * (1 - share)) ** 0.5
            assert abs(times[one][other] - n_rounds * share) < 4 * standard_error


def test_the_rule() -> None:
    rule = RoundRule(range(4), 2, Streams(0))
    assert (len(rule), rule.members, rule.alive, 3 in rule, 4 in rule) == (4, [0, 1, 2, 3], True, True, False)
    first, second = asked(0, [0, 1, 2, 3], 2, 0)
    # those who are waiting come first, in the order in which they wait
    assert rule.ask([3, second, 2, first]) == sorted([first, second], key=[3, second, 2, first].index)
    assert (rule.missing, rule.may_step()) == (2, False)
    rule.report(first)
    assert (rule.missing, rule.may_step()) == (1, False)
    rule.evict(second)
    assert (rule.missing, rule.may_step(), second in rule) == (0, True, False)
    rule.stepped()
    assert rule.step == 1
    left = [worker for worker in range(4) if worker != second]
    assert rule.ask([]) == asked(0, left, 2, 1)
    rule.evict(left[0])
    # two are left: both are asked, without a draw
    assert rule.ask([]) == left[1:]
    for worker in left[1:]:
        rule.evict(worker)
    assert not rule.alive
    assert not rule.may_step()
    with pytest.raises(ValueError, match="participants must be at least 1, got 0"):
        RoundRule(range(4), 0, Streams(0))


def test_who_is_taken_in_during_a_round_is_asked_in_the_next() -> None:
    rule = RoundRule(range(3), 3, Streams(0))
    rule.evict(1)
    assert rule.ask([]) == [0, 2]
    assert not rule.admit(1)
    assert (rule.members, rule.missing) == ([0, 1, 2], 2)
    rule.report(0)
    rule.report(2)
    assert rule.may_step()
    assert rule.ask([2, 0, 1]) == [2, 0, 1]


# All but worker 0 stop at once; patience 2 s. With seed 1 the first round asks 1 and 2, both given up at 2 s,
# and the next 0 and 4, with the same version: worker 0 reports at 3 s, 4 is given up at 4 s: step 1. Then 0
# and 3 are left, both are asked, 3 is given up at 6 s: step 2. Then worker 0 alone: step 3 at 7 s.
def test_a_round_that_loses_everybody_is_followed_by_another() -> None:
    assert asked(1, [0, 1, 2, 3, 4], 2, 0) == [1, 2]
    assert asked(1, [0, 3, 4], 2, 1) == [0, 4]
    groups = [workers(1.0), workers(1.0, count=4, stops_at_s=0.0)]
    ending, books = simulate(groups, wait_for=5, participants=2, evict_after_s=2.0, max_steps=3, seed=1)
    assert ending.evicted == {1: 2.0, 2: 2.0, 4: 4.0, 3: 6.0}
    assert books.active == [[0]] * 3
    assert books.times_s == [4, 6, 7]
    assert [version for _, version in books.handed[0]] == [0, 1, 2]


def test_a_round_stalls_for_those_whom_it_asked() -> None:
    groups = [workers(1.0), workers(1.0, count=4, stops_at_s=0.0)]
    ending, books = simulate(groups, wait_for=5, participants=2, seed=1)
    assert (ending.stalled, ending.waiting_for, books.reports) == (True, [1, 2], [])


def test_in_rounds_nobody_holds_back() -> None:
    """Everybody who is asked is waited for: there is no last moment to wait for."""

    def times_s(*attacks: Any) -> list[float]:
        groups = [workers(Exponential(mean_s=1.0), count=5, upload=Exponential(mean_s=1.0))]
        return simulate(groups, wait_for=5, participants=3, max_steps=20, attacks=attacks)[1].times_s

    assert times_s(by(SlowRolling(), 1, 2)) == times_s() != times_s(by(Rushing(), 1, 2))


def test_an_interlude_of_sampled_rounds() -> None:
    """All take part in the interlude; only those asked next get a job after it."""
    _, books = simulate(
        [workers(1.0, count=5)],
        wait_for=5,
        participants=2,
        interlude=interlude(every=2, rounds=1),
        max_steps=4,
    )
    assert books.participants == [[0, 1, 2, 3, 4]] * 2
    assert [sorted(active) for active in books.active] == [asked(0, [0, 1, 2, 3, 4], 2, r) for r in range(4)]

"""The step rule: its truth table, ages, eviction, and a plain twin that keeps an age for everybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timing_cases import simulate, workers

from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.rule import StepRule


class PlainRule:
    """The rule as the released code of ADBO has it: a list of ages, all looked at each time."""

    def __init__(self, n_workers: int, wait_for: int, tau: int) -> None:
        self.ages = dict.fromkeys(range(n_workers), 1)
        self.active: list[int] = []
        self.wait_for = wait_for
        self.tau = tau

    def report(self, worker: int) -> None:
        self.ages[worker] = 0
        self.active.append(worker)

    def may_step(self) -> bool:
        if not self.ages:
            return False
        enough = len(self.active) >= min(self.wait_for, len(self.ages))
        return enough and max(self.ages.values()) < self.tau

    def stepped(self) -> None:
        self.ages = {worker: age + 1 for worker, age in self.ages.items()}
        self.active = []

    def reset_ages(self) -> None:
        self.ages = dict.fromkeys(self.ages, 1)
        self.active = []

    def evict(self, worker: int) -> None:
        del self.ages[worker]

    def admit(self, worker: int) -> None:
        self.ages[worker] = 1


# S, tau, who reports, may it step? All ages are 1 at the start.
TRUTH = [
    (1, 2, [], False),
    (1, 2, [0], True),
    (1, 2, [2], True),
    (2, 2, [0], False),
    (2, 2, [0, 1], True),
    (2, 2, [0, 1, 2], True),
    (3, 2, [0, 1], False),
    (3, 2, [0, 1, 2], True),
    (1, 1, [0], False),  # tau = 1: age 1 is too old
    (1, 1, [0, 1], False),
    (1, 1, [0, 1, 2], True),
    (2, 1, [1, 2], False),
]


@pytest.mark.parametrize(("wait_for", "tau", "reporting", "may_step"), TRUTH)
def test_may_step(wait_for: int, tau: int, reporting: list[int], may_step: bool) -> None:
    rule = StepRule(range(3), wait_for, tau)
    for worker in reporting:
        rule.report(worker)
    assert rule.may_step() is may_step


def test_a_silent_worker_is_waited_for_after_tau_minus_1_steps() -> None:
    rule = StepRule(range(2), wait_for=1, tau=3)
    # worker 1 never reports: its age is 1, 2, 3 when worker 0 reports for the first, second, third time
    for allowed in (True, True, False):
        rule.report(0)
        assert rule.may_step() is allowed
        if allowed:
            rule.stepped()
    rule.report(1)
    assert rule.may_step()


def test_a_step_empties_the_active_set() -> None:
    rule = StepRule(range(2), wait_for=1, tau=9)
    rule.report(0)
    rule.stepped()
    assert rule.step == 1
    assert not rule.may_step()


def test_after_a_barrier_every_age_is_1() -> None:
    rule = StepRule(range(2), wait_for=1, tau=3)
    for _ in range(2):
        rule.report(0)
        rule.stepped()
    rule.report(0)
    rule.reset_ages()
    # the drained ticket is in no active set, and worker 1 may miss two more steps
    for allowed in (True, True, False):
        assert not rule.may_step()
        rule.report(0)
        assert rule.may_step() is allowed
        rule.stepped()


def test_who_is_evicted_holds_nobody_up() -> None:
    rule = StepRule(range(3), wait_for=3, tau=1)
    rule.report(0)
    rule.report(2)
    assert not rule.may_step()
    rule.evict(1)
    # S falls to the two that are left
    assert rule.may_step()
    assert (1 in rule, 2 in rule, len(rule), rule.members) == (False, True, 2, [0, 2])
    rule.evict(0)
    rule.evict(2)
    assert not rule.alive
    assert not rule.may_step()


# S = 1, tau = 2. Worker 2 is taken in after both others have reported: it is older than they are, and is
# waited for after one step.
def test_who_is_taken_in_is_of_age_1() -> None:
    rule = StepRule(range(3), wait_for=1, tau=2)
    rule.evict(2)
    rule.report(0)
    rule.report(1)
    assert rule.admit(2)
    assert rule.may_step()
    rule.stepped()
    rule.report(0)
    rule.report(1)
    assert not rule.may_step()
    rule.report(2)
    assert rule.may_step()


MOVES = st.lists(
    st.tuples(st.sampled_from(["report"] * 6 + ["reset", "evict", "admit", "admit"]), st.integers(0, 4)),
    max_size=60,
)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), MOVES)
def test_the_rule_agrees_with_its_plain_twin(
    n_workers: int, wait_for: int, tau: int, moves: list[tuple[str, int]]
) -> None:
    """A server steps as soon as it may; now and then comes a barrier, or somebody is given up or taken in."""
    rule, plain = StepRule(range(n_workers), wait_for, tau), PlainRule(n_workers, wait_for, tau)
    for move, worker in moves:
        assert rule.members == sorted(plain.ages)
        if move == "reset":
            rule.reset_ages()
            plain.reset_ages()
        elif move == "admit":
            if worker not in rule:
                rule.admit(worker)
                plain.admit(worker)
        elif worker in rule and worker not in plain.active:
            act = rule.evict, plain.evict
            for do in act if move == "evict" else (rule.report, plain.report):
                do(worker)
        assert rule.may_step() is plain.may_step()
        if rule.may_step():
            rule.stepped()
            plain.stepped()


def test_more_than_s_only_where_the_staleness_bound_made_the_server_wait() -> None:
    """Among ten workers with one slow one; the plain twin tells what held a step up."""
    n_workers, wait_for, tau = 10, 3, 6
    groups = [workers(Exponential(mean_s=1.0), count=9), workers(Exponential(mean_s=6.0))]
    _, books = simulate(groups, wait_for=wait_for, tau=tau, max_steps=400)
    plain, held_up = PlainRule(n_workers, wait_for, tau), 0
    for active in books.active:
        for place, worker in enumerate(active):
            assert not plain.may_step()
            plain.report(worker)
            if place + 1 >= wait_for and not plain.may_step():
                held_up += 1
                assert max(plain.ages.values()) == tau
        assert plain.may_step()
        assert len(active) >= wait_for
        plain.stepped()
    assert held_up > 20
    assert max(map(len, books.active)) > wait_for

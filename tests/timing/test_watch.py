"""How S is adapted: by hand, against a slow twin that looks through all arrivals, and where it settles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_cases import Books, interlude, simulate, workers

from fedsim.schedule import Adapt, Interlude
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.watch import Watch

NEVER = 10**9
EACH_STEP = Adapt(every_steps=1, gain=0.0, window=1)


def asked_for(books: Books) -> list[int]:
    """Return S of each step."""
    return [report.wait_for for report in books.reports]


# Jobs of 1, 2 and 9 s: one of 1 s for each update, two of 2 s, three of 9 s: 1, 1 and 3 s an update; of the
# equals the larger. Steps 1 and 2 wait for all; then, from 18 s, for two: 20 and 22 s with workers 0 and 1.
def test_a_slow_worker_is_waited_for_no_longer() -> None:
    adapt = Adapt(every_steps=2)
    _, books = simulate([workers(each) for each in (1, 2, 9)], wait_for=3, adapt=adapt, max_steps=4)
    assert books.times_s == [9, 18, 20, 22]
    assert asked_for(books) == [3, 3, 2, 2]
    assert [len(active) for active in books.active] == [3, 3, 2, 2]


class Seen:
    """A watch that has seen workers of 1, 2 and 9 s do a job each, a step, and an interlude of 12 s."""

    def __init__(self, plan: Interlude | None = None, tau: int = NEVER, step_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.watch = Watch(EACH_STEP, tau, step_s, plan, lambda: self.now_s)
        self.watch.asked(range(3))
        for worker, now_s in enumerate((1.0, 2.0, 9.0)):
            self.now_s = now_s
            self.watch.reported(worker)
        self.watch.stepped(1, 3)
        if plan is not None:
            self.now_s = 21.0
        self.watch.asked(range(3))


# Two steps between interludes of 12 s. To the barrier of all come those who were not active: with S = 1, 2
# and 3, two steps of 1, 2 and 9 s and 12 s are 14, 16 and 30 s for 2 + 2, 4 + 1 and 6 + 0 updates.
COSTS = [
    (Seen(), [1, 1, 3]),
    (Seen(step_s=1.0), [2, 1.5, 10 / 3]),
    (Seen(tau=3), [3, 1.5, 3]),  # the slowest must be heard every third step, so a step takes 3 s at least
    (Seen(interlude(every=2)), [14 / 4, 16 / 5, 30 / 6]),
    (Seen(interlude(every=2, restart="before")), [14 / 5, 16 / 7, 30 / 9]),
    (Seen(interlude(every=2, participation="active")), [14 / 2, 16 / 4, 30 / 6]),
    (Seen(interlude(every=2, stop_after=1)), [1, 1, 3]),
    (Seen(interlude(every=2)._replace(every_updates=4)), [1, 1, 3]),
]


@pytest.mark.parametrize(("seen", "update_s"), COSTS)
def test_seconds_per_update_by_hand(seen: Seen, update_s: list[float]) -> None:
    assert seen.watch.update_s(1) == pytest.approx(update_s)


def test_a_job_under_way_counts_with_its_time_so_far() -> None:
    """With interludes, jobs have begun at 21 s: 30 s later, that is more than any of them has taken."""
    seen = Seen(interlude(every=2, stop_after=0))
    seen.now_s = 51.0
    assert seen.watch.update_s(1) == pytest.approx([30, 15, 10])


# From 3 s an update, S = 2 with 1 s saves two thirds.
@pytest.mark.parametrize(
    ("adapt", "s"),
    [
        (Adapt(every_steps=1), 2),
        (Adapt(every_steps=1, most=1), 1),
        (Adapt(every_steps=1, least=3), 3),
        (Adapt(every_steps=1, gain=0.66), 2),
        (Adapt(every_steps=1, gain=0.67), 3),
        (Adapt(every_steps=2), 3),
    ],
)
def test_bounds_and_gain_by_hand(adapt: Adapt, s: int) -> None:
    _, books = simulate([workers(each) for each in (1, 2, 9)], wait_for=3, adapt=adapt, max_steps=2)
    assert asked_for(books) == [3, s]


def test_who_has_left_or_joined() -> None:
    seen = Seen()
    seen.watch.left(0)
    assert seen.watch.update_s(1) == pytest.approx([2, 9 / 2])
    seen.watch.handed_out([0])
    seen.now_s += 4  # nothing is known of it but that it has not reported in 4 s
    assert seen.watch.update_s(1)[1] == pytest.approx(4 / 2)


def test_who_has_done_nothing_for_a_step_is_not_known() -> None:
    seen = Seen()
    seen.watch.handed_out([3])
    seen.watch.away(3)
    assert seen.watch.update_s(1) == pytest.approx([1, 1, 3])
    watch = Watch(EACH_STEP, NEVER, 0.0, None, lambda: 0.0)
    assert watch.stepped(1, 2) == 2


def twin(books: Books, n_workers: int, tau: int, adapt: Adapt, first: int) -> list[int]:
    """Work S of each step out from all jobs, each time from the beginning; there are no interludes."""
    taken = {
        (ticket.worker, ticket.job): (step, ticket.finish_s - ticket.start_s)
        for step, tickets in enumerate(books.tickets, start=1)
        for ticket in tickets
    }
    made_s = [0.0, *books.times_s]
    found = [first]
    for step, now_s in enumerate(books.times_s[:-1], start=1):
        rows = []
        for worker in range(n_workers):
            row: list[float] = []
            for job, (_, version) in enumerate(books.handed[worker]):
                used, took_s = taken.get((worker, job), (step + 1, 0.0))
                so_far_s = now_s - made_s[version] if version < step else 0.0
                if used <= step:
                    row.append(took_s)
                elif version < step and (not row or so_far_s > row[-1]):
                    row.append(so_far_s)
            rows.append(row[-adapt.window :])
        looks = [sorted(row[-1 - look % len(row)] for row in rows) for look in range(adapt.window)]
        columns = [math.fsum(look[place] for look in looks) / adapt.window for place in range(n_workers)]
        costs = [max(each_s, columns[-1] / tau) / s for s, each_s in enumerate(columns, start=1)]
        best = max(s for s, cost in enumerate(costs, start=1) if cost == min(costs))
        better = step % adapt.every_steps == 0 and costs[best - 1] < (1 - adapt.gain) * costs[found[-1] - 1]
        found.append(best if better else found[-1])
    return found


@settings(deadline=None, max_examples=60)
@given(
    n_workers=st.integers(1, 6),
    tau=st.integers(2, 9),
    adapt=st.builds(
        Adapt,
        least=st.just(1),
        most=st.none(),
        every_steps=st.integers(1, 4),
        window=st.integers(1, 4),
        gain=st.sampled_from([0.0, 0.05, 0.3]),
    ),
    seed=st.integers(0, 99),
)
def test_s_is_what_a_look_through_all_arrivals_says(
    n_workers: int, tau: int, adapt: Adapt, seed: int
) -> None:
    groups = [workers(Exponential(mean_s=1.0 + 2 * (number % 2))) for number in range(n_workers)]
    first = (n_workers + 1) // 2
    _, books = simulate(groups, wait_for=first, tau=tau, adapt=adapt, seed=seed, max_steps=30)
    assert asked_for(books) == twin(books, n_workers, tau, adapt, first)


@pytest.mark.parametrize(("slow_down", "settles_at"), [(1.0, {10}), (2.0, {9}), (8.0, {9})])
def test_where_s_settles(slow_down: float, settles_at: set[int]) -> None:
    """Alike workers are all waited for, and one that is slower than the others is not."""
    alike = Gamma(mean_s=1.0, shape=100.0)
    groups = [workers(alike, count=9), workers(alike, slow_down=slow_down)]
    _, books = simulate(groups, wait_for=2, adapt=Adapt(), max_steps=100)
    assert set(asked_for(books)[20:]) == settles_at


def test_an_evicted_worker_is_counted_no_more() -> None:
    """Workers of 1, 1 and 1 s, one of which stops: all three are waited for, then the two that are left."""
    groups = [workers(1.0, count=2), workers(1.0, stops_at_s=3.5)]
    _, books = simulate(groups, wait_for=1, adapt=EACH_STEP, evict_after_s=5.0, max_steps=12)
    assert books.evicted == [2]
    assert asked_for(books)[1] == 3
    assert len(books.active[-1]) == 2


def test_the_same_seed_takes_the_same_s() -> None:
    groups = [workers(Exponential(mean_s=1.0), count=5)]
    runs = [simulate(groups, wait_for=2, adapt=EACH_STEP, seed=3, max_steps=40)[1] for _ in range(2)]
    assert asked_for(runs[0]) == asked_for(runs[1])
    assert len(set(asked_for(runs[0]))) > 1

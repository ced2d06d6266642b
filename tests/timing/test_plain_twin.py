"""The event loop against a slow plain twin: a heap of hand-in times and the pseudocode, without processes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_cases import FREE, OPENING, by, interlude, simulate, workers

from fedsim.messages import JobCost
from fedsim.schedule import Interlude
from fedsim.streams import Stream, Streams
from fedsim.timing.attacks.base import TimingAttack
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.worker import DRAWS_A_BLOCK

DELAY = Exponential(mean_s=1.0)


class Step(NamedTuple):
    time_s: float
    active: list[int]
    staleness: list[int]
    openings: int = 0


def drawn_s(seed: int, purpose: Stream = Stream.COMPUTE) -> Callable[[int, int], float]:
    """Return the length of a worker's job (s), or of its upload."""

    def length_s(worker: int, job: int) -> float:
        block, place = divmod(job, DRAWS_A_BLOCK)
        generator = Streams(seed).generator(purpose, worker, block)
        return float(DELAY.sample(generator, DRAWS_A_BLOCK)[place])

    return length_s


def plain(
    n_workers: int,
    wait_for: int,
    tau: int,
    step_s: float,
    plan: Interlude | None,
    opening_s: float | None,
    n_steps: int,
    seed: int,
) -> list[Step]:
    """Run Algorithm 1's clock: no two messages may come at one instant.

    Where there are opening jobs, a worker's first job is one and takes `opening_s` longer than another.
    """
    length_s = drawn_s(seed)
    everybody = range(n_workers)
    jobs, versions, ages = [0] * n_workers, [0] * n_workers, [1] * n_workers
    under_way: list[tuple[float, int]] = []
    steps: list[Step] = []
    now_s, active = 0.0, []

    def start(worker: int, version: int) -> None:
        more_s = opening_s if opening_s is not None and jobs[worker] == 0 else 0.0
        heappush(under_way, (now_s + length_s(worker, jobs[worker]) + more_s, worker))
        jobs[worker] += 1
        versions[worker] = version

    for worker in everybody:
        start(worker, 0)
    while len(steps) < n_steps:
        arrived_s, worker = heappop(under_way)
        now_s = max(now_s, arrived_s)  # a message may have waited for the server
        active.append(worker)
        ages[worker] = 0
        if len(active) < wait_for or max(ages) >= tau:
            continue
        now_s += step_s
        index = len(steps)
        openings = sum(jobs[member] == 1 for member in active) if opening_s is not None else 0
        steps.append(Step(now_s, active, [index - versions[member] for member in active], openings))
        ages = [age + 1 for age in ages]
        served, active = active, []
        if plan is not None and plan.due(index):
            for worker in served if plan.restart == "before" else ():
                start(worker, index + 1)
            now_s = max([now_s, *(arrived_s for arrived_s, _ in under_way)])
            under_way.clear()
            for _ in range(plan.rounds):
                now_s += max(length_s(member, jobs[member]) for member in everybody) + step_s
                jobs = [job + 1 for job in jobs]
            ages = [1] * n_workers
            served = list(everybody)
        for worker in served:
            start(worker, index + 1)
    return steps


@settings(deadline=None, max_examples=60)
@given(
    n_workers=st.integers(1, 7),
    wait_for=st.integers(1, 7),
    tau=st.integers(1, 6),
    step_s=st.sampled_from([0.0, 0.03, 0.6]),
    plan=st.none()
    | st.builds(
        interlude,
        every=st.integers(1, 7),
        rounds=st.integers(1, 3),
        restart=st.sampled_from(["after", "before"]),
    ),
    opening=st.none() | st.sampled_from([FREE, FREE._replace(calls=2)]),
    seed=st.integers(0, 99),
)
def test_the_event_loop_agrees_with_its_plain_twin(
    n_workers: int,
    wait_for: int,
    tau: int,
    step_s: float,
    plan: Interlude | None,
    opening: JobCost | None,
    seed: int,
) -> None:
    wait_for = min(wait_for, n_workers)
    opening_s = None if opening is None else 0.75 * opening.calls
    expected = plain(n_workers, wait_for, tau, step_s, plan, opening_s, 25, seed)
    ending, books = simulate(
        [workers(DELAY, count=n_workers, lanes=1)],
        wait_for=wait_for,
        tau=tau,
        step_s=step_s,
        interlude=plan,
        opening=opening,
        latency=Constant(value_s=0.75),
        seed=seed,
        max_steps=25,
    )
    assert [sum(ticket.kind == OPENING for ticket in step) for step in books.tickets] == [
        step.openings for step in expected
    ]
    if plan is None:  # else some are drained
        assert ending.report.openings == sum(step.openings for step in expected)
    assert books.active == [step.active for step in expected]
    assert books.staleness == [step.staleness for step in expected]
    assert books.times_s == pytest.approx([step.time_s for step in expected], rel=1e-12)


def plain_with_malicious_workers(
    attackers: dict[int, TimingAttack], n_workers: int, wait_for: int, tau: int, n_steps: int, seed: int
) -> list[Step]:
    """Run the clock with malicious workers, a server that takes no time and no interludes."""
    computes_s, uploads_s = drawn_s(seed), drawn_s(seed, Stream.UPLOAD)
    jobs, versions, ages = [0] * n_workers, [0] * n_workers, [1] * n_workers
    events: list[tuple[float, int, bool]] = []  # when, who, and whether it arrives or is only ready
    held: list[int] = []
    steps: list[Step] = []
    now_s, active = 0.0, []

    def start(worker: int) -> None:
        length_s = 0.0 if isinstance(attackers.get(worker), Rushing) else computes_s(worker, jobs[worker])
        versions[worker] = len(steps)
        heappush(events, (now_s + length_s, worker, False))

    def send(worker: int) -> None:
        sent_s, attack = now_s, attackers.get(worker)
        if isinstance(attack, Flapping):
            while sent_s % (attack.on_s + attack.off_s) >= attack.on_s:
                sent_s = 0.25 * (int(4 * sent_s) + 1)  # all lengths of the test are multiples of 0.25
        heappush(events, (sent_s + uploads_s(worker, jobs[worker]), worker, True))
        jobs[worker] += 1

    for worker in range(n_workers):
        start(worker)
    while len(steps) < n_steps:
        if not events:
            for worker in held[: max(1, wait_for - len(active))]:
                held.remove(worker)
                send(worker)
        now_s, worker, arrives = heappop(events)
        if not arrives:
            attack = attackers.get(worker)
            if (
                isinstance(attack, SlowRolling)
                and len(steps) < versions[worker] + tau - 1 - attack.margin_steps
            ):
                held.append(worker)
            else:
                send(worker)
            continue
        active.append(worker)
        ages[worker] = 0
        if len(active) < wait_for or max(ages) >= tau:
            continue
        index = len(steps)
        steps.append(Step(now_s, active, [index - versions[member] for member in active]))
        ages = [age + 1 for age in ages]
        for worker in list(held):
            attack = attackers[worker]
            assert isinstance(attack, SlowRolling)
            if len(steps) >= versions[worker] + tau - 1 - attack.margin_steps:
                held.remove(worker)
                send(worker)
        served, active = active, []
        for worker in served:
            start(worker)
    return steps


ATTACKS: st.SearchStrategy[TimingAttack] = st.one_of(
    st.just(Rushing()),
    st.builds(SlowRolling, margin_steps=st.integers(0, 3)),
    st.builds(Flapping, on_s=st.sampled_from([0.5, 2.0]), off_s=st.sampled_from([0.25, 1.5])),
)


@settings(deadline=None, max_examples=80)
@given(
    attackers=st.dictionaries(st.integers(0, 6), ATTACKS, max_size=7),
    n_workers=st.integers(1, 7),
    wait_for=st.integers(1, 7),
    tau=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_malicious_workers_agree_with_their_plain_twin(
    attackers: dict[int, TimingAttack], n_workers: int, wait_for: int, tau: int, seed: int
) -> None:
    wait_for = min(wait_for, n_workers)
    attackers = {worker: attack for worker, attack in attackers.items() if worker < n_workers}
    expected = plain_with_malicious_workers(attackers, n_workers, wait_for, tau, 30, seed)
    _, books = simulate(
        [workers(DELAY, count=n_workers, upload=DELAY)],
        wait_for=wait_for,
        tau=tau,
        seed=seed,
        max_steps=30,
        attacks=[by(attack, worker) for worker, attack in attackers.items()],
    )
    assert books.active == [step.active for step in expected]
    assert books.staleness == [step.staleness for step in expected]
    assert books.times_s == pytest.approx([step.time_s for step in expected], rel=1e-12)

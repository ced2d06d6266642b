"""Filters of asynchronous servers: values by hand, what they remember, what papers promise, slow twins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.errors import InputError
from fedsim.learning.filters import FILTERS, Arrival
from fedsim.learning.filters.basgd import Basgd
from fedsim.learning.filters.fldetector import FlDetector
from fedsim.learning.filters.kardam import Kardam
from fedsim.learning.filters.zeno_plus_plus import ZenoPlusPlus


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def arrival(worker: int, update: Tensor | float, read: Tensor | float = 0.0, staleness: int = 0) -> Arrival:
    """Return a message that was made from `read` by adding `update`."""
    update, read = (x if isinstance(x, Tensor) else tensor(x) for x in (update, read))
    return Arrival(worker, read + update, read, staleness)


EVERY = {
    "basgd": Basgd(buffers=1),
    "fldetector": FlDetector(starts_at_step=0, window=1, quorum=0.5),
    "kardam": Kardam(f=1),
    "zeno_plus_plus": ZenoPlusPlus(rate=0.1),
}


def at_work(name: str) -> Any:
    return EVERY[name].open(4, lambda z, step: -torch.ones_like(z), 1)


def test_every_filter_is_here() -> None:
    assert [kind for kind, _ in FILTERS] == list(EVERY)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(name: str, dtype: torch.dtype) -> None:
    """Rows of the messages' type, at most as many; nothing given is written to; refusals are counted."""
    filtering, rng = at_work(name), np.random.default_rng(0)
    previous = torch.zeros(3, dtype=dtype)
    seen = made = 0
    for step in range(12):
        messages = torch.from_numpy(rng.normal(size=(step % 4, 3))).to(dtype)
        before = messages.clone()
        arrivals = [
            Arrival(worker, message, previous.clone(), worker) for worker, message in enumerate(messages)
        ]
        rows = filtering.passed(arrivals, previous)
        assert rows.dtype == dtype
        assert rows.shape[1:] == (3,)
        assert len(rows) <= len(arrivals)
        assert torch.equal(messages, before)
        assert not previous.any()
        seen, made = seen + len(arrivals), made + len(rows)
    assert 0 < made < seen
    assert filtering.refused == (0 if name == "basgd" else seen - made)
    assert filtering.calls == (2 if name == "zeno_plus_plus" else 0)


@pytest.mark.parametrize("name", EVERY)
def test_updates_are_added_to_the_newest_consensus(name: str) -> None:
    """The worker went one step along (-1, ...) from where it read; the consensus is elsewhere by now."""
    filtering = at_work(name)
    read, newest = tensor(0.5, 0.25), tensor(2.0, -1.0)
    rows = filtering.passed([arrival(0, tensor(1.0, 1.0), read)], newest)
    step = 0.1 if name == "zeno_plus_plus" else 1.0  # by hand: |v| = |u|, times the rate
    torch.testing.assert_close(rows, (newest + step)[None])


def test_a_fresh_run_remembers_nothing() -> None:
    """What a filter remembers is in what `open` returned, not in the settings."""
    for name in EVERY:
        first = at_work(name)
        for _ in range(5):
            first.passed([arrival(0, np.random.default_rng(0).normal())], tensor(0.0))
        second, third = at_work(name), at_work(name)
        messages = [arrival(0, 0.3)]
        assert torch.equal(second.passed(messages, tensor(0.0)), third.passed(messages, tensor(0.0)))
        assert second.refused == 0


# Kardam.


def kardam(n_workers: int = 4, f: int = 1, frequency: bool = False, **settings: Any) -> Any:
    return Kardam(f=f, frequency=frequency, **({"dampening": "none"} | settings)).open(n_workers)


def passes(filtering: Any, *arrivals: Arrival) -> bool:
    return bool(len(filtering.passed(list(arrivals), torch.zeros_like(arrivals[0].message))))


def test_smooth_workers_by_hand() -> None:
    """Four workers, one of them malicious: the third smallest of the last coefficients is the bound."""
    filtering = kardam()
    for worker in range(4):
        assert passes(filtering, arrival(worker, 1.0, 0.0))  # nothing to compare with
    # Everybody reads 2 next: the coefficient is the change of the update, halved.
    assert passes(filtering, arrival(0, 2.0, 2.0))  # 0.5, of (0.5): the first
    assert passes(filtering, arrival(1, 3.0, 2.0))  # 1, of (0.5, 1): ceil(1.5) = 2nd
    assert passes(filtering, arrival(2, -3.0, 2.0))  # 2, of (0.5, 1, 2): ceil(2.25) = 3rd
    assert not passes(filtering, arrival(3, 7.0, 2.0))  # 3, of (0.5, 1, 2, 3): 3rd
    assert passes(filtering, arrival(0, 7.0, 4.0))  # 2.5, of (1, 2, 2.5, 3)
    assert not passes(filtering, arrival(0, 14.0, 6.0))  # 3.5, of (1, 2, 3, 3.5)
    # What was refused is remembered all the same: against 14 this is a change of 1.
    assert passes(filtering, arrival(0, 15.0, 7.0))
    assert filtering.refused == 2


def test_where_the_consensus_stood_still() -> None:
    filtering = kardam()
    for worker in range(4):
        passes(filtering, arrival(worker, 1.0, 0.0))
    for worker in range(3):
        passes(filtering, arrival(worker, 1.5, 1.0))
    assert passes(filtering, arrival(0, 1.5, 1.0))  # the same again: 0
    assert not passes(filtering, arrival(3, 1.5, 0.0))  # another: infinite
    assert filtering._coefficients == {0: 0.0, 1: 0.5, 2: 0.5, 3: math.inf}
    # More who do so than may be malicious: the bound is infinite as well, and the server gets on.
    assert passes(filtering, arrival(0, 2.0, 1.0))


def test_dampening_by_hand() -> None:
    newest, stale = tensor(10.0), arrival(0, 4.0, 0.0, staleness=3)
    for name, expected in (("none", 14.0), ("inverse", 11.0), ("exponential", 10 + 4 * math.exp(-1.5))):
        rows = kardam(dampening=name, decay=0.5).passed([stale], newest)
        assert rows.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dampening", ["inverse", "exponential"])
def test_dampening_is_one_at_once_and_strictly_decreasing(dampening: Any) -> None:
    weights = [Kardam(dampening=dampening).weight(staleness) for staleness in range(100)]
    assert weights[0] == 1
    assert all(0 < later < earlier for earlier, later in itertools.pairwise(weights))


def test_workers_take_turns_by_hand() -> None:
    filtering = kardam(frequency=True)
    order = [0, 0, 1, 0, 1, 2, 0, 3, 0, 1]
    # Of three in a row that passed, all are of different workers.
    assert [passes(filtering, arrival(worker, 1.0)) for worker in order] == [
        *(True, False, True, False, False),
        *(True, True, True, False, True),
    ]
    assert filtering.refused == 4


def test_turns_within_one_step() -> None:
    filtering = kardam(frequency=True)
    rows = filtering.passed([arrival(0, 1.0), arrival(1, 2.0), arrival(0, 3.0), arrival(2, 4.0)], tensor(0.0))
    assert rows.flatten().tolist() == [1.0, 2.0, 4.0]


class KardamTwin:
    """Kardam from the whole history, in plain loops; its turns in the paper's words."""

    def __init__(self, n_workers: int, f: int) -> None:
        self.n, self.f = n_workers, f
        self.history: list[tuple[int, list[float], list[float]]] = []
        self.let_in: list[Any] = [object() for _ in range(2 * f)]  # strangers, so that windows are full

    def coefficient(self, worker: int) -> float | None:
        own = [(update, read) for v, update, read in self.history if v == worker]
        if len(own) < 2:
            return None
        (u1, x1), (u2, x2) = own[-2:]
        change = math.sqrt(sum((a - b) ** 2 for a, b in zip(u1, u2, strict=True)))
        moved = math.sqrt(sum((a - b) ** 2 for a, b in zip(x1, x2, strict=True)))
        return change / moved if moved > 0 else (0.0 if change == 0 else math.inf)

    def smooth(self, worker: int) -> bool:
        known = sorted(c for v in range(self.n) if (c := self.coefficient(v)) is not None)
        own = self.coefficient(worker)
        # The smallest number at or below which are (n - f) / n of those known.
        return own is None or own <= next(
            c for c in known if sum(other <= c for other in known) * self.n >= len(known) * (self.n - self.f)
        )

    def in_turn(self, worker: int) -> bool:
        window = [*self.let_in[len(self.let_in) - 2 * self.f :], worker]
        return all(
            sum(v in some for v in window) <= self.f for some in itertools.combinations(set(window), self.f)
        )

    def passes(self, one: Arrival) -> bool:
        self.history.append((one.worker, one.update.tolist(), one.read.tolist()))
        allowed = self.smooth(one.worker) and self.in_turn(one.worker)
        if allowed:
            self.let_in.append(one.worker)
        return allowed


@pytest.mark.parametrize(("n_workers", "f"), [(4, 1), (7, 2), (10, 3)])
def test_kardam_equals_its_slow_twin(n_workers: int, f: int) -> None:
    rng = np.random.default_rng(n_workers)
    filtering, twin = kardam(n_workers, f, frequency=True), KardamTwin(n_workers, f)
    outcomes = []
    for _ in range(150):
        read = torch.from_numpy(rng.integers(0, 2, 2).astype(float))  # standing still happens often
        one = arrival(int(rng.integers(n_workers)), torch.from_numpy(rng.normal(size=2)), read)
        outcomes.append(passes(filtering, one))
        assert outcomes[-1] == twin.passes(one)
    assert 20 < sum(outcomes) < 130
    # The promise: of any 2 f + 1 in a row, f + 1 are not of f given workers.
    passed = twin.let_in[2 * f :]
    for start in range(len(passed) - 2 * f):
        window = passed[start : start + 2 * f + 1]
        for malicious in itertools.combinations(range(n_workers), f):
            assert sum(v not in malicious for v in window) >= f + 1


def test_a_passing_lie_is_as_smooth_as_somebody_honest() -> None:
    """With at most f malicious workers, what passes is no rougher than the roughest honest worker."""
    rng, n_workers, malicious = np.random.default_rng(0), 9, {1, 4}
    filtering = kardam(n_workers, f=2)
    refused = 0
    for t in range(600):
        worker = t % n_workers
        read = torch.from_numpy(rng.normal(size=3))
        update = -0.1 * read + 0.01 * torch.from_numpy(rng.normal(size=3))
        if worker in malicious:
            update = torch.from_numpy(rng.normal(size=3)) * 10.0 ** rng.integers(-3, 9)
        let_in = passes(filtering, arrival(worker, update, read))
        if t < 2 * n_workers:
            continue
        roughest = max(c for v, c in filtering._coefficients.items() if v not in malicious)
        if worker in malicious and let_in:
            assert filtering._coefficients[worker] <= roughest
        refused += worker in malicious and not let_in
    assert refused > 100


def test_without_malicious_workers_a_share_f_of_n_is_refused() -> None:
    """The paper's bound on the slowdown: of exchangeable coefficients the largest f of n do not pass."""
    rng, n_workers, total = np.random.default_rng(1), 10, 4000
    filtering, updates, reads = kardam(n_workers, f=2), np.zeros(n_workers), np.zeros(n_workers)
    for t in range(total):
        worker = t % n_workers
        updates[worker] += rng.random()
        reads[worker] += 1.0
        filtering.passed([arrival(worker, updates[worker], reads[worker])], tensor(0.0))
    share, error = filtering.refused / total, math.sqrt(0.2 * 0.8 / total)
    assert abs(share - 0.2) < 4 * error, (share, error)


def test_with_f_0_everything_passes() -> None:
    filtering, rng = kardam(3, f=0, frequency=True), np.random.default_rng(0)
    assert all(passes(filtering, arrival(t % 2, rng.normal() * 10, rng.normal())) for t in range(50))


@pytest.mark.parametrize(("n_workers", "f"), [(3, 1), (9, 3)])
def test_kardam_needs_a_majority_of_two_thirds(n_workers: int, f: int) -> None:
    Kardam(f=f).check(n_workers + 1)
    for asked in (Kardam(f=f).check, Kardam(f=f).open):
        with pytest.raises(
            ValueError,
            match=f"f: {f} malicious workers need more than {3 * f} workers in all, found {n_workers}",
        ):
            asked(n_workers)


# Zeno++.


def zeno(v: Tensor, **settings: Any) -> Any:
    return ZenoPlusPlus(rate=0.1, **settings).open(2, lambda z, step: v, 1)


@pytest.mark.parametrize(
    ("settings", "update", "row"),
    [
        # v = (3, 4), of length 5. Along (-1, 0), g = (5, 0): rate <v, g> = 1.5.
        ({}, (-1.0, 0.0), (0.5, 1.0)),
        ({}, (-1e100, 0.0), (0.5, 1.0)),
        ({}, (1.0, 0.0), None),
        ({}, (0.0, 0.0), (1.0, 1.0)),
        # rho |g|^2 = 25 rho against 1.5
        ({"rho": 0.059}, (-2.0, 0.0), (0.5, 1.0)),
        ({"rho": 0.061}, (-2.0, 0.0), None),
        # uphill by <v, g> = -15, which epsilon may allow
        ({"epsilon": 14.9}, (2.0, 0.0), None),
        ({"epsilon": 15.1}, (2.0, 0.0), (1.5, 1.0)),
    ],
)
def test_scores_by_hand(settings: Any, update: Any, row: Any) -> None:
    filtering = zeno(tensor(3.0, 4.0), **settings)
    rows = filtering.passed([arrival(0, tensor(*update), tensor(7.0, 7.0))], tensor(1.0, 1.0))
    assert filtering.refused == (row is None)
    torch.testing.assert_close(rows, tensor(*row)[None] if row else torch.zeros(0, 2).double())


def test_the_server_looks_at_its_own_data_now_and_then() -> None:
    asked: list[tuple[list[float], int]] = []

    def trusted(z: Tensor, step: int) -> Tensor:
        asked.append((z.tolist(), step))
        return -z

    filtering = ZenoPlusPlus(rate=1.0, refresh_steps=3).open(2, trusted, calls_each=7)
    rows = [filtering.passed([arrival(0, 0.5)], tensor(float(step + 1))).item() for step in range(7)]
    assert asked == [([1.0], 0), ([4.0], 3), ([7.0], 6)]
    assert filtering.calls == 21
    # Steps as long as the last gradient: 1, 1, 1, 4, 4, 4, 7.
    assert rows == [2.0, 3.0, 4.0, 8.0, 9.0, 10.0, 14.0]


def test_the_server_needs_data_of_its_own() -> None:
    assert [part.needs_trusted for part in EVERY.values()] == [False, False, False, True]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="the server needs data of its own, and this problem gives none"):
        ZenoPlusPlus().open(4)


def random_updates(seed: int, n: int = 200, d: int = 4) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield (
            torch.from_numpy(rng.normal(size=d)),
            torch.from_numpy(rng.normal(size=d) * 10.0 ** rng.normal()),
        )


def zeno_twin(v: Tensor, u: Tensor, rate: float, rho: float, epsilon: float) -> list[float] | None:
    """Return what is added to the consensus, in plain loops; none: refused."""
    length_v, length_u = (math.sqrt(sum(float(entry) ** 2 for entry in x)) for x in (v, u))
    g = [-float(entry) * length_v / length_u for entry in u]
    score = sum(rate * float(v[k]) * g[k] - rho * g[k] * g[k] for k in range(len(g)))
    return [-rate * entry for entry in g] if score >= -rate * epsilon else None


def test_zeno_equals_its_slow_twin_and_a_least_cosine() -> None:
    passed = 0
    for v, u in random_updates(0):
        filtering = zeno(v, rho=0.03, epsilon=0.5)
        rows = filtering.passed([arrival(0, u, torch.ones_like(u))], torch.zeros_like(u))
        expected = zeno_twin(v, u, 0.1, 0.03, 0.5)
        assert len(rows) == (expected is not None)
        if expected is not None:
            torch.testing.assert_close(rows[0], tensor(*expected))
        cosine = float(-u @ v / (u.norm() * v.norm()))
        assert len(rows) == (cosine >= 0.03 / 0.1 - 0.5 / float(v @ v))
        passed += len(rows)
    assert 40 < passed < 160


def test_what_zeno_lets_in_lowers_the_loss() -> None:
    """f = 1/2 x'Ax with curvature at most L: rho = L rate^2 / 2 makes the score a bound on the descent."""
    curvature = tensor(4.0, 2.0, 1.0, 0.5)

    def loss(x: Tensor) -> float:
        return float(0.5 * (curvature * x * x).sum())

    passed = 0
    for x, u in random_updates(1):
        filtering = ZenoPlusPlus(rate=0.1, rho=4.0 * 0.1**2 / 2).open(1, lambda z, step: curvature * z, 1)
        for row in filtering.passed([arrival(0, u)], x):
            assert loss(row) <= loss(x)
            passed += 1
    assert passed > 60


# BASGD.


def test_buffers_by_hand() -> None:
    """Two buffers, workers 0 2 4 and 1 3: means of what came since both were full."""
    filtering = Basgd(buffers=2).open(5)

    def step(*arrivals: Arrival, previous: float = 0.0) -> list[float]:
        return filtering.passed(list(arrivals), tensor(previous)).flatten().tolist()

    assert step(arrival(0, 1.0)) == []
    assert step(arrival(2, 2.0), arrival(4, 6.0, read=50.0)) == []
    assert step(arrival(3, -5.0), previous=100.0) == [103.0, 95.0]
    assert step(arrival(1, 1.0)) == []  # all buffers were emptied
    assert step() == []
    assert step(arrival(1, 2.0), arrival(0, 4.0)) == [4.0, 1.5]
    assert filtering.refused == 0


def test_a_fast_malicious_worker_spoils_its_own_buffer_alone() -> None:
    """However often it reports, the other rows stay within what honest workers did."""
    filtering, rng = Basgd(buffers=3).open(9), np.random.default_rng(0)
    made = 0
    for _ in range(200):
        honest = [arrival(int(v), float(rng.uniform(-1, 1))) for v in rng.choice([0, 2, 3, 5, 6, 7, 8], 2)]
        rows = filtering.passed([arrival(1, 1e6), *honest, arrival(4, 1e6)], tensor(0.0))
        if len(rows):
            made += 1
            assert len(rows) == 3
            assert float(rows[1]) > 1e5
            assert float(rows[[0, 2]].abs().max()) <= 1
    assert made > 50


@pytest.mark.parametrize("buffers", [1, 3, 5])
def test_basgd_equals_its_slow_twin(buffers: int) -> None:
    filtering, rng = Basgd(buffers=buffers).open(7), np.random.default_rng(buffers)
    kept: dict[int, list[list[float]]] = {}
    made = 0
    for _ in range(80):
        previous = torch.from_numpy(rng.normal(size=2))
        workers = rng.choice(7, rng.integers(1, 4), replace=False).tolist()
        arrivals = [arrival(v, torch.from_numpy(rng.normal(size=2)), previous * 2) for v in workers]
        for one in arrivals:
            kept.setdefault(one.worker % buffers, []).append((one.message - one.read).tolist())
        expected = []
        if all(b in kept for b in range(buffers)):
            for b in range(buffers):
                mean = [sum(column) / len(kept[b]) for column in zip(*kept[b], strict=True)]
                expected.append([float(previous[k]) + mean[k] for k in range(2)])
            kept, made = {}, made + 1
        rows = filtering.passed(arrivals, previous)
        torch.testing.assert_close(rows, torch.tensor(expected, dtype=torch.float64).reshape(-1, 2))
    assert made > 5


def fed(reassign_after_steps: int | None) -> Callable[[int], int]:
    """Return what feeds one worker's message to two buffers and tells how many rows came out."""
    filtering = Basgd(buffers=2, reassign_after_steps=reassign_after_steps).open(4)
    return lambda worker: len(filtering.passed([arrival(worker, 1.0)], tensor(0.0)))


def test_workers_are_dealt_out_anew_when_a_buffer_stays_empty() -> None:
    feed = fed(None)
    assert [feed(v) for v in (0, 2, 0, 2, 0, 2, 0, 2)] == [0] * 8
    feed = fed(3)
    # After three steps 0 and 2 are dealt to buffers 0 and 1; buffer 0 still holds what it held.
    assert [feed(v) for v in (0, 2, 0, 0, 2, 0, 2)] == [0, 0, 0, 0, 2, 0, 2]


def test_rows_start_the_wait_anew() -> None:
    feed = fed(3)  # steps are counted from the last rows: 0 and 2 are dealt out after the fifth
    assert [feed(v) for v in (0, 3, 0, 2, 2, 2)] == [0, 2, 0, 0, 0, 2]
    feed = fed(3)  # and who was heard before them counts no more: 0 and 2 are dealt out, 1 is gone
    assert [feed(v) for v in (1, 0, 0, 2, 0, 2)] == [0, 2, 0, 0, 0, 2]


def test_how_many_rows_there_are_is_known_before() -> None:
    assert [EVERY[name].rows_made(5) for name in EVERY] == [1, None, None, None]  # type: ignore[attr-defined]
    assert Basgd(buffers=4).rows_made(1) == 4


def test_there_are_no_more_buffers_than_workers() -> None:
    Basgd(buffers=4).check(4)
    for asked in (Basgd(buffers=5).check, Basgd(buffers=5).open):
        with pytest.raises(ValueError, match="buffers: found 5, expected at most 4, the number of workers"):
            asked(4)

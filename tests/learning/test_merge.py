"""Rules at work: which rows they get, what they add to z, and what happens where there are too few."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, distributions, toy_settings
from torch import Tensor

from fedsim.algorithms.dbt.inner_loop import InnerLoop, server_round
from fedsim.algorithms.dbt.settings import DbtAggregation, InnerSettings
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators.base import Aggregator
from fedsim.learning.aggregators.median import Median
from fedsim.learning.filters.base import Arrival
from fedsim.learning.merge import Merge, combined
from fedsim.learning.preaggregators.base import Preaggregator
from fedsim.messages import Snapshot, Ticket


class Sum(Aggregator):
    """The sum of at least two rows."""

    kind: Literal["sum"] = "sum"

    @property
    def least_rows(self) -> int:
        return 2

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        return rows.sum(0)


class Pairs(Preaggregator):
    """The sums of the first and the second row, of the third and the fourth, ...; an odd one is dropped."""

    kind: Literal["pairs"] = "pairs"

    def rows_left(self, m: int) -> int:
        return m // 2

    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        return torch.stack([rows[2 * i] + rows[2 * i + 1] for i in range(len(rows) // 2)])


def tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ROWS = tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0], [8.0, 0.0], [16.0, 3.0]])
Z = tensor([[0.0, 10.0]])


def ticket(worker: int, version: int = 0, z: Tensor = Z) -> Ticket:
    class Content:
        pass

    content = Content()
    content.z = z  # type: ignore[attr-defined]
    return Ticket(worker, 0, "outer", Snapshot(version, content), 0.0, 0.0)


def test_combined_by_hand() -> None:
    assert combined(Sum(), (), ROWS, Z[0]).tolist() == [31.0, 4.0]  # type: ignore[union-attr]
    # (1 + 2, 4 + 8) and then their sum; the fifth row is dropped
    assert combined(Sum(), (Pairs(),), ROWS, Z[0]).tolist() == [15.0, 1.0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "m"),
    [
        ((), 1),  # too few for the rule
        ((Pairs(),), 3),  # one row is left for it
        ((Pairs(),), 1),  # too few for the stage
        ((Pairs(), Pairs()), 3),  # and for the second stage
        ((), 0),
    ],
)
def test_too_few_rows_combine_to_nothing(before: tuple[Preaggregator, ...], m: int) -> None:
    assert combined(Sum(), before, ROWS[:m], Z[0]) is None


def received() -> Tensor:
    return ROWS.view(5, 1, 2).clone()


@pytest.mark.parametrize(
    ("all_rows", "alive", "rows"),
    [
        (True, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        (True, [0, 2, 3], [0, 2, 3]),
        (False, [0, 1, 2, 3, 4], [4, 1]),
    ],
)
@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_the_outer_step_by_hand(all_rows: bool, alive: list[int], rows: list[int], rate: float) -> None:
    merge = Merge(Aggregation(outer=Sum(), outer_rate=rate), all_rows=all_rows)
    messages = received()
    added = merge.step(messages, alive, [ticket(4), ticket(1)], Z, step=0)
    expected = rate * (ROWS[rows].sum(0) - Z)
    assert torch.equal(added, expected)
    assert torch.equal(messages, received())
    assert merge.counts() == {"fallbacks": 0, "filtered": 0, "filter_calls": 0}


def test_half_way_by_hand() -> None:
    # The median is (4, 0), half way from (0, 10).
    added = Merge(Aggregation()).towards(Median(), 0.5, ROWS, Z)
    assert (Z + added).tolist() == [[2.0, 5.0]]


def test_rows_of_the_inner_loop_hold_the_duals() -> None:
    """With rate 1 and the mean, z is where (12) is 0: at the mean of p + rho / mu."""
    loop = InnerLoop((0, 1), tensor([[[1.0]], [[2.0]]]), tensor([[0.0]]), tensor([[[0.4]], [[0.0]]]), Z)
    tuner, _ = toy(2, {"inner": {"kind": "mean"}})
    settings = InnerSettings(mu=2.0, rho_rate=0.5)
    new_p = tensor([[[3.0]], [[5.0]]])
    done = server_round(loop, new_p, settings, None, torch.clone, tuner._combined)
    assert done.z.tolist() == [[pytest.approx((3.2 + 5.0) / 2)]]
    # (10): rho + rate (p - z)
    assert done.rho.flatten().tolist() == pytest.approx([0.4 + 0.5 * (3 - 4.1), 0.5 * (5 - 4.1)])
    without = server_round(loop, new_p, InnerSettings(mu=0.0), None, torch.clone, tuner._combined)
    assert without.z.tolist() == [[4.0]]


def test_too_few_rows_leave_z_and_are_counted() -> None:
    merge = Merge(Aggregation(outer=Sum()))
    assert merge.step(received(), [0, 1, 2, 3, 4], [ticket(2)], Z, 0).tolist() == [[0.0, 0.0]]
    assert merge.counts()["fallbacks"] == 1
    assert merge.step(received(), [0, 1, 2, 3, 4], [], Z, 1).tolist() == [[0.0, 0.0]]
    assert merge.counts()["fallbacks"] == 2
    assert not merge.towards(Sum(), 1.0, ROWS[:1], Z).any()
    assert merge.counts()["fallbacks"] == 3
    merge.step(received(), [0, 1, 2, 3, 4], [ticket(2), ticket(3)], Z, 2)
    assert merge.counts()["fallbacks"] == 3


class Odd:
    """A filter that lets workers of odd numbers pass, doubled, and remembers what it was shown."""

    def __init__(self) -> None:
        self.refused = 0
        self.calls = 7
        self.seen: list[Arrival] = []

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        self.seen = arrivals
        good = [2 * arrival.message for arrival in arrivals if arrival.worker % 2]
        self.refused += len(arrivals) - len(good)
        return torch.stack(good) if good else previous.new_empty(0, len(previous))


def test_a_filter_sees_each_message_of_the_active_set() -> None:
    odd = Odd()
    merge = Merge(Aggregation(outer=Sum()), odd)
    read = tensor([[5.0, 6.0]])
    added = merge.step(received(), [0, 1, 2, 3, 4], [ticket(3, 6, read), ticket(0), ticket(1)], Z, step=8)
    assert added.tolist() == [[2 * 8.0 + 2 * 2.0, -10.0]]
    assert [arrival.worker for arrival in odd.seen] == [3, 0, 1]
    assert [arrival.staleness for arrival in odd.seen] == [2, 8, 8]
    assert [arrival.message.tolist() for arrival in odd.seen] == [[8.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    assert odd.seen[0].read.tolist() == [5.0, 6.0]
    assert merge.counts() == {"fallbacks": 0, "filtered": 1, "filter_calls": 7}


def test_what_a_filter_refuses_is_no_fallback_but_too_few_passed_are() -> None:
    merge = Merge(Aggregation(outer=Sum()), Odd())
    assert not merge.step(received(), [0, 1, 2, 3, 4], [ticket(2), ticket(4)], Z, 0).any()
    assert merge.counts()["fallbacks"] == 0
    assert not merge.step(received(), [0, 1, 2, 3, 4], [ticket(2), ticket(3)], Z, 0).any()
    assert merge.counts() == {"fallbacks": 1, "filtered": 3, "filter_calls": 7}


def toy(n_workers: int, aggregation: dict[str, Any], **changes: Any) -> tuple[Tuner, Drive]:
    settings = toy_settings(**changes).model_copy(
        update={"aggregation": DbtAggregation.model_validate(aggregation)}
    )
    tuner = Tuner(GivenBench(ToyOracle(n_workers), n_workers), settings)
    return tuner, Drive(tuner, n_workers)


@pytest.mark.parametrize("robust", [None, {"psi": 0.3}])
def test_in_the_tuner_the_rule_takes_the_place_of_psi_and_stands_beside_the_cuts(robust: Any) -> None:
    tuner, drive = toy(3, {"outer": {"kind": "median"}, "outer_rate": 0.5}, robust=robust)
    drive.step([0, 1, 2], 5)
    assert tuner.state.polyhedron.count() > 0
    drive.step([0, 1, 2])
    z, multipliers, polyhedron = tuner.state
    assert multipliers.now.max() > 0
    drive.step([0, 2])
    pull = (multipliers.now[..., None] * polyhedron.b).sum(1)
    towards = 0.5 * (tuner.received.median(0).values - z)
    expected = tuner._project(z - 0.05 * pull + towards)
    torch.testing.assert_close(tuner.state.z, expected, rtol=0, atol=1e-12)
    assert not torch.equal(tuner.state.z, tuner._project(z + towards))


@pytest.mark.parametrize(("rows", "combined_rows"), [("held", [0, 1, 2]), ("active", [1])])
def test_in_the_tuner_rows_are_held_or_active(rows: str, combined_rows: list[int]) -> None:
    tuner, drive = toy(3, {"outer": {"kind": "mean"}, "rows": rows})
    drive.step([0, 1, 2])
    tuner.received[0] = distributions(2, 3)
    drive.step([1])
    expected = tuner.received[combined_rows].mean(0)
    torch.testing.assert_close(tuner.state.z, expected, rtol=0, atol=1e-12)


def test_evictions_leave_too_few_rows_and_z_where_it_is() -> None:
    tuner, drive = toy(
        3, {"outer": {"kind": "trimmed_mean", "f": 1}, "inner": {"kind": "trimmed_mean", "f": 1}}
    )
    drive.step([0, 1, 2])
    assert tuner.counts()["fallbacks"] == 0
    tuner.evict(1)
    z = tuner.state.z
    drive.step([0, 2])
    assert torch.equal(tuner.state.z, z)
    assert tuner.counts()["fallbacks"] == 1
    drive.step([0, 2], 2)
    assert tuner.counts()["fallbacks"] == 4  # a step and two inner rounds

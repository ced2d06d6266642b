"""The pull of all messages, kept up to date, is the sum over all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_cases import Drive, GivenBench, ToyOracle, toy_settings

from fedsim.algorithms.dbt import sign_sum, tuner
from fedsim.algorithms.dbt.robust import outer_pull
from fedsim.algorithms.dbt.sign_sum import SignSum
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning.ties import TIE, sign

D = 3
NEAR = [0.0, TIE, -TIE, 2 * TIE, 3 * TIE, -1e-40, 0.25, 0.25 + TIE, 0.5, 1.0, -7.0, 1e30]
VALUES = st.one_of(st.sampled_from(NEAR), st.floats(-1, 1))
ROW = st.lists(VALUES, min_size=D, max_size=D)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[float]], list[tuple[str, int, list[float]]]]:
    """Return the messages at the start, and what happens: who sends, leaves or joins, and where z goes."""
    n_workers = draw(st.integers(1, 11))
    rows = draw(st.lists(ROW, min_size=n_workers, max_size=n_workers))
    event = st.tuples(st.sampled_from(["sends", "leaves", "joins", "z"]), st.integers(0, n_workers - 1), ROW)
    return rows, draw(st.lists(event, max_size=15))


@settings(max_examples=300, deadline=None)
@given(histories())
def test_it_is_the_plain_sum(history: tuple[list[list[float]], list[tuple[str, int, list[float]]]]) -> None:
    rows, events = history
    messages = torch.tensor(rows, dtype=torch.float64)
    kept, there = SignSum(len(rows)), dict.fromkeys(range(len(rows)))
    z = torch.zeros(D, dtype=torch.float64)
    for what, worker, numbers in [("z", 0, [0.1] * D), *events]:
        row = torch.tensor(numbers, dtype=torch.float64)
        if what == "sends":
            messages[worker] = row
            kept.changed([worker])
        elif what == "leaves" and worker in there:
            del there[worker]
            kept.leaves(worker)
        elif what == "joins" and worker not in there:
            there[worker] = None
            kept.joins(worker)
        elif what == "z":
            z = row
        assert torch.equal(kept.at(z, messages), sign(z - messages[list(there)]).sum(0))


def test_a_step_looks_at_changed_messages_and_now_and_then_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000 messages it puts all in order once in 200 changes; between, at 2 for each change."""
    messages = torch.rand(10_000, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept, z = SignSum(10_000), torch.full((D,), 0.4, dtype=torch.float64)
    seen: list[int] = []

    def watched(difference: torch.Tensor) -> torch.Tensor:
        seen.append(len(difference))
        return sign(difference)

    monkeypatch.setattr(sign_sum, "sign", watched)
    for worker in range(202):
        kept.changed([worker])
        messages[worker] = 2.0
        assert torch.equal(kept.at(z, messages), sign(z - messages).sum(0))
    assert seen == [count for n in range(1, 201) for count in (n, n)]


@pytest.mark.parametrize("leaving", [False, True])
def test_a_robust_run_takes_the_steps_of_the_plain_sum(
    leaving: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(many: int) -> Tuner:
        monkeypatch.setattr(tuner, "MANY", many)
        found = Tuner(GivenBench(ToyOracle(6), 6), toy_settings(robust={"psi": 0.1}))
        if found._pulls is not None:
            found._pulls._most_changed = 100  # nothing hides a change
        assert (found._pulls is None) == (many > 6)
        drive = Drive(found, 6)
        drive.step([0, 3], 2)
        if leaving:
            found.evict(4)
        for active in ([1], [2, 5], [0], [3]):
            drive.step(active)
        if leaving:
            found.admit(4)
        drive.step([4, 0])
        return found

    kept, plain = moved(1), moved(7)
    assert torch.equal(kept.state.z, plain.state.z)
    start = Tuner(GivenBench(ToyOracle(6), 6), toy_settings(robust={"psi": 0.1}))
    assert not torch.equal(kept.state.z, start.state.z)
    pull = outer_pull(kept.state.z, kept.received, 0.1)
    assert torch.equal(kept._pull_of_all(kept.state.z, kept.rules.robust), pull)  # type: ignore[arg-type]

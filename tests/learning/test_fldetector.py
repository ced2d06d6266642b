"""FLDetector: curvature and groups by hand and by slow twins, whom it finds, and whom it wrongs."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from fedsim import sweep
from fedsim.errors import StalledError
from fedsim.learning.filters.base import Arrival
from fedsim.learning.filters.fldetector import Detecting, FlDetector
from fedsim.learning.gap_statistic import groups, spreads, upper_group
from fedsim.learning.lbfgs import hessian_product, tells
from fedsim.scenario import load_scenario, parse
from fedsim.simulation import Run, raise_if_failed, run
from fedsim.verify import verify

SHIPPED = Path(__file__).parents[2] / "scenarios/poisoning/expelling.toml"


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


# The estimate of the Hessian.


def full_bfgs(S: Tensor, Y: Tensor) -> Tensor:
    """The recursion, with the matrix written down."""
    B = (S[-1] @ Y[-1]) / (S[-1] @ S[-1]) * torch.eye(S.shape[1], dtype=torch.float64)
    for s, y in zip(S, Y, strict=True):
        Bs = B @ s
        B = B - torch.outer(Bs, Bs) / (s @ Bs) + torch.outer(y, y) / (y @ s)
    return B


@pytest.mark.parametrize(("pairs", "dimension"), [(1, 1), (1, 4), (3, 5), (10, 20), (10, 4), (3, 1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_compact_form_equals_the_recursion(pairs: int, dimension: int, sign: int) -> None:
    """Also with more pairs than dimensions, steps of very different lengths, and curvature that is noisy."""
    root, noise = drawn(0, dimension, dimension), drawn(1, pairs, dimension)
    S = drawn(2, pairs, dimension)
    Y = sign * (S @ (root @ root.T + torch.eye(dimension).double()) + 0.01 * noise)
    lengths = 10.0 ** torch.arange(pairs).double().remainder(5)[:, None]
    V = drawn(3, 3, dimension)
    expected = V @ full_bfgs(S * lengths, Y * lengths)
    found = hessian_product(S * lengths, Y * lengths, V)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_of_a_quadratic_the_hessian_is_found() -> None:
    """Along its own axes each pair tells one curvature, and the newest pair is always met."""
    axes, _ = torch.linalg.qr(drawn(0, 4, 4))
    H = axes @ torch.diag(numbers(0.5, 1.0, 2.0, 5.0)) @ axes.T
    torch.testing.assert_close(hessian_product(axes.T, axes.T @ H, torch.eye(4).double()), H)
    S = drawn(1, 6, 4)
    torch.testing.assert_close(hessian_product(S, S @ H, S[-1:]), S[-1:] @ H)


def test_steps_along_one_line_do_no_harm() -> None:
    S = torch.outer(numbers(1.0, 2.0, 3.0), numbers(1.0, 1.0))
    torch.testing.assert_close(hessian_product(S, 2 * S, numbers(1.0, 3.0)[None]), numbers(2.0, 6.0)[None])


def test_pairs_that_say_nothing() -> None:
    assert tells(numbers(1.0, 0.0), numbers(-1.0, 5.0))
    assert not tells(numbers(1.0, 0.0), numbers(0.0, 5.0))
    assert not tells(numbers(0.0, 0.0), numbers(1.0, 5.0))
    assert not tells(numbers(1.0, 0.0), numbers(0.0, 0.0))


# Groups.


def least_spread(values: list[float], k: int) -> float:
    """Try every way to put values into k groups."""
    return min(
        sum(
            float(np.var(group) * len(group))
            for g in range(k)
            if (group := [value for value, of in zip(values, labels, strict=True) if of == g])
        )
        for labels in itertools.product(range(k), repeat=len(values))
    )


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_the_best_of_all(seed: int) -> None:
    values = np.random.default_rng(seed).random(7)
    expected = [least_spread(values.tolist(), k) for k in (1, 2, 3)]
    assert spreads(values, 3) == pytest.approx(expected, abs=1e-12)
    upper = upper_group(values)
    apart = sum(float(np.var(part) * len(part)) for part in (values[upper], values[~upper]))
    assert apart == pytest.approx(expected[1], abs=1e-12)
    assert values[upper].min() > values[~upper].max()


@pytest.mark.parametrize("seed", range(5))
def test_one_blob_is_one_group_and_two_are_several(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.normal(size=100)
    assert groups(one) == 1
    two = np.concatenate((one, rng.normal(12.0, 1.0, size=20)))
    assert groups(two) > 1
    assert upper_group(two).tolist() == [False] * 100 + [True] * 20


def test_by_hand_which_groups_there_are() -> None:
    """Ten zeros and two ones: no draw of twelve is so near two points."""
    values = np.array([0.0] * 10 + [1.0] * 2)
    assert groups(values) == 2
    assert upper_group(values).tolist() == [False] * 10 + [True] * 2


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 1.0], [2.0] * 9], ids=len)
def test_few_or_equal_numbers_are_one_group(values: list[float]) -> None:
    assert groups(np.array(values)) == 1


# Scores.


def said(worker: int, update: float, read: float) -> Arrival:
    return Arrival(worker, numbers(read + update), numbers(read), 0)


def at_work(n_workers: int = 3, **settings: Any) -> Detecting:
    return FlDetector(**({"starts_at_step": 0, "window": 1} | settings)).open(n_workers)


def test_scores_by_hand() -> None:
    """The consensus goes 0, 1, 3: it moved by 1 and then by 2, one more for a way of 1, so that H = 1."""
    filtering = at_work(starts_at_step=2, window=2)
    filtering.passed([said(0, 2.0, 0.0), said(1, 3.0, 0.0)], numbers(0.0))
    filtering.passed([said(0, 2.0, 1.0), said(1, 2.0, 1.0)], numbers(1.0))  # too early to be compared
    assert filtering.scores == {}
    # foretold: 2 + 1 (3 - 1) = 4 of both, so they are off by 1 and 3
    filtering.passed([said(0, 5.0, 3.0), said(1, 7.0, 3.0), said(2, 9.0, 3.0)], numbers(3.0))
    assert {worker: list(shares) for worker, shares in filtering._shares.items()} == {0: [0.25], 1: [0.75]}
    # It stands still, so that it moved 2 less for a way of 2: the newest pair says -1. 5 - 1 (2 - 3) = 6.
    filtering.passed([said(0, 5.0, 2.0)], numbers(3.0))
    assert filtering.scores == {0: pytest.approx((0.25 + 1 / (1 + 3)) / 2)}


def test_only_so_many_pairs_and_messages_are_remembered() -> None:
    filtering = at_work(history=2, window=3)
    for step in range(9):
        filtering.passed([said(0, float(step % 4), 0.0), said(1, 1.0, 0.0)], numbers(float(step**2)))
    assert len(filtering._pairs) == 2
    assert filtering._pairs[-1] == (numbers(13.0), numbers(2.0))  # from 36 to 49, then to 64
    assert [len(shares) for shares in filtering._shares.values()] == [3, 3]


def liars_among(n_workers: int, liars: set[int], steps: int, **settings: Any) -> tuple[Detecting, list[int]]:
    """Tell a filter of constant updates and of liars that jump; return it, and rows passed in each step."""
    filtering, passed = at_work(n_workers, **settings), []
    for step in range(steps):
        told = [said(w, (-1.0) ** step if w in liars else 0.01 * w, 0.0) for w in range(n_workers)]
        passed.append(len(filtering.passed(told, numbers(0.0))))
    return filtering, passed


@pytest.mark.parametrize("expels", [True, False])
def test_who_is_found_is_refused_from_then_on(expels: bool) -> None:
    """Ten shares each are known with the eleventh message."""
    filtering, passed = liars_among(8, {2, 5}, 14, window=10, expels=expels)
    assert passed == [8] * 10 + [6] * 4
    assert filtering.refused == 8
    assert set(filtering.expelled) == ({2, 5} if expels else set())


def test_it_stops_looking_unless_it_repeats() -> None:
    for repeats, found in ((False, {2}), (True, {2, 5})):
        filtering = at_work(8, repeats=repeats)
        for step in range(12):
            liars = {2} if step < 6 else {2, 5}
            honest = [said(w, 0.01 * w, 0.0) for w in range(8) if w not in liars]
            false = [said(w, (-1.0) ** step, 0.0) for w in liars]
            filtering.passed([*honest, *false], numbers(0.0))
        assert filtering.expelled == found


def test_nobody_is_judged_before_enough_have_a_score() -> None:
    """Three of eight never say anything: quorum 5 of 8 judges the others, 6 of 8 nobody."""
    for quorum, found in ((0.625, {4}), (0.7, set())):
        filtering = at_work(8, quorum=quorum)
        for step in range(6):
            told = [said(w, (-1.0) ** step if w == 4 else 0.01 * w, 0.0) for w in range(5)]
            filtering.passed(told, numbers(0.0))
        assert filtering.expelled == found


def test_a_step_without_messages_is_a_step() -> None:
    filtering = at_work(starts_at_step=1)
    assert filtering.passed([], numbers(1.0)).shape == (0, 1)
    filtering.passed([said(0, 1.0, 0.0)], numbers(1.0))
    filtering.passed([said(0, 1.0, 0.0)], numbers(2.0))
    assert filtering.scores == {0: 0.0}  # just as foretold


def test_it_needs_others_to_compare_with() -> None:
    FlDetector().check(3)
    with pytest.raises(ValueError, match=r"kind: 'fldetector' .*found 2 workers, expected at least 3"):
        FlDetector().open(2)


# In a federation.

SGD = {"kind": "sgd", "learning_rate": 0.1}
CALL = {"kind": "independent", "latency": {"kind": "exponential", "mean_s": 1.0}}
METHODS: dict[str, dict[str, Any]] = {
    "fedbdpl": {"kind": "fedbdpl"},
    "sampled": {"kind": "fedbdpl", "participants": 10},
    "asynchronous": {"kind": "fedbdpl", "wait_for": 10, "tau": 4},
    "sdbt": {"kind": "sdbt", "robust": {"psi": 0.05}, "cuts": {"every": 20, "rounds": 1}},
    "asyndbt": {"kind": "asyndbt", "wait_for": 10, "tau": 4, "robust": {"psi": 0.05}, "cuts": False},
}


@cache
def federation(method: str, attack: str = "", noise: float = 0.0, seed: int = 0, **settings: Any) -> Run:
    """Return a run of twenty workers with a quadratic each; under an attack four of them lie."""
    lie = {"kind": attack, "fraction": 0.2} | ({"knowledge": "all"} if attack == "alie" else {})
    aggregation = {"outer": {"kind": "mean"}, "filter": {"kind": "fldetector", **settings}}
    aggregation |= {"rows": "active"} if "dbt" in method else {}
    table = {
        "name": "federation",
        "seed": seed,
        "algorithm": {"optimizer": SGD, "aggregation": aggregation} | METHODS[method],
        "problem": {"kind": "quadratic", "dimension": 5, "upper_weight": 1.0, "noise_std": noise},
        "workers": [{"count": 20, "lanes": 1}],
        "llm": CALL,
        "budget": {"server_steps": 100},
        "attacks": [lie] if attack else [],
        "record": {"spans": True},
    }
    return run(parse(table))


def expelled(done: Run) -> set[int]:
    return {int(worker) for worker in done.summary["expelled"]}


def malicious(done: Run) -> set[int]:
    return set(done.workers.worker[done.workers.malicious])


@pytest.mark.parametrize(
    ("method", "attack"), [("fedbdpl", "sign_flip"), ("fedbdpl", "gaussian"), ("sdbt", "gaussian")]
)
def test_liars_are_found_and_expelled(method: str, attack: str) -> None:
    """After 50 steps come 10 with shares: the 60th step is the first that could tell."""
    done = federation(method, attack)
    assert len(malicious(done)) == 4
    assert expelled(done) == malicious(done)
    step_60_s = done.steps.set_index("step").time_s[60]
    assert set(done.workers.expelled_s.dropna()) == {step_60_s}
    assert done.steps.members.iloc[-1] == 16


@pytest.mark.parametrize("seed", range(3))
def test_without_liars_and_noise_nobody_is_expelled(seed: int) -> None:
    assert expelled(federation("fedbdpl", seed=seed)) == set()


def test_liars_whose_messages_are_steadier_than_honest_ones_are_not_found() -> None:
    """They say a function of the honest mean, whose noise is less than a worker's: the others stand out."""
    done = federation("fedbdpl", "alie", noise=0.5)
    assert expelled(done) & malicious(done) == set()
    assert done.summary["ended"] == "deserted"
    with pytest.raises(
        StalledError, match=r"no honest worker left at .*: 16 expelled by 'fedbdpl', 0 evicted"
    ):
        raise_if_failed(done.summary)


def test_refusing_messages_teaches_as_much_as_expelling() -> None:
    """In rounds of everybody the same messages are averaged; only the clock knows the difference."""
    out, kept = federation("fedbdpl", "gaussian"), federation("fedbdpl", "gaussian", expels=False)
    assert expelled(kept) == set()
    # in step 60 both refuse what four have sent; then they send no more, or in vain
    assert (out.summary["filtered"], kept.summary["filtered"]) == (4, 4 * 41)
    assert out.summary["loss"] == kept.summary["loss"]
    assert out.summary["llm_calls"] == kept.summary["llm_calls"] - 4 * 40


@pytest.mark.parametrize("method", METHODS)
def test_runs_with_expulsions_hold_their_invariants_and_come_out_alike(method: str) -> None:
    done = federation(method, "gaussian", starts_at_step=20, window=5, repeats=True)
    assert expelled(done)
    with TemporaryDirectory() as place:
        folder = sweep.run_one(done.scenario, Path(place)).folder
        assert [check for check in verify(folder) if check.violation] == []
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "steps.parquet"), done.steps)
        pd.testing.assert_frame_equal(pd.read_parquet(folder / "workers.parquet"), done.workers)


@pytest.mark.parametrize("variant", ["expelled", "refused"])
def test_the_shipped_scenario_shows_what_it_says(variant: str) -> None:
    """Ten messages of each worker are foretold from step 10 on: in step 20 the three liars are found."""
    done = run(load_scenario(SHIPPED, variant, ["budget.epochs=21"]))
    liars = malicious(done)
    assert len(liars) == 3
    assert expelled(done) == (liars if variant == "expelled" else set())
    by_step = done.steps.set_index("step")
    assert by_step.filtered[[19, 20, 21]].tolist() == [0, 3, 3 if variant == "expelled" else 6]

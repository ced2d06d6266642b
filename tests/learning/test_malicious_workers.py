"""What malicious workers can do: P13, refused messages, huge ones through the cuts, private inner loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, centralised, distributions, toy_settings
from pydantic import PrivateAttr
from torch import Tensor

from fedsim.algorithms.dbt.polyhedron import gap
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.attack import Assigned
from fedsim.learning.aggregators.dp_rsa import DpRsa
from fedsim.learning.attacks.base import MessageAttack
from fedsim.learning.attacks.honest import Honest
from fedsim.learning.door import LARGEST
from fedsim.messages import Ticket

R, MALICIOUS = 4, 3
PSI, RATE = 0.25, 0.5


class Payload(MessageAttack):
    """Sends whatever `payload` holds, each time with the other sign if it `alternates`.

    Writes down what it would honestly have sent.
    """

    kind: Literal["payload"] = "payload"
    payload: Any
    alternates: bool = False
    _own: list[Tensor] = PrivateAttr(default_factory=list)

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        self._own.append(own.clone())
        sent = torch.as_tensor(self.payload, dtype=own.dtype)
        if self.alternates and len(self._own) % 2:
            sent = -sent
        return sent.expand(len(own), -1) if sent.dim() == 1 else sent


class Timed(Drive):
    """Starts each job at the number of server steps taken so far, in seconds."""

    def _finished(self, workers: list[int]) -> list[Ticket]:
        return [ticket._replace(start_s=float(self.version)) for ticket in super()._finished(workers)]


def attacked(payload: Any, how: dict[str, Any] | None = None, **changes: Any) -> tuple[Tuner, Payload]:
    """Return a tuner of four workers, the last of which sends this."""
    attack = Payload(workers=(MALICIOUS,), payload=payload, **(how or {}))
    attacks = [Assigned(attack, frozenset({MALICIOUS}))]
    return Tuner(GivenBench(ToyOracle(R), R, attacks), toy_settings(**changes)), attack


NEUTRAL = [0.5, 0.25, 0.25, 0.25, 0.25, 0.5]
"""Where z stands in the test of P13: a message there pulls nowhere. Halves and quarters: sums are exact."""
FINITE = {
    "ones": [1.0] * 6,
    "a vertex": [0.0, 0.0, 1.0, 0.0, 1.0, 0.0],
    "huge": [1e300] * 6,
    "huge both ways": [1e300, -1e300, 0.0, 1e-300, 1e300, -1.0],
    "the largest there is": [1.7e308, -1.7e308] * 3,
}
SENSELESS = {
    "infinity": [math.inf] * 6,
    "one minus infinity": [0.0, 0.0, 0.0, -math.inf, 0.0, 1.0],
    "NaN": [math.nan, 0.0, 0.0, 0.0, 0.0, 0.0],
    "both infinities": [math.inf, -math.inf] * 3,
    "too short": [1.0, 0.0],
    "too long": [0.0] * 7,
    "a row too many": [NEUTRAL, NEUTRAL],
    "a number": 3.0,
}
SETTINGS = {"z_rate": RATE, "inner": {"z_rate": RATE, "p_rate": 0.05, "rho_rate": 0.05}}


def robust(norm: str, inner: str, project: bool) -> dict[str, Any]:
    return SETTINGS | {"robust": {"psi": PSI, "norm": norm, "inner": inner, "project_messages": project}}


class Watched:
    """The projection, remembering what it was last given: z before it is projected."""

    def __init__(self, tuner: Tuner) -> None:
        self.given: Tensor
        self._project = tuner._project
        tuner._project = tuner._rounds._project = self

    def __call__(self, rows: Tensor) -> Tensor:
        self.given = rows
        return self._project(rows)


def placed(payload: Any, changes: dict[str, Any]) -> tuple[Tuner, Watched]:
    tuner, _ = attacked(payload, **changes)
    z = torch.tensor(NEUTRAL, dtype=torch.float64).view(2, 3)
    tuner.state = tuner.state._replace(z=z)
    for v in range(MALICIOUS):
        tuner.tables.P[v] = tuner.received[v] = distributions(2, 3, seed=v)
    tuner.tables.P[MALICIOUS] = tuner.received[MALICIOUS] = z
    return tuner, Watched(tuner)


def outer_z(payload: Any, changes: dict[str, Any]) -> tuple[Tensor, Tuner]:
    """Return z before its projection in a step in which the malicious worker sends this."""
    tuner, watched = placed(payload, changes)
    Drive(tuner, R).step(list(range(R)))
    return watched.given, tuner


def inner_z(payload: Any, changes: dict[str, Any]) -> tuple[Tensor, Tuner]:
    """The same in a round of the inner loop."""
    tuner, watched = placed(payload, changes)
    drive = Drive(tuner, R)
    inside = tuner.interlude([], list(range(R)))
    inside.send(drive.round(list(range(R)), next(inside)))
    return watched.given, tuner


def size(moved: Tensor, norm: str) -> float:
    """Return the size in which the bound of a norm is stated."""
    return float(torch.linalg.vector_norm(moved.flatten(), {"l1": math.inf, "l2": 2, "linf": 1}[norm]))


PLACES = pytest.mark.parametrize(
    ("place", "option", "norm"),
    [
        *((outer_z, "R3", norm) for norm in ("l1", "l2", "linf")),
        *((inner_z, "R4", norm) for norm in ("l1", "l2", "linf")),
        (inner_z, "R3", "l1"),
    ],
)


@PLACES
@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("payload", FINITE)
def test_p13_one_forged_message_moves_z_by_rate_times_psi_at_most(
    place: Any, option: str, norm: str, project: bool, payload: str
) -> None:
    changes = robust(norm, option, project)
    moved_to, tuner = place(FINITE[payload], changes)
    neutral, _ = place(NEUTRAL, changes)
    # Signs times halves are exact; other sums of four numbers are rounded, relative to their own size.
    exact = norm == "l1" and place is outer_z
    assert 0 < size(moved_to - neutral, norm) <= RATE * PSI * (1 if exact else 1 + 1e-14)
    assert tuner.counts()["rejected"] == 0


def test_p13_without_the_protection_there_is_no_bound() -> None:
    for changes in (SETTINGS, robust("l1", "R2", False)):
        moved = inner_z(FINITE["huge"], changes)[0] - inner_z(NEUTRAL, changes)[0]
        assert moved.abs().max() > 1e20


@PLACES
@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("payload", SENSELESS)
def test_p13_a_senseless_message_is_turned_away_and_the_last_one_counts(
    place: Any, option: str, norm: str, project: bool, payload: str
) -> None:
    changes = robust(norm, option, project)
    moved_to, tuner = place(SENSELESS[payload], changes)
    neutral, _ = place(NEUTRAL, changes)  # what the server held of that worker
    assert torch.equal(moved_to, neutral)
    assert tuner.counts()["rejected"] == 1
    assert torch.equal(tuner.received[MALICIOUS].flatten(), torch.tensor(NEUTRAL, dtype=torch.float64))


def test_every_refusal_is_counted_and_the_run_goes_on() -> None:
    tuner, _ = attacked([math.nan] * 6, robust={"psi": 0.1})
    drive = Drive(tuner, R)
    for t in range(12):
        drive.step([0, MALICIOUS] if t % 2 else [1, 2, MALICIOUS], 3 if t % 4 == 0 else 0)
    # 12 steps, no message drained of the malicious worker, 3 updates of 3 rounds each
    assert tuner.counts()["rejected"] == 12 + 9
    assert torch.equal(tuner.received[MALICIOUS], tuner._oracle.start_p)
    assert bool(tuner.state.z.isfinite().all())


@pytest.mark.parametrize("robust", [None, {"psi": 0.1, "project_messages": False}])
@pytest.mark.parametrize("norm", ["l1", "squared_l2"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("payload", ["huge", "huge both ways", "the largest there is"])
def test_huge_messages_go_through_the_cuts_without_a_nan(
    payload: str, optimizer: str, norm: str, robust: Any
) -> None:
    # The other sign each time: a message that stays the same is no distance from itself.
    tuner, _ = attacked(
        FINITE[payload],
        {"alternates": True},
        robust=robust,
        polyhedron={"norm": norm},
        optimizer={"kind": optimizer, "learning_rate": 0.05},
        multipliers={"rate": 0.5, "c1": 0.04, "schedule": "constant"},
    )
    drive = Drive(tuner, R)
    for t in range(30):
        drive.step([t % R, MALICIOUS] if t % R != MALICIOUS else [MALICIOUS], 3 if t % 5 == 0 else 0)
    z, multipliers, polyhedron = tuner.state
    assert polyhedron.count() > 0
    assert multipliers.now.max() > 1e20  # so large were the messages
    for table in (z, multipliers.now, multipliers.weighed, polyhedron.b, polyhedron.c, tuner.tables.P):
        assert bool(table.isfinite().all())
    h = gap(tuner.received, z, tuner.received + 1.0, z, norm, consensus=True)
    assert bool(h.isfinite().all())
    assert tuner.received.abs().max() == LARGEST
    assert tuner.counts()["rejected"] == 0


@pytest.mark.parametrize(("project", "taken"), [(True, [1.0, 0.0, 0.0]), (False, [7.0, 0.0, -3.0])])
def test_messages_are_projected_in_the_robust_mode(project: bool, taken: list[float]) -> None:
    payload = [7.0, 0.0, -3.0, 0.5, 0.25, 0.25]
    tuner, _ = attacked(payload, robust={"psi": 0.1, "project_messages": project})
    Drive(tuner, R).step([MALICIOUS])
    assert tuner.received[MALICIOUS].tolist() == [taken, payload[3:]]


def test_a_projected_forged_message_enters_the_cuts_bounded() -> None:
    """h of each word is at most 2 for each worker and for z, and each number in c is of that size."""
    tuner, _ = attacked(FINITE["huge both ways"], {"alternates": True}, robust={"psi": 0.1})
    drive = Drive(tuner, R)
    for _ in range(20):
        drive.step(list(range(R)), 3)
    assert tuner.state.polyhedron.count() > 0
    assert tuner.state.polyhedron.c.abs().max() <= 4 * (R + 1)
    assert tuner.received[MALICIOUS].amax(1).tolist() == [1.0, 1.0]  # the simplex's nearest points: vertices


def test_what_the_cuts_weigh_recovers_when_huge_messages_stop() -> None:
    """A running sum that had once held 1e30 would be wrong by 1e14 for ever."""
    tuner, _ = attacked(FINITE["huge"], {"alternates": True, "stop_s": 6.0}, polyhedron={"drop": "never"})
    drive = Timed(tuner, R)
    for t in range(10):
        drive.step(list(range(R)), 3 if t == 2 else 0)
        if t == 4:
            assert tuner.state.multipliers.weighed.abs().max() > 1e20
    assert tuner.received.max() <= 1
    full = tuner.state.polyhedron.along(torch.arange(R), tuner.received)
    torch.testing.assert_close(tuner.state.multipliers.weighed, full, rtol=0, atol=1e-9)


def test_a_malicious_worker_follows_the_inner_loop_in_private() -> None:
    """What it would honestly have sent goes on from its own p and rho, not from what it forges."""
    changes: dict[str, Any] = {"robust": {"psi": 0.1}, "inner": {"mu": 0.5}}
    tuner, attack = attacked(FINITE["a vertex"], **changes)
    drive = Drive(tuner, R)
    drive.step(list(range(R)))
    p, rho = tuner.tables.P[MALICIOUS].clone(), torch.zeros(2, 3, dtype=torch.float64)
    assert not torch.equal(p, tuner.received[MALICIOUS])
    realised = tuner.tables.Q[MALICIOUS:].argmax(-1)
    inside = tuner.interlude([], list(range(R)))
    loop = next(inside)
    attack._own.clear()
    for _ in range(4):
        gradient = tuner._oracle.lower([MALICIOUS], [0], p[None], realised)[0]
        slope = gradient + rho + 0.5 * (p - loop.z) + 0.1 * torch.sign(p - loop.z)
        p = tuner._project(p - 0.05 * slope)
        loop = inside.send(drive.round(list(range(R)), loop))
        rho = (rho + 0.05 * (p - loop.z)).clamp(-0.1, 0.1)
        torch.testing.assert_close(attack._own.pop().view(2, 3), p, rtol=0, atol=1e-12)
        assert loop.p[MALICIOUS].flatten().tolist() == FINITE["a vertex"]


def test_eviction_between_inner_rounds_of_a_malicious_worker() -> None:
    tuner, attack = attacked(FINITE["a vertex"])
    drive = Drive(tuner, R)
    drive.step(list(range(R)))
    inside = tuner.interlude([], list(range(R)))  # of K = 5 rounds
    loop = inside.send(drive.round(list(range(R)), next(inside)))
    tuner.evict(1)
    loop = inside.send(drive.round([0, 2, MALICIOUS], loop))
    honest = attack._own[-1]
    tuner.evict(MALICIOUS)
    for _ in range(2):
        loop = inside.send(drive.round([0, 2], loop))
        assert loop.workers == (0, 2)
    assert honest.shape == (1, 6)
    with pytest.raises(StopIteration):
        inside.send(drive.round([0, 2], loop))
    assert not tuner.state.polyhedron.a[[1, MALICIOUS]].any()


@pytest.mark.parametrize("attack", [Honest(workers=(1,)), Payload(workers=(1,), payload=9.0, start_s=1e9)])
@pytest.mark.parametrize("aggregation", [None, {"outer": {"kind": "median"}, "inner": {"kind": "median"}}])
@pytest.mark.parametrize("robust", [None, {"psi": 0.1}])
def test_an_attack_that_is_off_changes_no_bit(robust: Any, aggregation: Any, attack: MessageAttack) -> None:
    """Honest, or an attack that has not begun: then messages already go the way of forged ones."""
    states = []
    for attacks in ([], [Assigned(attack, frozenset({1}))]):
        settings = toy_settings(robust=robust, aggregation=aggregation)
        tuner = Tuner(GivenBench(ToyOracle(R), R, attacks), settings)
        drive = Drive(tuner, R)
        rng = np.random.default_rng(0)
        for t in range(40):
            active = sorted(rng.choice(R, rng.integers(1, R + 1), replace=False).tolist())
            drive.step(active, 4 if t % 8 == 0 else 0)
        z, multipliers, polyhedron = tuner.state
        states.append((z, tuner.received, multipliers.now, multipliers.weighed, polyhedron.c))
    for one, other in zip(*states, strict=True):
        assert torch.equal(one, other)
    assert aggregation or robust or states[0][2].max() > 0


def test_signs_are_sent_and_p_is_measured() -> None:
    """Where workers send signs the server never sees p; measurements, from outside, do."""
    rule = DpRsa(step=0.01)
    # A projection on the simplex would destroy the signs.
    robust = {"psi": 0.1, "project_messages": False}
    settings = toy_settings(aggregation={"outer": rule, "rows": "active"}, robust=robust)
    tuner = Tuner(GivenBench(ToyOracle(2), 2), settings)
    drive = Drive(tuner, 2)
    drive.step([0, 1])
    z, read = tuner.state.z, tuner.state.z
    drive.step([0])
    signs = torch.sign(tuner.tables.P[0] - read)
    torch.testing.assert_close(tuner.received[0], read + 2 * signs)
    torch.testing.assert_close(tuner.state.z, tuner._project(z + 0.01 * signs))
    expected = tuner._oracle.evaluate([0], tuner.tables.P[:1], tuner.tables.Q[:1], tuner.state.z)
    measured = tuner.evaluate([0])
    assert measured["loss"] == expected["loss"]
    assert measured["consensus_gap"] < 2
    reported = tuner.reports.p[1].clone()
    tuner.work("outer", tuner.taken("outer"))  # a job in flight is not measured
    assert torch.equal(tuner.reports.p[1], reported)


def test_in_the_centralised_form_nothing_comes_through_the_door() -> None:
    attack = Payload(workers=(0,), payload=9.0)
    tuner = centralised(ToyOracle(1), [Assigned(attack, frozenset({0}))])
    Drive(tuner, 1).step([0])
    assert torch.equal(tuner.received, tuner.tables.P)

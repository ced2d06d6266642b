"""Attacks on messages by hand, against slow twins and against theory; and the door that they go through."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest, norm
from torch import Tensor

from fedsim.attack import Assigned, Attack
from fedsim.learning.attacks import ATTACKS, MessageAttack
from fedsim.learning.door import ATTACKS_AT_MOST, LARGEST, Door
from fedsim.messages import Snapshot, Ticket
from fedsim.streams import Stream, Streams


def rows(*lists: Sequence[float]) -> Tensor:
    return torch.tensor(lists, dtype=torch.float64)


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def forged(
    kind: str,
    own: Tensor,
    honest: Tensor | None = None,
    previous: Tensor | None = None,
    draws: Sequence[np.random.Generator] = (),
    options: int | None = None,
    **settings: Any,
) -> Tensor:
    """Return what the workers send; who knows honest messages knows all, where some are given."""
    attack = ATTACKS[kind](workers=(0,), knowledge="own" if honest is None else "all", **settings)
    assert isinstance(attack, MessageAttack)
    honest = own[:0] if honest is None else honest
    previous = torch.zeros_like(own[0]) if previous is None else previous
    return attack.forge(own, honest, previous, draws, options)


def check(found: Tensor, *expected: Sequence[float]) -> None:
    torch.testing.assert_close(found, rows(*expected), rtol=0, atol=1e-12)


def random_rows(n: int, d: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1))


# By hand


def test_honest_sends_what_it_would():
    check(forged("honest", rows([0.25, 0.75])), [0.25, 0.75])


@pytest.mark.parametrize(("centre", "middle"), [("own", 5.0), ("previous", 7.0), ("zero", 0.0)])
def test_gaussian_by_hand(centre, middle):
    noise = np.random.default_rng(3).standard_normal(2)
    sent = forged(
        "gaussian", rows([5, 5]), None, vector(7, 7), [np.random.default_rng(3)], centre=centre, std=2.0
    )
    check(sent, [middle + 2 * noise[0], middle + 2 * noise[1]])


def test_gaussian_is_by_default_that_of_rsa():
    sent = forged("gaussian", torch.ones(1, 5000, dtype=torch.float64), draws=[np.random.default_rng(0)])
    assert kstest(sent[0].numpy(), norm(0, 10_000).cdf).pvalue > 0.01


def test_sign_flip_by_hand():
    own, previous = rows([0.25, 0.75], [1, 0]), vector(0.5, 0.5)
    check(forged("sign_flip", own, None, previous), [-1, -3], [-4, 0])
    check(forged("sign_flip", own, None, previous, of="update"), [1.5, -0.5], [-1.5, 2.5])
    check(forged("sign_flip", own, None, previous, of="update", factor=1.0), [0.75, 0.25], [0, 1])


def test_same_value_and_zero_by_hand():
    check(forged("same_value", rows([0.25, 0.75], [1, 0])), [100, 100], [100, 100])
    check(forged("same_value", rows([0.25, 0.75]), value=-0.5), [-0.5, -0.5])
    check(forged("zero", rows([0.25, 0.75])), [0, 0])


def test_random_simplex_by_hand():
    """Exponential variables over their sum."""
    first, second, third, fourth = np.random.default_rng(4).standard_exponential(4)
    sent = forged("random_simplex", rows([1, 0, 1, 0]), draws=[np.random.default_rng(4)], options=2)
    one, two = first / (first + second), third / (third + fourth)
    check(sent, [one, 1 - one, two, 1 - two])


def test_random_simplex_is_uniform():
    own = torch.zeros(1, 8000, dtype=torch.float64)
    sent = forged("random_simplex", own, draws=[np.random.default_rng(0)], options=4).view(2000, 4)
    assert bool((sent >= 0).all())
    torch.testing.assert_close(sent.sum(1), torch.ones(2000, dtype=torch.float64))
    for option in range(4):  # a coordinate of a uniform point of the simplex of 4 is Beta(1, 3)
        assert kstest(sent[:, option].numpy(), beta(1, 3).cdf).pvalue > 0.01


def test_worst_word_by_hand():
    """Word 0: means 0.5, 0.2, 0.3. Word 1: 0.25, 0.5, 0.25, a tie of options 0 and 2."""
    honest = rows([0.6, 0, 0.4, 0.5, 0.5, 0], [0.4, 0.4, 0.2, 0, 0.5, 0.5])
    sent = forged("worst_word", torch.ones(2, 6, dtype=torch.float64), honest, options=3)
    check(sent, [0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0])
    check(forged("worst_word", honest[:1], options=3), [0, 1, 0, 0, 0, 1])
    check(forged("worst_word", honest[:1]), [0, 1, 0, 0, 0, 0])  # of the two zeros the first


def test_worst_word_agreed_on_by_hand():
    honest = torch.tensor([[0.5, 0.3, 0.2, 0.1, 0.6, 0.3]], dtype=torch.float64)
    check(forged("worst_word", honest, options=3, word=2), [0, 0, 1, 0, 0, 1])
    with pytest.raises(ValueError, match="worst_word: found word 3, expected 0 to 2"):
        forged("worst_word", honest, options=3, word=3)


def test_wrong_answers_by_hand():
    """The option after each one's own, by table row: the last one's successor is the first."""
    own = rows([1, 0, 0, 0, 0.2, 0.8], [0, 0, 1, 0.5, 0.5, 0])
    check(forged("wrong_answers", own, options=3), [0, 1, 0, 0.8, 0, 0.2], [1, 0, 0, 0, 0.5, 0.5])


def test_alie_by_hand():
    """Columns 0, 2 and 1, 5: means 1 and 3, deviations 1 and 2."""
    check(forged("alie", rows([9, 9]), rows([0, 1], [2, 5]), z_max=1.5), [-0.5, 0])
    check(forged("alie", rows([0, 1], [2, 5]), z_max=1.5), [-0.5, 0], [-0.5, 0])
    check(forged("alie", rows([9, 9]), rows([0, 1]), z_max=1.5), [0, 1])


@pytest.mark.parametrize(
    ("k", "n", "z_max"),
    [
        (24, 26, 1.4260768722728474),  # s = 26 - 24 = 2: 24 of 26 below
        (4, 6, 0.4307272992954576),  # s = 6 - 4 = 2: 4 of 6
        (3, 8, 0.31863936396437514),  # s = floor(6.5) - 3 = 3: 5 of 8
        (2, 8, 0.0),  # s = 4: half of them
        (1, 9, 0.0),  # s = 5: 4 of 9 are below, a negative quantile
        (6, 4, 0.6744897501960817),  # a majority: one supporter, 3 of 4
        (1, 1, 0.0),
        (3, 0, 0.0),
    ],
)
def test_the_quantile_of_alie_by_hand(k, n, z_max):
    alie = ATTACKS["alie"](workers=(0,))
    assert alie.deviations(k, n) == pytest.approx(z_max, rel=1e-12)
    assert ATTACKS["alie"](workers=(0,), z_max=0.3).deviations(k, n) == 0.3


def test_alie_takes_the_quantile_from_the_rows_of_the_step():
    """Four forged and six honest rows of mean 3 and deviation 3."""
    honest = rows([0], [0], [0], [6], [6], [6])
    check(forged("alie", rows([1], [1], [1], [1]), honest), *[[3 - 3 * 0.4307272992954576]] * 4)


def test_inner_product_by_hand():
    """The mean of known messages is (2, 4), their mean update (1, 3)."""
    given = rows([9, 9]), rows([1, 3], [3, 5]), vector(1, 1)
    check(forged("inner_product", *given), [0.9, 0.7])
    check(forged("inner_product", *given, epsilon=0.5), [0.5, -0.5])
    check(forged("inner_product", *given, epsilon=0.5, of="message"), [-1, -2])


def test_mimic_by_hand():
    """Columns vary by 50 and 28.8: row 4 is farthest out, but across the direction of most variance."""
    honest = rows([-4, 0], [4, 0], [3, 0], [-3, 0], [0, 6])
    check(forged("mimic", rows([9, 9], [9, 9]), honest), [-4, 0], [-4, 0])  # of two as far out, the first
    check(forged("mimic", rows([9, 9]), honest.flip(0)), [4, 0])
    check(forged("mimic", rows([9, 9]), rows([0, 0], [1, 0], [2, 0], [-9, 0])), [-9, 0])
    check(forged("mimic", rows([9, 9]), rows([0.1, 0.2], [0.3, 0.7])), [0.1, 0.2])
    check(forged("mimic", rows([9, 9]), honest, row=2), [3, 0])
    check(forged("mimic", rows([9, 9]), honest, row=12), [3, 0])
    check(forged("mimic", rows([1, 2], [1, 2])), [1, 2], [1, 2])


def test_min_max_by_hand():
    """From 0, 1 and 4 one can go down to 0: 4 is as far away as 0 is from 4."""
    check(forged("min_max", rows([9], [9]), rows([0], [1], [4])), [0], [0])
    # The same where only the first column varies: nothing moves the second, whatever its mean.
    check(forged("min_max", rows([9, 9]), rows([0, 5], [1, 5], [4, 5])), [0, 5])
    # Across the line between two rows 6 apart: 3^2 + 27 = 6^2. The mean update points up.
    line, below = rows([3, 0], [-3, 0]), vector(0, -1)
    check(forged("min_max", rows([9, 9]), line, below, perturbation="unit"), [0, -math.sqrt(27)])
    # Against the signs (1, -1) of the mean update (2, -4): (1 + sqrt 7)^2 + (1 - sqrt 7)^2 = 16 from (4, -4)
    sent = forged("min_max", rows([9, 9]), rows([0, -4], [4, -4]), perturbation="sign")
    check(sent, [3 - math.sqrt(7), -5 + math.sqrt(7)])


def test_min_sum_by_hand():
    """From 0, 1, 4 the mean 5/3 may move by 7/3: 4/9 + 25/9 + 196/9 = 25 = 16 + 9."""
    check(forged("min_sum", rows([9], [9]), rows([0], [1], [4])), [-2 / 3], [-2 / 3])
    check(forged("min_sum", rows([9, 9]), rows([0, 5], [1, 5], [4, 5])), [-2 / 3, 5])
    line, below = rows([3, 0], [-3, 0]), vector(0, -1)
    check(forged("min_sum", rows([9, 9]), line, below, perturbation="unit"), [0, -3])
    sent = forged("min_sum", rows([9, 9]), rows([0, -4], [4, -4]), perturbation="sign")
    check(sent, [2 - math.sqrt(2), -4 + math.sqrt(2)])


@pytest.mark.parametrize("kind", ["min_max", "min_sum"])
def test_where_there_is_no_direction_the_mean_is_sent(kind):
    check(forged(kind, rows([9, 9]), rows([1, 2], [1, 2])), [1, 2])
    check(forged(kind, rows([9, 9]), rows([0, 2], [2, 2]), vector(1, 2), perturbation="unit"), [1, 2])


# Slow twins


def mean_of(table: Sequence[Sequence[float]]) -> list[float]:
    return [sum(row[j] for row in table) / len(table) for j in range(len(table[0]))]


def deviation_of(table: Sequence[Sequence[float]]) -> list[float]:
    mean = mean_of(table)
    return [math.sqrt(sum((row[j] - mean[j]) ** 2 for row in table) / len(table)) for j in range(len(mean))]


def alie_twin(table: list[list[float]], k: int) -> list[float]:
    """Return mu - z_max sigma, z_max from the table of the normal distribution by halving."""
    total = len(table) + k
    s = math.floor(total / 2 + 1) - k
    below = (total - k - s) / (total - k)
    low, high = -10.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if norm.cdf(middle) < below else (low, middle)
    return [m - low * sigma for m, sigma in zip(mean_of(table), deviation_of(table), strict=True)]


def mimic_twin(table: list[list[float]]) -> int:
    """Return i* by power iteration on the matrix of variances (the limit of Oja's rule)."""
    mean = mean_of(table)
    differences = [[x - m for x, m in zip(row, mean, strict=True)] for row in table]
    z = [1.0] * len(mean)
    for _ in range(2000):
        weights = [sum(c * v for c, v in zip(row, z, strict=True)) for row in differences]
        moved = [
            sum(w * row[j] for w, row in zip(weights, differences, strict=True)) for j in range(len(mean))
        ]
        length = math.sqrt(sum(v * v for v in moved))
        z = [v / length for v in moved]
    sizes = [abs(sum(c * v for c, v in zip(row, z, strict=True))) for row in differences]
    return sizes.index(max(sizes))


def squared(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def largest_distance(message: Sequence[float], table: Sequence[Sequence[float]]) -> float:
    return max(math.sqrt(squared(message, row)) for row in table)


def sum_of_distances(message: Sequence[float], table: Sequence[Sequence[float]]) -> float:
    return sum(squared(message, row) for row in table)


MEASURES = {"min_max": largest_distance, "min_sum": sum_of_distances}


def perturbed_twin(
    measure: Callable[[Sequence[float], Sequence[Sequence[float]]], float],
    table: list[list[float]],
    previous: list[float],
    perturbation: str,
) -> list[float]:
    """Return mean + gamma p, gamma by Algorithm 1 of Shejwalkar and Houmansadr, 2021: halved steps."""
    mean = mean_of(table)
    update = [m - z for m, z in zip(mean, previous, strict=True)]
    length = math.sqrt(sum(u * u for u in update))
    p = {
        "std": [-sigma for sigma in deviation_of(table)],
        "unit": [-u / length for u in update],
        "sign": [-math.copysign(1, u) for u in update],
    }[perturbation]
    bound = max(measure(row, table) for row in table)
    gamma, step, last = 50.0, 50.0, 0.0
    while abs(last - gamma) > 1e-12:
        message = [m + gamma * v for m, v in zip(mean, p, strict=True)]
        if measure(message, table) <= bound:
            last, gamma = gamma, gamma + step / 2
        else:
            gamma -= step / 2
        step /= 2
    return [m + last * v for m, v in zip(mean, p, strict=True)]


@pytest.mark.parametrize(("k", "n"), [(4, 6), (7, 9), (3, 8)])
def test_alie_against_its_twin(k, n):
    honest = random_rows(n, 5, seed=k)
    sent = forged("alie", torch.zeros(k, 5, dtype=torch.float64), honest)
    check(sent, *[alie_twin(honest.tolist(), k)] * k)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "d"), [(7, 4), (4, 9)])
def test_mimic_against_its_twin(n, d, seed):
    honest = random_rows(n, d, seed) + 20  # far from 0: projections are from the mean
    check(forged("mimic", honest[:2], honest), *[honest[mimic_twin(honest.tolist())].tolist()] * 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("perturbation", ["std", "unit", "sign"])
@pytest.mark.parametrize("kind", ["min_max", "min_sum"])
def test_the_largest_gamma_against_halving(kind, perturbation, seed):
    honest, previous = random_rows(7, 4, seed), random_rows(1, 4, 100 + seed)[0]
    sent = forged(kind, honest[:1], honest, previous, perturbation=perturbation)[0]
    twin = perturbed_twin(MEASURES[kind], honest.tolist(), previous.tolist(), perturbation)
    torch.testing.assert_close(sent, vector(*twin), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [2, 9])
def test_byzfl_computes_the_same(n):
    """Where its definition is ours; it adds deviations that divide by n - 1 where we take off those by n."""
    byzfl = pytest.importorskip(
        "byzfl.attacks.attacks", reason="ByzFL is not installed", exc_type=ImportError
    )
    honest = random_rows(n, 5, seed=n)
    own = honest[:1]
    pairs = [
        (forged("inner_product", own, honest, epsilon=1.0, of="message"), byzfl.SignFlipping()),
        (
            forged("inner_product", own, honest, epsilon=2.0, of="message"),
            byzfl.InnerProductManipulation(2.0),
        ),
        (forged("mimic", own, honest, row=1), byzfl.Mimic(1)),
        (forged("alie", own, honest, z_max=1.5), byzfl.ALittleIsEnough(-1.5 * math.sqrt((n - 1) / n))),
    ]
    for ours, theirs in pairs:
        torch.testing.assert_close(ours[0].float(), theirs(honest).float(), rtol=1e-5, atol=1e-5)


# Theory


@pytest.mark.parametrize("n", [2, 9, 60])
@pytest.mark.parametrize("perturbation", ["std", "unit", "sign"])
@pytest.mark.parametrize("kind", ["min_max", "min_sum"])
def test_the_bound_on_distances_holds_and_is_reached(kind, perturbation, n):
    honest = random_rows(n, 20, seed=n) + 5
    bound = max(MEASURES[kind](row, honest.tolist()) for row in honest.tolist())
    sent = forged(kind, honest[:1], honest, perturbation=perturbation)[0]
    assert MEASURES[kind](sent.tolist(), honest.tolist()) == pytest.approx(bound, rel=1e-12)
    # and it is reached on the far side: on the way of the perturbation, not against it
    mean = honest.mean(0)
    against = {"std": honest.std(0), "unit": mean, "sign": mean.sign()}[perturbation]
    assert torch.nn.functional.cosine_similarity(sent - mean, -against, dim=0) == pytest.approx(1)


def test_alie_stays_inside_the_spread():
    """About s = 2 of 26 honest messages are farther out than what the 24 forge, in each coordinate."""
    honest = torch.from_numpy(np.random.default_rng(0).normal(3.0, 2.0, (26, 4000)))
    forged_row = forged("alie", honest[:24], honest)[0]
    assert bool((forged_row > honest.amin(0)).double().mean() > 0.8)
    farther_out = (honest < forged_row).sum(0).double()
    error = float(farther_out.std()) / math.sqrt(4000)
    assert float(farther_out.mean()) == pytest.approx(2, abs=0.1 + 4 * error)


def test_inner_product_turns_the_sum_of_updates_round():
    """With epsilon > n / k the sum of all updates points against the honest ones; with n / k it is 0."""
    honest, previous = random_rows(6, 5, seed=0) + 2, vector(1, 2, 3, 4, 5)
    update = (honest - previous).sum(0)
    for epsilon, cosine in ((1.0, 1.0), (3.5, -1.0)):
        forged_rows = forged("inner_product", honest[:2], honest, previous, epsilon=epsilon)
        total = update + (forged_rows - previous).sum(0)
        assert float(torch.nn.functional.cosine_similarity(total, update, dim=0)) == pytest.approx(cosine)
    forged_rows = forged("inner_product", honest[:2], honest, epsilon=3.0, of="message")
    torch.testing.assert_close(forged_rows.sum(0), -honest.sum(0))


def test_worst_word_lies_as_far_from_the_mean_as_a_vertex_can():
    honest = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), (8, 6))).flatten(1)
    mean = honest.mean(0).view(6, 5)
    worst = forged("worst_word", honest[:1], honest, options=5)[0].view(6, 5)
    for word in range(6):
        distances = [float((vertex - mean[word]).norm()) for vertex in torch.eye(5, dtype=torch.float64)]
        assert float((worst[word] - mean[word]).norm()) == pytest.approx(max(distances))


# The door


class Returns(MessageAttack):
    """A stranger's attack.

    Source: this test.
    """

    kind: str = "returns"
    result: ClassVar[Callable[..., Any]]

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Any:
        return type(self).result(own, honest, previous, draws, options)


def stranger(result: Callable[..., Any], **settings: Any) -> MessageAttack:
    """Return an attack that forges by this function."""
    return type("Stranger", (Returns,), {"result": staticmethod(result)})(**settings)


def door(*attacks: Attack, seed: int = 0) -> Door:
    return Door([Assigned(attack, frozenset(attack.workers)) for attack in attacks], Streams(seed))


def ticket(worker: int, start_s: float = 0.0, job: int = 0, version: int = 0, z: Any = None) -> Ticket:
    """Return a finished job that has read z, a table of zeros for none."""
    z = torch.zeros(1, 2, dtype=torch.float64) if z is None else z
    return Ticket(worker, job, "outer", Snapshot(version, SimpleNamespace(z=z)), start_s, start_s + 1)


def sent_by(*workers: int) -> Tensor:
    """Return messages of one word and two options, each marked with its worker, (n, 1, 2)."""
    return torch.tensor([[[10.0 + worker, -1.0]] for worker in workers], dtype=torch.float64)


def nobody_else() -> Tensor:
    raise AssertionError("asked for honest messages that no attacker knows")


def flip(**settings: Any) -> Attack:
    return ATTACKS["sign_flip"](factor=1.0, **settings)


def test_only_malicious_messages_are_replaced():
    there = door(flip(workers=(1, 3)))
    given = sent_by(2, 3, 0, 1)
    messages, usable = there.take([ticket(v) for v in (2, 3, 0, 1)], given, nobody_else)
    assert messages.flatten(1).tolist() == [[12, -1], [-13, 1], [10, -1], [-11, 1]]
    assert usable is None
    assert torch.equal(given, sent_by(2, 3, 0, 1))
    assert there.honest([0, 1, 2, 3]) == [0, 2]
    assert there.rejected == 0


def test_when_counts_the_start_of_the_job():
    """On in [5, 8): whoever starts at 5 or at 7.9 forges, whoever starts at 4.9 or at 8 does not."""
    starts = (4.9, 5.0, 7.9, 8.0)
    there = door(flip(workers=(0, 1, 2, 3), start_s=5.0, stop_s=8.0))
    messages, _ = there.take([ticket(v, starts[v]) for v in range(4)], sent_by(0, 1, 2, 3), nobody_else)
    assert messages[:, 0, 0].tolist() == [10, -11, -12, 13]


def test_of_two_attacks_the_later_sees_what_the_earlier_made():
    plus = stranger(lambda own, *_: own + 1, workers=(0, 1))
    messages, _ = door(plus, flip(workers=(1,))).take([ticket(0), ticket(1)], sent_by(0, 1), nobody_else)
    assert messages[:, 0, 0].tolist() == [11, -12]
    messages, _ = door(flip(workers=(1,)), plus).take([ticket(0), ticket(1)], sent_by(0, 1), nobody_else)
    assert messages[:, 0, 0].tolist() == [11, -10]


def test_colluders_of_a_step_forge_together_with_what_they_newest_read():
    seen: list[tuple[Any, ...]] = []

    def spy(own, honest, previous, draws, options):
        seen.append((own.clone(), honest.clone(), previous.clone(), len(draws), options))
        return own

    old, new = torch.full((1, 2), 3.0), torch.full((1, 2), 4.0)
    tickets = [ticket(0, version=2, z=new), ticket(1, version=9), ticket(2, version=1, z=old)]
    there = door(stranger(spy, workers=(0, 2, 7)))
    there.take(tickets, sent_by(0, 1, 2), nobody_else)
    ((own, honest, previous, n_draws, options),) = seen
    assert own.tolist() == [[10, -1], [12, -1]]
    assert honest.tolist() == [[11, -1]]
    assert previous.tolist() == [4, 4]
    assert (n_draws, options) == (2, 2)


def test_honest_messages_of_others_are_asked_for_only_by_who_knows_all_and_attacks_now():
    seen: list[Tensor] = []
    asked: list[int] = []

    def spy(own, honest, *_):
        seen.append(honest)
        return own

    def others() -> Tensor:
        asked.append(1)
        return sent_by(5, 6)

    there = door(
        stranger(spy, workers=(0,)),
        stranger(spy, workers=(0,), knowledge="all", start_s=5.0),
        stranger(spy, workers=(0,), knowledge="all", start_s=5.0),
    )
    there.take([ticket(0), ticket(1)], sent_by(0, 1), nobody_else)
    assert [len(honest) for honest in seen] == [1]
    there.take([ticket(0, 6.0), ticket(1)], sent_by(0, 1), others)
    assert [len(honest) for honest in seen[1:]] == [1, 3, 3]
    assert seen[-1].tolist() == [[11, -1], [15, -1], [16, -1]]
    assert asked == [1]
    there.take([ticket(1, 6.0)], sent_by(1), nobody_else)
    assert len(seen) == 4


def test_a_worker_that_attacks_at_another_time_is_not_among_the_honest():
    seen: list[Tensor] = []
    spy = stranger(lambda own, honest, *_: seen.append(honest) or own, workers=(0,))
    sleeper = flip(workers=(1,), start_s=100.0)
    messages, _ = door(spy, sleeper).take([ticket(v) for v in range(3)], sent_by(0, 1, 2), nobody_else)
    assert seen[0].tolist() == [[12, -1]]
    assert messages[1].tolist() == [[11, -1]]


def test_draws_have_an_address_of_their_own_for_each_worker_job_and_attack():
    noise = ATTACKS["gaussian"](workers=(0, 1), std=1.0)

    def sent(*attacks: Attack, job: int = 3, seed: int = 0) -> Tensor:
        there = door(*attacks, seed=seed)
        return there.take([ticket(0, job=job), ticket(1, job=job)], sent_by(0, 1), nobody_else)[0]

    address = Streams(0).generator(Stream.ATTACK, 1, 3 * ATTACKS_AT_MOST)
    assert sent(noise)[1, 0].tolist() == address.standard_normal(2).tolist()
    second = Streams(0).generator(Stream.ATTACK, 1, 3 * ATTACKS_AT_MOST + 1)
    assert sent(flip(workers=(0,)), noise)[1, 0].tolist() == second.standard_normal(2).tolist()
    different = [sent(noise), sent(noise, job=4), sent(noise, seed=1), sent(flip(workers=(0,)), noise)]
    assert len(torch.cat(different).flatten(1).unique(dim=0)) == 8


def test_honest_goes_through_untouched_and_draws_nothing():
    there = door(ATTACKS["honest"](workers=(0,), knowledge="all"))
    assert not there.forges
    given = sent_by(0, 1)
    messages, usable = there.take([ticket(0), ticket(1)], given, nobody_else)
    assert messages is given
    assert usable is None
    assert there.honest([0, 1]) == [0, 1]


SENSELESS: dict[str, Callable[..., Any]] = {
    "nan": lambda own, *_: torch.full_like(own, torch.nan),
    "one nan": lambda own, *_: torch.where(torch.arange(2) == 1, own, torch.nan),
    "inf": lambda own, *_: torch.full_like(own, torch.inf),
    "both infinities": lambda own, *_: torch.full_like(own, torch.inf) * torch.tensor([1, -1]),
    "too long": lambda own, *_: torch.zeros(len(own), 3),
    "too many": lambda own, *_: torch.zeros(len(own) + 1, 2),
    "one message for all": lambda own, *_: torch.zeros(2),
    "a table": lambda own, *_: own.view(-1, 1, 2),
    "None": lambda own, *_: None,
    "a list": lambda own, *_: own.tolist(),
    "an array": lambda own, *_: own.numpy(),
    "complex": lambda own, *_: own.to(torch.complex128),
}


@pytest.mark.parametrize("result", SENSELESS.values(), ids=list(SENSELESS))
def test_what_is_no_message_is_turned_away_and_counted(result):
    there = door(stranger(result, workers=(0, 2)))
    messages, usable = there.take([ticket(v) for v in range(4)], sent_by(0, 1, 2, 3), nobody_else)
    assert usable == [1, 3]
    assert there.rejected == 2
    assert torch.equal(messages, sent_by(1, 3))
    there.take([ticket(0)], sent_by(0), nobody_else)
    assert there.rejected == 3


def test_only_the_senseless_messages_of_an_attack_are_turned_away():
    there = door(stranger(lambda own, *_: own / (own[:, :1] - 12).sign(), workers=(0, 1, 2, 3)))
    messages, usable = there.take([ticket(v) for v in range(4)], sent_by(0, 1, 2, 3), nobody_else)
    assert usable == [0, 1, 3]
    assert messages[:, 0, 0].tolist() == [-10, -11, 13]
    assert there.rejected == 1


def test_huge_messages_come_in_though_their_sum_is_infinite():
    there = door(stranger(lambda own, *_: torch.full_like(own, 1e308), workers=(0, 1)))
    messages, usable = there.take([ticket(0), ticket(1)], sent_by(0, 1), nobody_else)
    assert usable is None
    assert messages.unique().tolist() == [LARGEST]
    assert there.rejected == 0


SENSIBLE: dict[str, Callable[..., Any]] = {
    "whole numbers": lambda own, *_: torch.full(own.shape, 7),
    "half precision": lambda own, *_: torch.full_like(own, 7.0, dtype=torch.float16),
    "with a gradient": lambda own, *_: torch.full_like(own, 7.0).requires_grad_(),
    "expanded": lambda own, *_: torch.tensor([[7.0]]).expand(own.shape),
    "transposed": lambda own, *_: torch.full((2, len(own)), 7.0).T,
}


@pytest.mark.parametrize("result", SENSIBLE.values(), ids=list(SENSIBLE))
def test_numbers_of_another_type_become_messages(result):
    there = door(stranger(result, workers=(0,)))
    messages, usable = there.take([ticket(0), ticket(1)], sent_by(0, 1), nobody_else)
    assert usable is None
    assert messages.flatten(1).tolist() == [[7, 7], [11, -1]]
    assert messages.dtype == torch.float64
    assert not messages.requires_grad


def test_a_malicious_worker_cannot_write_to_what_others_have():
    def vandal(own, honest, previous, *_):
        for tensor in (own, honest, previous):
            tensor.fill_(99.0)
        return torch.zeros_like(own)

    z = torch.zeros(1, 2, dtype=torch.float64)
    given = sent_by(0, 1)
    messages, _ = door(stranger(vandal, workers=(0,))).take(
        [ticket(0, z=z), ticket(1, z=z)], given, nobody_else
    )
    assert messages.flatten(1).tolist() == [[0, 0], [11, -1]]
    assert torch.equal(given, sent_by(0, 1))
    assert not bool(z.any())


@pytest.mark.parametrize("kind", sorted(ATTACKS.builtin))
def test_every_kind_goes_through_the_door(kind):
    there = door(ATTACKS[kind](workers=(0, 1), knowledge="all"))
    messages, usable = there.take([ticket(v) for v in range(3)], sent_by(0, 1, 2), lambda: sent_by(3, 4))
    assert messages.shape == (3, 1, 2)
    assert usable is None
    assert messages[2].tolist() == [[12, -1]]
    assert torch.equal(messages, sent_by(0, 1, 2)) == (kind == "honest")

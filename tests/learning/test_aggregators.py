"""Coordinate-wise, clipping and regularised aggregators: by hand, slow twins, reach of Byzantine rows."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fedsim.learning.aggregators import AGGREGATORS
from fedsim.learning.clipping import clipped, lengths, unit
from fedsim.learning.penalty import subgradient


def rule(kind, **settings):
    return AGGREGATORS[kind](**settings)


def column(*values):
    """Return rows of one coordinate."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def some_rows(m, d, seed=0):
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near(found, expected):
    return torch.allclose(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-12)


# By hand.


@pytest.mark.parametrize(
    ("kind", "settings", "values", "expected"),
    [
        ("mean", {}, (1, 2, 6), 3),
        ("vote", {}, (1, 0, 0.5, 0.6), 0.5),  # one half is no vote
        ("vote", {}, (40, 0, -3), 1 / 3),  # and the loudest has one
        ("median", {}, (1, 2, 6), 2),
        ("median", {}, (6, 1, 4, 2), 3),  # the mean of 2 and 4
        ("trimmed_mean", {"f": 0}, (0, 1, 5, 6, 100), 22.4),
        ("trimmed_mean", {"f": 1}, (0, 1, 5, 6, 100), 4),  # of 1, 5, 6
        ("trimmed_mean", {"f": 2}, (0, 1, 5, 6, 100), 5),
        ("meamed", {"f": 0}, (0, 1, 5, 6, 100), 22.4),
        ("meamed", {"f": 2}, (0, 1, 5, 6, 100), 4),  # 5, 6 and 1 are nearest to 5
        ("meamed", {"f": 1}, (1, 4, 7), 2.5),  # 1 and 7 are as near: the smaller
        ("meamed", {"f": 1}, (0, 2, 4, 5), 11 / 3),  # around 3, not around the lower middle value 2
        ("meamed", {"f": 1}, (2, 2, 2, 9), 2),
        ("centred_clipping", {"radius": 2}, (10, 1), 1.5),  # from 0: 2 and 1
        ("centred_clipping", {"radius": 2, "iterations": 2}, (10, 1), 2.25),  # then from 1.5: 2 and -0.5
        ("rsa", {"step": 0.1}, (10, 0.5, -3, 4), 0.2),  # three up, one down
        ("dp_rsa", {"step": 0.1}, (2.5, 2.5, -1.5), 0.1),
    ],
)
def test_one_coordinate_by_hand(kind, settings, values, expected):
    assert near(rule(kind, **settings).aggregate(column(*values), torch.zeros(1)), [expected])


@pytest.mark.parametrize(
    ("kind", "settings", "rows", "expected"),
    [
        ("median", {}, [[1, 10], [2, 60], [6, 20]], [2, 20]),
        # (3, 4) is of length 5 and shrinks to (1.2, 1.6); (0, 1) stays
        ("centred_clipping", {"radius": 2}, [[3, 4], [0, 1]], [0.6, 1.3]),
        ("rsa", {"step": 0.1}, [[3, -1], [5, 0], [-1, -2]], [0.1, -0.2]),
        # directions (0.6, 0.8) and (0, -1)
        ("rsa", {"step": 0.5, "norm": "l2"}, [[3, 4], [0, -2]], [0.3, -0.1]),
        # the first coordinate of the one; both of the other, at half the weight
        ("rsa", {"step": 0.1, "norm": "linf"}, [[3, 1], [-2, 2]], [0.05, 0.05]),
    ],
)
def test_two_coordinates_by_hand(kind, settings, rows, expected):
    rows = torch.tensor(rows, dtype=torch.float64)
    assert near(rule(kind, **settings).aggregate(rows, torch.zeros(2)), expected)


def test_a_row_at_the_consensus_does_not_pull():
    for norm in ("l1", "l2", "linf"):
        rows, previous = torch.full((3, 2), 0.25), torch.full((2,), 0.25)
        assert torch.equal(rule("rsa", step=1.0, norm=norm).aggregate(rows, previous), previous)


# Twins, one number at a time.


def median_twin(values):
    return statistics.median(values)


def trimmed_mean_twin(values, f):
    return statistics.fmean(sorted(values)[f : len(values) - f])


def meamed_twin(values, f):
    centre = statistics.median(values)
    return statistics.fmean(sorted(values, key=lambda value: (abs(value - centre), value))[: len(values) - f])


def coordinate_wise(twin, rows, *settings):
    return torch.tensor([twin(values, *settings) for values in rows.T.tolist()], dtype=torch.float64)


def clipping_twin(rows, previous, radius, iterations):
    centre = previous.tolist()
    for _ in range(iterations):
        total = [0.0] * len(centre)
        for row in rows.tolist():
            difference = [x - v for x, v in zip(row, centre, strict=True)]
            length = math.hypot(*difference)
            factor = min(1.0, radius / length) if length else 1.0
            total = [a + factor * x for a, x in zip(total, difference, strict=True)]
        centre = [v + a / len(rows) for v, a in zip(centre, total, strict=True)]
    return torch.tensor(centre, dtype=torch.float64)


def pull_twin(difference, norm):
    if norm == "l1":
        return [(x > 0) - (x < 0) for x in difference]
    if norm == "l2":
        length = math.hypot(*difference)
        return [x / length if length else 0.0 for x in difference]
    largest = max(abs(x) for x in difference)
    places = [j for j, x in enumerate(difference) if abs(x) == largest and x]
    return [math.copysign(1 / len(places), x) if j in places else 0.0 for j, x in enumerate(difference)]


def rsa_twin(rows, previous, step, norm):
    moved = previous.tolist()
    for row in rows.tolist():
        pull = pull_twin([v - x for v, x in zip(previous.tolist(), row, strict=True)], norm)
        moved = [v - step * x for v, x in zip(moved, pull, strict=True)]
    return torch.tensor(moved, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("ties", [False, True])
def test_the_twins_agree(m, ties):
    rows, previous = some_rows(m, 6, seed=m), some_rows(1, 6, seed=100)[0]
    if ties:
        rows, previous = (rows * 2).round(), (previous * 2).round()
    assert near(rule("median").aggregate(rows, previous), coordinate_wise(median_twin, rows))
    for f in range((m + 1) // 2):
        found = rule("trimmed_mean", f=f).aggregate(rows, previous)
        assert near(found, coordinate_wise(trimmed_mean_twin, rows, f))
        assert near(rule("meamed", f=f).aggregate(rows, previous), coordinate_wise(meamed_twin, rows, f))
    for radius, iterations in ((0.5, 1), (2.0, 4), (100.0, 2)):
        found = rule("centred_clipping", radius=radius, iterations=iterations).aggregate(rows, previous)
        assert near(found, clipping_twin(rows, previous, radius, iterations))
    for norm in ("l1", "l2", "linf"):
        assert near(
            rule("rsa", step=0.3, norm=norm).aggregate(rows, previous), rsa_twin(rows, previous, 0.3, norm)
        )


# Theory: how far one row reaches.

BYZANTINE = [0.0, 1.0, -7.0, 1e30, -1e300]


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_one_message_moves_the_consensus_by_no_more_than_a_step(norm):
    honest, previous = some_rows(6, 5), torch.zeros(5, dtype=torch.float64)
    without = rule("rsa", step=0.1, norm=norm).aggregate(honest, previous)
    for byzantine in BYZANTINE:
        row = byzantine * some_rows(1, 5, seed=3)
        found = rule("rsa", step=0.1, norm=norm).aggregate(torch.cat((honest, row)), previous)
        assert (found - without).abs().max() <= 0.1 + 1e-12


def test_one_message_moves_centred_clipping_by_no_more_than_its_share_of_the_radius():
    honest, previous = some_rows(6, 5), torch.zeros(5, dtype=torch.float64)
    rows = [torch.cat((honest, byzantine * some_rows(1, 5, seed=3))) for byzantine in BYZANTINE]
    found = [rule("centred_clipping", radius=2.0).aggregate(each, previous) for each in rows]
    for one in found:
        for other in found:
            assert torch.linalg.vector_norm(one - other) <= 2 * 2.0 / 7 + 1e-12
    # A huge row pulls with its whole share: it has a direction, though its squared length overflows.
    shift = found[-1] - clipped(honest, 2.0).sum(0) / 7
    assert torch.linalg.vector_norm(shift) == pytest.approx(2.0 / 7)


def test_meamed_may_leave_the_honest_range_but_by_less_than_its_width():
    # The Byzantine rows are as far above the median as the lowest honest value is below it.
    rows = column(0, 1, 1, 1.9, 1.9)
    found = rule("meamed", f=2).aggregate(rows, torch.zeros(1))
    assert near(found, [(1 + 1 + 1.9) / 3])
    assert 1 < found.item() < 2  # honest: 0, 1, 1


# Norms: their subgradients, and vectors whose squares overflow or vanish.


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_subgradients_satisfy_their_definition(norm):
    p = {"l1": 1, "l2": 2, "linf": math.inf}[norm]
    points = torch.cat((some_rows(20, 4), some_rows(20, 4, seed=1).round(), torch.zeros(1, 4)))
    for d, g in zip(points, subgradient(points, norm), strict=True):
        for other in some_rows(20, 4, seed=2):
            bound = torch.linalg.vector_norm(d, p) + g @ (other - d)
            assert torch.linalg.vector_norm(other, p) >= bound - 1e-12


def test_subgradients_by_hand():
    d = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0], [2.0, -2.0, 1.0]])
    assert subgradient(d, "l1").tolist() == [[1, -1, 0], [0, 0, 0], [1, -1, 1]]
    assert torch.allclose(
        subgradient(d, "l2"), torch.tensor([[0.6, -0.8, 0], [0, 0, 0], [2 / 3, -2 / 3, 1 / 3]])
    )
    assert subgradient(d, "linf").tolist() == [[0, -1, 0], [0, 0, 0], [0.5, -0.5, 0]]


def test_ties_of_the_largest_coordinate_share_its_weight():
    d = torch.tensor([[2.0, -2.0, 1.0, 2.0]])
    assert subgradient(d, "linf")[0].tolist() == pytest.approx([1 / 3, -1 / 3, 0, 1 / 3])


@pytest.mark.parametrize("size", [1.0, 1e-200, 1e200, 1e308])
def test_lengths_of_any_size(size):
    vector = torch.tensor([[0.3 * size, -0.4 * size]], dtype=torch.float64)
    assert lengths(vector).item() == pytest.approx(0.5 * size)
    assert unit(vector)[0].tolist() == pytest.approx([0.6, -0.8])
    assert clipped(vector, 0.25 * size)[0].tolist() == pytest.approx([0.15 * size, -0.2 * size])
    assert torch.equal(clipped(vector, 0.6 * size), vector)


def test_the_longest_vector_of_all_is_clipped_along_its_direction():
    largest = torch.finfo(torch.float32).max
    vector = torch.tensor([[largest, -largest, 0.0, largest]])
    share = 1 / math.sqrt(3)
    assert clipped(vector, 1.0)[0].tolist() == pytest.approx([share, -share, 0, share])
    assert torch.equal(clipped(torch.zeros(1, 3), 1.0), torch.zeros(1, 3))


# DP-RSA: signs on the way.


def draws(n):
    return [np.random.default_rng(row) for row in range(n)]


def test_signs_without_noise_by_hand():
    messages, read = torch.tensor([[0.5, 0.2, 0.3]]), torch.tensor([[0.4, 0.3, 0.3]])
    sent = rule("dp_rsa", step=0.1).encode(messages, read, [])
    assert torch.allclose(sent, torch.tensor([[2.4, -1.7, 0.3]]))
    assert rule("dp_rsa", step=0.1).sends_signs


def test_signs_survive_any_move_of_the_consensus():
    random = torch.Generator().manual_seed(5)
    message, read, previous = (torch.softmax(4 * torch.randn(200, 8, generator=random), 1) for _ in range(3))
    previous[0] = torch.eye(8)[0]  # the farthest it can go
    sent = rule("dp_rsa", step=1.0).encode(message, read, [])
    for row, p, z, now in zip(sent, message, read, previous, strict=True):
        assert torch.equal(rule("dp_rsa", step=1.0).aggregate(row.unsqueeze(0), now), now + (p - z).sign())


def test_what_is_sent_tells_signs_alone():
    read = torch.full((2, 2), 0.5)
    one, other = torch.tensor([[0.9, 0.1], [0.51, 0.49]])
    sent = rule("dp_rsa", step=0.1).encode(torch.stack((one, other)), read, [])
    assert torch.equal(sent[0], sent[1])


def test_a_difference_of_zero_is_sent_as_zero_without_noise_and_as_a_fair_sign_with_it():
    same = torch.full((1, 4000), 0.25)
    assert torch.equal(rule("dp_rsa", step=0.1).encode(same, same, []), same)
    for settings in ({"noise": "flip", "flip_probability": 0.1}, {"noise": "gaussian", "noise_std": 1e-9}):
        signs = (rule("dp_rsa", step=0.1, **settings).encode(same, same, draws(1)) - same) / 2
        assert set(signs[0].tolist()) == {-1, 1}
        assert abs(signs.mean().item()) < 4 / math.sqrt(4000)


def chance_twin(difference, flip_probability, noise_std):
    """Return the chance that the sign of a difference is sent as plus."""
    if flip_probability is not None:
        return 0.5 if difference == 0 else 1 - flip_probability if difference > 0 else flip_probability
    std = max(noise_std, abs(difference) * 2 / 3)
    return statistics.NormalDist().cdf(difference / std)


@pytest.mark.parametrize(
    ("flip_probability", "noise_std"), [(0.0, None), (0.25, None), (0.45, None), (None, 0.2), (None, 2.0)]
)
@pytest.mark.parametrize("difference", [-0.9, -0.1, 0.1, 0.5])
def test_noise_flips_as_often_as_its_law_says(flip_probability, noise_std, difference):
    n = 6000
    noise = "flip" if noise_std is None else "gaussian"
    dp_rsa = rule("dp_rsa", step=0.1, noise=noise, flip_probability=flip_probability, noise_std=noise_std)
    read = torch.zeros(3, n, dtype=torch.float64)
    signs = dp_rsa.encode(read + difference, read, draws(3)) / 2
    assert set(signs.flatten().tolist()) <= {-1, 1}
    chance = chance_twin(difference, flip_probability, noise_std)
    spread = math.sqrt(chance * (1 - chance) / (3 * n))
    assert abs((signs > 0).double().mean().item() - chance) <= 4 * spread


@pytest.mark.parametrize(
    "settings", [{"noise": "flip", "flip_probability": 0.2}, {"noise": "gaussian", "noise_std": 0.3}]
)
def test_noise_is_drawn_at_each_workers_own_address(settings):
    dp_rsa = rule("dp_rsa", step=0.1, **settings)
    messages, read = some_rows(3, 50), torch.zeros(3, 50, dtype=torch.float64)
    together = dp_rsa.encode(messages, read, draws(3))
    for row, draw in enumerate(draws(3)):
        alone = dp_rsa.encode(messages[row : row + 1], read[:1], [draw])
        assert torch.equal(alone[0], together[row])
        twin = draws(3)[row]
        for difference, sign in zip(messages[row].tolist(), (alone[0] / 2).tolist(), strict=True):
            if settings["noise"] == "flip":
                turned = twin.random() >= 0.8 if difference > 0 else twin.random() < 0.2
                assert sign == math.copysign(1, -difference if turned else difference)
            else:
                std = max(0.3, abs(difference) * 2 / 3)
                assert sign == math.copysign(1, difference + std * twin.standard_normal())


# Settings.


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("dp_rsa", {"step": 0.1, "noise": "flip"}, "found 'flip' without flip_probability"),
        ("dp_rsa", {"step": 0.1, "noise": "gaussian"}, "found 'gaussian' without noise_std"),
        ("dp_rsa", {"step": 0.1, "noise_std": 1.0}, "found 'none' with noise_std"),
        (
            "dp_rsa",
            {"step": 0.1, "noise": "gaussian", "noise_std": 1.0, "flip_probability": 0.1},
            "found 'gaussian' with flip_probability",
        ),
        ("dp_rsa", {"step": 0.1, "noise": "flip", "flip_probability": 0.5}, "less than 0.5"),
        ("dp_rsa", {"step": 0.0}, "greater than 0"),
        ("rsa", {"step": 0.0}, "greater than 0"),
        ("rsa", {"step": 0.1, "norm": "l3"}, "'l1', 'l2' or 'linf'"),
        ("centred_clipping", {"radius": 0.0}, "greater than 0"),
        ("centred_clipping", {"radius": 1.0, "iterations": 0}, "greater than or equal to 1"),
        ("trimmed_mean", {}, "Field required"),
        ("meamed", {"f": -1}, "greater than or equal to 0"),
        ("median", {"f": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings(kind, settings, message):
    with pytest.raises(ValidationError, match=message):
        rule(kind, **settings)


@pytest.mark.parametrize("kind", ["median", "trimmed_mean", "meamed"])
def test_a_majority_must_be_honest(kind):
    assert [rule(kind, f=f).least_rows for f in range(3)] == [1, 3, 5]


# Against a published library.


@pytest.mark.parametrize(("m", "f"), [(5, 2), (8, 3), (11, 0), (12, 5)])
def test_byzfl_computes_the_same(m, f):
    byzfl = pytest.importorskip(
        "byzfl.aggregators.aggregators", reason="ByzFL is not installed", exc_type=ImportError
    )
    rows, zero = some_rows(m, 6, seed=m), torch.zeros(6, dtype=torch.float64)
    pairs = [
        (rule("mean"), byzfl.Average()),
        (rule("median"), byzfl.Median()),
        (rule("trimmed_mean", f=f), byzfl.TrMean(f)),
        (rule("meamed", f=f), byzfl.Meamed(f)),
        (rule("centred_clipping", radius=0.7, iterations=3), byzfl.CenteredClipping(L=3, tau=0.7)),
    ]
    for ours, theirs in pairs:
        assert near(ours.aggregate(rows, zero), theirs(rows.numpy())), ours.kind

"""What holds for every attack on messages, and for which of them it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from fedsim.errors import InputError
from fedsim.learning.attacks import ATTACKS, MessageAttack

M, N = 4, 3
"""Words and options: d = 12."""

CASES: dict[str, list[dict[str, Any]]] = {
    "honest": [{}],
    "gaussian": [{}, {"std": 2.0, "centre": "own"}, {"std": 2.0, "centre": "previous"}],
    "sign_flip": [{}, {"factor": 0.5, "of": "update"}],
    "same_value": [{}, {"value": -3.0}],
    "zero": [{}],
    "random_simplex": [{}],
    "worst_word": [{}],
    "wrong_answers": [{}],
    "alie": [{}, {"z_max": 1.5}],
    "inner_product": [{}, {"epsilon": 2.0, "of": "message"}],
    "mimic": [{}, {"row": 7}],
    "min_max": [{}, {"perturbation": "unit"}, {"perturbation": "sign"}],
    "min_sum": [{}, {"perturbation": "unit"}, {"perturbation": "sign"}],
}
EVERY = [
    pytest.param(kind, settings, id="-".join([kind, *map(str, settings.values())]))
    for kind, several in CASES.items()
    for settings in several
]
BY_CHANCE = {"gaussian", "random_simplex"}
ALONE = {"honest", "sign_flip", "wrong_answers", *BY_CHANCE}
"""Those in which everybody writes its own message."""
STATISTICAL = {"worst_word", "alie", "inner_product", "mimic", "min_max", "min_sum"}
"""Those that look at known messages."""


def attack(kind: str, settings: dict[str, Any], knowledge: str = "all") -> MessageAttack:
    found = ATTACKS[kind](workers=(0,), knowledge=knowledge, **settings)
    assert isinstance(found, MessageAttack)
    return found


def messages(k: int, n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
    """Return own (k, d), honest (n, d) and previous (d,): tables of random distributions."""
    rows = np.random.default_rng(seed).dirichlet(np.ones(N), (k + n + 1, M)).reshape(-1, M * N)
    own, honest, previous = torch.from_numpy(rows).to(dtype).split([k, n, 1])
    return own, honest, previous[0]


def draws(k: int, first: int = 0) -> list[np.random.Generator]:
    """Return the generators of workers `first`, `first` + 1, ..."""
    return [np.random.default_rng([5, first + worker]) for worker in range(k)]


def test_every_kind_has_a_case():
    assert set(CASES) == set(ATTACKS.builtin)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("knowledge", ["own", "all"])
@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_messages_of_the_shape_and_type_of_their_own(kind, settings, knowledge, dtype):
    for k, n in [(3, 5), (1, 5), (3, 1), (3, 0), (1, 0), (40, 60)]:
        given = messages(k, n, dtype)
        before = [tensor.clone() for tensor in given]
        forged = attack(kind, settings, knowledge).forge(*given, draws(k), N)
        assert forged.shape == (k, M * N)
        assert forged.dtype == dtype
        assert bool(forged.isfinite().all())
        assert all(torch.equal(tensor, old) for tensor, old in zip(given, before, strict=True))
        forged += 1  # what comes back is theirs alone: writing to it changes nothing that was given
        assert all(torch.equal(tensor, old) for tensor, old in zip(given, before, strict=True))


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_the_same_draws_give_the_same_messages(kind, settings):
    given = messages(3, 5)
    first, second = (attack(kind, settings).forge(*given, draws(3), N) for _ in range(2))
    assert torch.equal(first, second)
    other = attack(kind, settings).forge(*given, draws(3, first=3), N)
    assert torch.equal(first, other) == (kind not in BY_CHANCE)


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_who_writes_alone_and_who_colludes(kind, settings):
    own, honest, previous = messages(3, 5)
    forged = attack(kind, settings).forge(own, honest, previous, draws(3), N)
    alone = [
        attack(kind, settings).forge(own[[v]], honest, previous, draws(1, first=v), N)[0] for v in range(3)
    ]
    if kind in ALONE:
        assert torch.equal(forged, torch.stack(alone))
        assert len(forged.unique(dim=0)) == 3
    else:
        assert torch.equal(forged, forged[:1].expand_as(forged))


@pytest.mark.parametrize("kind", sorted(BY_CHANCE))
def test_equal_workers_do_not_draw_the_same(kind):
    own, honest, previous = messages(3, 5)
    forged = attack(kind, {}).forge(own[[0, 0, 0]], honest, previous, draws(3), N)
    assert len(forged.unique(dim=0)) == 3


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_knowledge_of_their_own_reads_no_other_message(kind, settings):
    own, honest, previous = messages(3, 5)
    attacking = attack(kind, settings, "own")
    clean = attacking.forge(own, honest, previous, draws(3), N)
    assert torch.equal(clean, attacking.forge(own, torch.full_like(honest, torch.nan), previous, draws(3), N))


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_knowledge_of_all_looks_at_the_messages_of_others_alone(kind, settings):
    own, honest, previous = messages(3, 5)
    attacking = attack(kind, settings, "all")
    clean = attacking.forge(own, honest, previous, draws(3), N)
    other = attacking.forge(own, messages(3, 5, seed=1)[1], previous, draws(3), N)
    assert torch.equal(clean, other) == (kind not in STATISTICAL)
    if kind in STATISTICAL:
        assert torch.equal(
            clean, attacking.forge(torch.full_like(own, torch.nan), honest, previous, draws(3), N)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("knowledge", ["own", "all"])
@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_finite_where_messages_are_huge(kind, settings, knowledge, dtype):
    own, honest, previous = (1e15 * (tensor - 0.5) for tensor in messages(6, 9, dtype))
    forged = attack(kind, settings, knowledge).forge(own, honest, previous, draws(6), N)
    assert bool(forged.isfinite().all())


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_nothing_breaks_where_an_earlier_attack_has_sent_what_is_senseless(kind, settings):
    for value in (torch.nan, torch.inf, -torch.inf, 1e300):
        own, honest, previous = messages(3, 0)
        for senseless in (torch.full_like(own, value), own * value):
            forged = attack(kind, settings).forge(senseless, honest, previous, draws(3), N)
            assert forged.shape == own.shape


@pytest.mark.parametrize("kind", sorted(STATISTICAL))
def test_the_order_of_known_messages_does_not_matter(kind):
    own, honest, previous = messages(3, 7)
    for settings in CASES[kind]:
        if "row" not in settings:
            attacking = attack(kind, settings)
            there = attacking.forge(own, honest, previous)
            back = attacking.forge(own, honest.flip(0), previous)
            torch.testing.assert_close(there, back, rtol=0, atol=1e-12)


# Where an attack was proposed for gradients, it is the updates, message - consensus, that it sees.
OF_UPDATES: list[tuple[str, dict[str, Any]]] = [
    ("honest", {}),
    ("gaussian", {"std": 0.0, "centre": "own"}),
    ("gaussian", {"std": 0.0, "centre": "previous"}),
    ("sign_flip", {"of": "update"}),
    ("alie", {"z_max": 1.5}),
    ("inner_product", {"of": "update"}),
    ("mimic", {}),
    *((kind, {"perturbation": name}) for kind in ("min_max", "min_sum") for name in ("std", "unit", "sign")),
]


@pytest.mark.parametrize(("kind", "settings"), OF_UPDATES)
def test_moved_and_stretched_messages_give_moved_and_stretched_lies(kind, settings):
    given = messages(3, 5)
    attacking = attack(kind, settings)
    forged = attacking.forge(*given, draws(3), N)
    shift = torch.linspace(-2, 3, M * N, dtype=torch.float64)
    moved = attacking.forge(*(tensor + shift for tensor in given), draws(3), N)
    torch.testing.assert_close(moved, forged + shift, rtol=0, atol=1e-12)
    stretched = attacking.forge(*(3 * tensor for tensor in given), draws(3), N)
    torch.testing.assert_close(stretched, 3 * forged, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(BY_CHANCE))
def test_chance_needs_a_generator_for_each(kind):
    with pytest.raises(InputError, match="generator for each of the 3 messages, got 2"):
        attack(kind, {}).forge(*messages(3, 5), draws(2), N)


@pytest.mark.parametrize("kind", ["random_simplex", "worst_word"])
def test_words_must_fit_the_message(kind):
    with pytest.raises(InputError, match="whole distributions over 5 options, found 12 entries"):
        attack(kind, {}).forge(*messages(3, 5), draws(3), 5)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gaussian", {"std": -1.0}),
        ("gaussian", {"std": float("inf")}),
        ("gaussian", {"centre": "mean"}),
        ("sign_flip", {"factor": 0.0}),
        ("sign_flip", {"of": "gradient"}),
        ("same_value", {"value": float("nan")}),
        ("alie", {"z_max": -0.1}),
        ("inner_product", {"epsilon": 0.0}),
        ("mimic", {"row": -1}),
        ("min_max", {"perturbation": "mean"}),
        ("min_sum", {"gamma": 1.0}),
        ("zero", {"knowledge": "some"}),
    ],
)
def test_wrong_settings(kind, settings):
    with pytest.raises(ValidationError):
        ATTACKS[kind](workers=(0,), **settings)

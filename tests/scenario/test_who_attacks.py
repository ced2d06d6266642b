"""Who attacks and when: what the tables of all attacks have in common."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError

from fedsim.attack import Attack
from fedsim.errors import InputError
from fedsim.learning.attacks.honest import Honest
from fedsim.scenario import load_scenario
from fedsim.scenario.model import ATTACKS
from fedsim.streams import Stream, Streams


def test_a_job_is_attacked_if_it_starts_in_the_half_open_window() -> None:
    attack = Attack(kind="any", workers=(0,), start_s=10.0, stop_s=20.0)
    assert [attack.on(start_s) for start_s in (0.0, 9.99, 10.0, 19.99, 20.0, 30.0)] == [
        *(False, False, True, True, False, False)
    ]
    assert Attack(kind="any", workers=(0,)).on(0.0)
    assert Attack(kind="any", workers=(0,), start_s=5.0).on(1e9)


def test_a_fraction_is_rounded_to_whole_workers() -> None:
    sizes = [
        len(Attack(kind="any", fraction=tenths / 10).members(7, seed=0)) for tenths in (0, 1, 2, 3, 5, 10)
    ]
    assert sizes == [0, 1, 1, 2, 4, 7]  # of 0, 0.7, 1.4, 2.1, 3.5, 7


def test_those_of_a_small_fraction_are_among_those_of_a_large_one_and_depend_on_the_seed_alone() -> None:
    found = [Attack(kind="any", fraction=tenths / 10).members(20, seed=3) for tenths in range(11)]
    assert all(small < large for small, large in pairwise(found))
    order = Streams(3).generator(Stream.MEMBERS).permutation(20)
    assert found[3] == set(order[:6].tolist())
    assert Honest(fraction=0.3, start_s=7.0).members(20, seed=3) == found[3]
    assert Attack(kind="any", fraction=0.3).members(20, seed=4) != found[3]


def test_workers_that_are_named_attack() -> None:
    assert Attack(kind="any", workers=(4, 1)).members(5, seed=0) == {1, 4}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "expected `workers`"),
        ({"workers": (1, 5)}, "found worker 5, expected 0 to 4"),
    ],
)
def test_members_that_cannot_be(settings, said) -> None:
    with pytest.raises(InputError, match=said):
        Attack(kind="any", **settings).members(5, seed=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": (1, 1)}, "expected each number once"),
        ({"workers": (1,), "fraction": 0.2}, "found both workers and fraction"),
        ({"fraction": 0.2, "start_s": 5.0, "stop_s": 5.0}, "found 5, expected more than start_s = 5"),
        ({"fraction": 1.2}, "less than or equal to 1"),
        ({"workers": (-1,)}, "greater than or equal to 0"),
        ({"fraction": 0.2, "start_s": -1.0}, "greater than or equal to 0"),
    ],
)
def test_bad_settings(settings, said) -> None:
    with pytest.raises(ValidationError, match=said):
        Attack(kind="any", **settings)


def test_every_attack_takes_who_and_when() -> None:
    for kind, part in ATTACKS:
        assert {"workers", "fraction", "start_s", "stop_s"} <= set(part.model_fields), kind
        assert part.model_fields["kind"].default == kind


def test_a_copy_with_another_seed_has_attackers_of_its_own(small) -> None:
    attacked = load_scenario(
        small, overrides=["workers.0.count=40", "attacks=[{ kind = 'zero', fraction = 0.5 }]"]
    )
    other = load_scenario(
        small, overrides=["workers.0.count=40", "attacks=[{ kind = 'zero', fraction = 0.5 }]", "seed=1"]
    )
    assert attacked.malicious != other.malicious
    assert attacked.model_copy(update={"seed": 1}).malicious == other.malicious

"""Whether a run has met its constraint, h <= epsilon: word by word by hand, and what a person is told."""

from __future__ import annotations

import math

import pytest
import torch
from learning_cases import Drive
from test_tuner import toy_tuner

from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.constraint import Constraint
from fedsim.algorithms.dbt.lagrangian import Multipliers
from fedsim.algorithms.dbt.polyhedron import Polyhedron


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def cuts(*multipliers: list[float]) -> tuple[Polyhedron, Multipliers]:
    """Return three words' cuts with these multipliers, a row a word; a NaN is no cut."""
    now = torch.tensor(multipliers, dtype=torch.float64)
    alive = ~now.isnan()
    zero = torch.zeros(*now.shape, dtype=torch.float64)
    polyhedron = Polyhedron(torch.zeros(1, *now.shape, 2), torch.zeros(*now.shape, 2), zero, alive)
    return polyhedron, Multipliers(now.nan_to_num(0.0), zero, zero)


def test_what_is_measured_by_hand() -> None:
    constraint = Constraint.at_start(3, epsilon=0.5).updated(numbers(0.2, 0.4, 1.8))
    found = constraint.measured(*cuts([0.3, math.nan], [0.0, 0.7], [math.nan, 0.0]))
    # (0.2 + 0.4 + 1.8) / 3 / 0.5; words 0 and 1 of 3; 0.3 and 0.7 of the four cuts
    assert found == {
        "h_over_epsilon": pytest.approx(1.6),
        "words_within_epsilon": pytest.approx(2 / 3),
        "multipliers_above_0": pytest.approx(0.5),
        "multiplier_max": pytest.approx(0.7),
        "constraint_met": 0.0,
    }


def test_before_the_first_update_nothing_is_known() -> None:
    found = Constraint.at_start(3, epsilon=0.5).measured(*cuts([], [], []))
    assert math.isnan(found["h_over_epsilon"])
    assert math.isnan(found["words_within_epsilon"])
    assert math.isnan(found["multipliers_above_0"])
    assert (found["multiplier_max"], found["constraint_met"]) == (0.0, 0.0)


ABOVE, BELOW = (1.0, 1.0, 1.0), (0.1, 0.1, 0.1)
WORKING, IDLE = [0.5], [1e-13]


@pytest.mark.parametrize(
    ("before", "multipliers", "after", "met"),
    [
        (ABOVE, (WORKING, WORKING, IDLE), BELOW, 1),  # two of three words
        (ABOVE, (WORKING, IDLE, IDLE), BELOW, 0),  # one of three is not most
        (ABOVE, (WORKING, WORKING, WORKING), ABOVE, 0),  # h never fell
        (BELOW, (WORKING, WORKING, WORKING), BELOW, 0),  # h was never above: nothing to work against
        (ABOVE, (WORKING, WORKING, IDLE), (0.1, 1.0, 0.1), 0),  # of the words within, one never worked
    ],
)
def test_most_words_must_come_from_above_by_multipliers(before, multipliers, after, met) -> None:
    start = Constraint.at_start(3, epsilon=0.5)
    constraint = start.updated(numbers(*before)).stepped(torch.tensor(multipliers)).updated(numbers(*after))
    assert constraint.measured(*cuts([], [], []))["constraint_met"] == met


def test_multipliers_that_worked_before_h_was_above_do_not_count() -> None:
    start = Constraint.at_start(1, epsilon=0.5)
    early = start.updated(numbers(0.1)).stepped(torch.ones(1, 1)).updated(numbers(1.0)).updated(numbers(0.1))
    assert not early.worked.any()


def test_a_run_is_followed_by_its_updates_and_steps() -> None:
    tuner = toy_tuner(2, polyhedron={"epsilon": 0.01})
    drive = Drive(tuner, 2)
    assert math.isnan(tuner.evaluate([0, 1])["h_over_epsilon"])
    drive.step([0, 1], cut_rounds=3)
    assert tuner.constraint.above.all()
    assert not tuner.constraint.worked.any()  # new cuts have multiplier 0
    drive.step([0, 1])
    assert tuner.constraint.worked.all()
    measured = tuner.evaluate([0, 1])
    assert measured["h_over_epsilon"] == pytest.approx(float(tuner.constraint.h.mean()) / 0.01)
    assert measured["multiplier_max"] == float(tuner.state.multipliers.now.max()) > 0


def test_without_cuts_there_is_no_constraint() -> None:
    assert "constraint_met" not in toy_tuner(2, cuts=False).evaluate([0, 1])


SUMMARY = {
    "ended": "budget",
    "cut_updates": 5,
    "h_over_epsilon": 5.31,
    "words_within_epsilon": 0.25,
    "constraint_met": 0.0,
}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {},
            "is not met: at the last polyhedron update 25% of the words are within it, and h is 5.31 epsilon",
        ),
        ({"words_within_epsilon": 1.0}, "was never at work: "),
        ({"constraint_met": 1.0}, ""),
        ({"ended": "diverged"}, ""),
        ({"words_within_epsilon": math.nan}, ""),
        ({"cut_updates": 4}, ""),
    ],
)
def test_a_person_is_told(changed, sentence) -> None:
    told = Asyndbt().cautions(SUMMARY | changed)
    assert [text.startswith(f"the constraint h <= epsilon {sentence}") for text in told] == [True] * bool(
        sentence
    )
    assert Asyndbt().cautions({"ended": "budget"}) == ()


def test_a_person_is_told_that_updates_were_left_out() -> None:
    """In the background one may take longer than the next is away."""
    met = SUMMARY | {"constraint_met": 1.0, "cut_updates": 25}
    assert Asyndbt().cautions(met | {"skipped_cut_updates": 25}) == ()
    (told,) = Asyndbt().cautions(met | {"skipped_cut_updates": 49})
    assert told.startswith("49 of 74 polyhedron updates were left out: ")

"""At which server steps the state is measured, and how well a time to a target is known."""

from __future__ import annotations

import math

import pytest
from conftest import SMALL

from fedsim.errors import InputError
from fedsim.scenario import Scenario, load_variants
from fedsim.scenario.model import Target
from fedsim.simulation import run


@pytest.fixture
def small(tmp_path):
    """Return three workers whose jobs take 2 s: SDBT steps every 2 s, with three updates."""
    file = tmp_path / "small.toml"
    text = SMALL.replace("server_steps = 12", "worker_updates = 36").replace(
        '"exponential", mean_s = 1.0', '"constant", value_s = 1.5'
    )
    file.write_text(
        text.replace("[evaluation]\nevery_steps = 3\n", "").replace(
            "[algorithm.cuts]\nevery = 4\nrounds = 2\n", ""
        )
    )

    def made(*overrides: str) -> Scenario:
        return load_variants(file, ["algorithm.cuts=false", *overrides], [])[0]

    return made


SDBT = ('algorithm={ kind = "sdbt", cuts = false }',)
ONE = ("algorithm.wait_for=1", "algorithm.tau=9")


def looks(scenario: Scenario) -> list[tuple[int, int, float]]:
    steps = run(scenario).steps.dropna(subset=["loss"])
    return list(steps[["step", "worker_updates", "time_s"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["evaluation.every_steps=5"], [0, 5, 10, 12]),
        (["evaluation.every_updates=12"], [0, 4, 8, 12]),
        (["evaluation.every_updates=5"], [0, 2, 4, 5, 7, 9, 10, 12]),  # 6, 12, 15, 21, 27, 30 and 36 updates
        (["evaluation.every_updates=1"], list(range(13))),
        (["evaluation.every_s=5.0"], [0, 3, 5, 8, 10, 12]),  # steps at 2, 4, 6, ... s
        (["evaluation.every_s=1000"], [0, 12]),
        ([], [0, 10, 12]),  # thirty updates
    ],
    ids=str,
)
def test_by_hand(small, settings, expected):
    assert [step for step, _, _ in looks(small(*SDBT, *settings))] == expected


@pytest.mark.parametrize(
    "settings", [[], ["evaluation.every_updates=6"], ["evaluation.every_s=4.0"]], ids=str
)
def test_methods_are_looked_at_alike(small, settings):
    budget = "budget.worker_updates=60"
    found = [looks(small(budget, *method, *settings)) for method in (SDBT, ONE)]
    # One update at a time: its looks come at most two updates before those of a step of three.
    assert min(map(len, found)) > 2
    assert abs(len(found[0]) - len(found[1])) <= 1  # the last one, at the end
    for ours, theirs in zip(*(rows[:-2] for rows in found), strict=False):
        assert abs(ours[1] - theirs[1]) <= 2
        assert abs(ours[2] - theirs[2]) <= 2.1
    per_step = [len(looks(small(budget, *method, "evaluation.every_steps=10"))) for method in (SDBT, ONE)]
    assert per_step[1] > 2 * per_step[0]


def test_one_of_the_three_may_be_stated(small):
    with pytest.raises(InputError, match="evaluation: found every_steps and every_s, expected one of them; "):
        small("evaluation={ every_steps = 2, every_s = 1.0 }")
    for wrong in ("every_updates=0", "every_s=0.0", "every_s=-1", "every_steps=0"):
        with pytest.raises(InputError, match=f"evaluation.{wrong.partition('=')[0]}: "):
            small(f"evaluation.{wrong}")


def test_a_time_to_a_target_is_known_up_to_the_last_look_before(small):
    steps = run(small(*SDBT, "evaluation.every_steps=1")).steps
    value = float(steps["loss"].iloc[7])
    target = f"target={{ value = {value!r}, window = 1 }}"
    first = int((steps["loss"] <= value).idxmax())  # of step 7 at the latest
    exact = run(small(*SDBT, target, "evaluation.every_steps=1")).summary
    assert (exact["time_to_target_s"], exact["time_to_target_resolution_s"]) == (
        pytest.approx(2.0 * first, abs=0.01),
        pytest.approx(2.0, abs=0.01),
    )
    rough = run(small(*SDBT, target, "evaluation.every_steps=4")).summary
    assert rough["time_to_target_resolution_s"] == pytest.approx(8.0, abs=0.01)
    assert rough["time_to_target_s"] - 8.1 < exact["time_to_target_s"] <= rough["time_to_target_s"]
    never = run(small(*SDBT, "target={ value = -1.0 }")).summary
    assert never["time_to_target_s"] is never["time_to_target_resolution_s"] is None
    assert "cautions" not in never


@pytest.mark.parametrize(
    ("values", "window", "place"),
    [
        ([9, 5, 3, 2, 1], 1, 2),  # the mark is 4
        ([9, 3, 5, 3, 2], 1, 3),  # touched, left again, then reached for good
        ([9, 3, 2, 1, 5], 1, None),  # not there at the end
        ([9, 3, 4, 1, 5], 2, 2),  # means 6, 3.5, 2.5, 3: the last measurement alone says little
        ([9, 5, 3, 3], 4, None),  # mean 5
        ([6, 4, 3, 3], 4, 3),  # mean 4
        ([6, 3, 3], 4, None),  # fewer measurements than the window
        ([2, 2, 2, 2], 2, None),  # there from the start
        ([2, 9, 3, 2], 2, 3),  # there at the start, and not the measurement after
        ([math.nan, 2, 2], 1, 1),
        ([], 1, None),
    ],
)
def test_the_target_is_reached_for_good_by_hand(values, window, place):
    assert Target(value=4, window=window).reached_at(values) == place
    upside_down = Target(metric="accuracy", value=-4, window=window)
    assert upside_down.reached_at([-value for value in values]) == place


def test_a_target_that_the_start_meets_is_told_and_has_no_time(small):
    found = run(small(*SDBT, "target={ value = 1000.5, stop = true }")).summary
    assert found["time_to_target_s"] is found["time_to_target_resolution_s"] is None
    assert found["ended"] == "budget"
    assert found["cautions"][0].startswith("the start already meets the target: loss ")
    assert "target.value is 1000.5" in found["cautions"][0]


@pytest.mark.parametrize("window", [1, 3])
def test_a_run_that_stops_at_its_target_stops_at_the_time_that_it_tells(small, window):
    often = [*SDBT, "evaluation.every_steps=1"]
    losses = run(small(*often)).steps["loss"]
    target = f"target={{ value = {float(losses[6])!r}, window = {window}, stop = true }}"
    found = run(small(*often, target))
    assert found.summary["ended"] == "target"
    assert found.summary["time_to_target_s"] == found.summary["simulated_time_s"]
    means = losses.rolling(window).mean()
    assert found.summary["server_steps"] == (means <= losses[6]).idxmax() > 0

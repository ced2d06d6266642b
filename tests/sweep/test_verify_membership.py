"""What `fedsim verify` says of runs in which workers come and go."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sealing import seal

from fedsim import sweep
from fedsim.scenario import load_scenario, load_variants
from fedsim.verify import verify

FAILURES = Path(__file__).resolve().parents[2] / "scenarios/failures"
EVICTING = ["server.evict_after_s=1.5", "server.readmit=true"]
LATE = 'workers.0.availability={ kind = "lifetime", joins = { kind = "exponential", mean_s = 6.0 } }'
TURNS = (
    'workers.0.availability={ kind = "on_off", on = { kind = "exponential", mean_s = 8.0 }, '
    'off = { kind = "exponential", mean_s = 2.0 } }'
)
ROUNDS = 'algorithm={ kind = "fedbdpl", participants = 2 }'


def broken(folder: Path) -> dict[str, str]:
    return {check.invariant: check.violation for check in verify(folder) if check.violation}


@pytest.mark.parametrize("file", sorted(FAILURES.glob("*.toml")), ids=lambda file: file.stem)
def test_all_that_comes_with_fedsim_holds(file, tmp_path):
    for scenario in sweep.replicates(load_variants(file, ["record.spans=true"]), 2):
        folder = sweep.run_one(scenario, tmp_path, timing_only=True).folder
        assert broken(folder) == {}


@pytest.mark.parametrize("algorithm", [[], [ROUNDS]], ids=["steps", "rounds"])
@pytest.mark.parametrize(
    "overrides",
    [[LATE], [TURNS], [TURNS, *EVICTING], [TURNS, 'workers.0.on_return="rejoin"', *EVICTING], EVICTING],
    ids=["late", "turns", "evicted", "rejoining", "impatient"],
)
def test_they_hold_whoever_takes_part(small, tmp_path, algorithm, overrides):
    settings = [*overrides, *algorithm, "record.spans=true", "workers.0.count=6", "budget.server_steps=40"]
    for scenario in sweep.replicates([load_scenario(small, overrides=settings)], 3):
        assert broken(sweep.run_one(scenario, tmp_path, timing_only=True).folder) == {}


def planted(folder: Path, column: str, row: int, value: int) -> dict[str, str]:
    """Write a number into the table of steps, from this row on, and verify again."""
    steps = pd.read_parquet(folder / "steps.parquet")
    steps.loc[row:, column] = value
    steps.to_parquet(folder / "steps.parquet", index=False)
    seal(folder)
    return broken(folder)


def test_calls_are_at_least_those_of_the_updates(small, tmp_path):
    """Where workers join late, polyhedron updates have fewer of them than there are in the end."""
    folder = sweep.run_one(load_scenario(small, overrides=[LATE]), tmp_path).folder
    assert pd.read_parquet(folder / "steps.parquet").members.iloc[1] < 3
    found = planted(folder, "llm_calls", 9, 1)
    assert found["LLM calls follow from the jobs"] == "step 9: 1 calls"


def test_a_round_uses_all_that_it_has_asked(small, tmp_path):
    folder = sweep.run_one(load_scenario(small, overrides=[ROUNDS, LATE]), tmp_path).folder
    steps = pd.read_parquet(folder / "steps.parquet")
    # a round that asked one worker, and during which another has joined
    assert (steps.active < steps.members.clip(upper=2))[1:].any()
    found = planted(folder, "active", 9, 1)
    assert found["at least S tickets in every step"] == "step 9: 1 tickets, S 2"

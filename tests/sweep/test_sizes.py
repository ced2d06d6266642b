"""Sizes that no machine has: counted by arithmetic, refused with what they would need."""

from __future__ import annotations

import itertools

import pytest

from fedsim import load_scenario
from fedsim.scenario.sizes import spoken_bytes
from fedsim.schedule import Interlude
from fedsim.sweep.forecast import _jobs

TASK = (
    "problem={ kind = 'icl', task = { kind = 'synthetic', n_words = 3, n_candidates = 4, n_demonstrations = 4"
    ", parameters = { base_alignment = 0.5, demo_step = 0.5, label_bias = 0.1, word_gain = 1.0 } } }"
)


def jobs_one_by_one(wait_for, n_workers, limits, interlude):
    """Count step by step what `_jobs` works out."""
    most_updates, most_steps = limits
    everybody = interlude is not None and interlude.participation == "all"
    updates = in_rounds = step = before = 0
    while True:
        updates += wait_for
        if (most_updates is not None and updates >= most_updates) or step + 1 == most_steps:
            return updates, in_rounds
        since, before_it, before = updates - wait_for, before, updates - wait_for
        if interlude is not None and interlude.due(step, since, before_it):
            in_rounds += interlude.rounds * (n_workers if everybody else wait_for)
            updates += n_workers - wait_for if everybody else 0
        step += 1


LIMITS = [(1, None), (40, None), (41, None), (None, 1), (None, 13), (40, 3), (9, 30)]


@pytest.mark.parametrize(
    "interlude",
    [
        None,
        Interlude("inner", every=1, rounds=2),
        Interlude("inner", every=4, rounds=3, stop_after=6),
        Interlude("inner", every=3, rounds=1, stop_after=0),
        Interlude("inner", every=3, rounds=2, participation="active"),
        *(Interlude("inner", every=1, rounds=2, every_updates=updates) for updates in (1, 3, 7, 10)),
        Interlude("inner", every=1, rounds=2, every_updates=11, stop_after=6),
        Interlude("inner", every=1, rounds=2, every_updates=5, participation="active"),
    ],
)
def test_the_jobs_of_a_run_are_those_that_counting_finds(interlude):
    for wait_for, limits in itertools.product((1, 3, 5), LIMITS):
        _, updates, interludes, each = _jobs(wait_for, 5, limits, interlude)
        in_rounds = interludes * interlude.rounds * each if interlude is not None else 0
        counted = jobs_one_by_one(wait_for, 5, limits, interlude)
        assert (updates, in_rounds) == counted, (wait_for, limits)


@pytest.mark.parametrize("budget", ["epochs=9000000000000000", "worker_updates=9223372036854775807"])
def test_a_budget_without_end_is_counted_at_once(command, small, budget):
    small.write_text(small.read_text().replace("server_steps = 12", budget) + "[sweep]\nreplicates = 2\n")
    answer = command("sweep", small, "--dry-run", "--timing-only")
    assert answer.code == 0
    assert "2 runs: 0 finished, 2 to run" in answer.out


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ["workers.0.count=1000000000"],
            "workers: found 1,000,000,000 in all, for which the clock alone would",
        ),
        (
            ["problem.dimension=5000000000000"],
            "960 TB of it for problem.dimension = 5,000,000,000,000 at 3 w",
        ),
        (
            [TASK, "problem.n_samples=200000000"],
            "for problem.n_samples = 200,000,000 prompts",
        ),
        (
            [TASK, "problem.task.n_words=500000000"],
            "for p of 500,000,000 words x 4 candidates",
        ),
        ([TASK, "problem.task.n_candidates=50000000000"], "3 words x 50,000,000,000 candidates"),
        ([TASK, "problem.task.n_demonstrations=1000000000000000"], "1,000,000,000,000,000 per class"),
        ([TASK, "problem.task.test_counts=[2, 90000000000000]"], "90,000,000,000,002 test queries"),
        ([TASK, "problem.task.train_per_class=100000000"], "prompts of one job"),
        ([TASK, "problem.task.parameters.n_features=90000000000000"], "of 90,000,000,000,000 numbers each"),
    ],
)
@pytest.mark.parametrize("how", ["check", "run"])
def test_sizes_that_cannot_fit_are_refused_with_the_memory_they_need(
    command, small, settings, sentence, how, monkeypatch
):
    monkeypatch.setattr("fedsim.scenario.sizes.memory_bytes", lambda: 16 * 10**9)
    answer = command(how, small, *(word for setting in settings for word in ("--set", setting)))
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    assert " of memory" in answer.err


@pytest.mark.parametrize(
    "sweep",
    [
        "replicates = 1000000000000",
        "[sweep.random]\nsamples = 1000000000000\nkeys = { seed = { choices = [3, 4] } }",
        "[sweep.grid]\n" + "\n".join(f"'x{number}' = [1, 2]" for number in range(40)),
    ],
    ids=["replicates", "random", "grid"],
)
def test_a_sweep_without_end_is_refused(command, small, sweep):
    small.write_text(small.read_text() + f"[sweep]\n{sweep}\n")
    for words in (["check", small], ["sweep", small, "--dry-run"]):
        answer = command(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "runs for each variant, expected at most 10,000,000" in answer.err


def test_many_slots_and_a_column_named_twice_are_refused(command, small):
    assert command("serve", "--slots", 100_000_000).code == 2
    assert command("run", small, "--timing-only").code == 0
    answer = command("results", "results", "--columns", "seed,loss,seed")
    assert (answer.code, answer.out) == (2, "")
    assert "'seed'" in answer.err


def test_what_fits_passes(small):
    assert load_scenario(small, overrides=["workers.0.count=3000"]).n_workers == 3000
    assert spoken_bytes(5e12) == "5 TB"

"""Attacks that attack nobody or nothing, which is an error unless it is written."""

from __future__ import annotations

import pytest

ICL = (
    "problem={ kind = 'icl', task = { kind = 'synthetic', n_words = 3, n_candidates = 4, n_demonstrations = 4"
    ", train_per_class = 2, parameters = "
    "{ base_alignment = 0.5, demo_step = 0.5, label_bias = 0.1, word_gain = 1.0 } } }"
)


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        ("kind = 'sign_flip', fraction = 0.1", "fraction: found 0.1, which of 3 workers is nobody"),
        ("kind = 'sign_flip', fraction = 1e-300", "fraction: found 1e-300, which of 3 workers is nobody"),
        ("kind = 'rushing', fraction = 0.16", "expected more than 0.166667, or 0 to say so"),
        ("kind = 'rushing', workers = []", "expected `workers` (their numbers) or `fraction`"),
        (
            "kind = 'rushing', workers = [1], start_s = 20.0",
            "'rushing' begins at 20 s, expected a time before",
        ),
        ("kind = 'sign_flip', workers = [1], start_s = 1e9", "budget.horizon_s = 20, when the run ends"),
        ("kind = 'sleeper', workers = [1], wakes_at_s = 30.0", "'sleeper' begins at 30 s"),
        (
            "kind = 'sleeper', workers = [1], wakes_at_s = 3.0, then = { kind = 'rushing', start_s = 30.0 }",
            "'sleeper' begins at 30 s",
        ),
        (
            "kind = 'slow_rolling', workers = [1], margin_steps = 2",
            "margin_steps: found 2, with which no report",
        ),
        (
            "kind = 'sleeper', workers=[1], wakes_at_s=3, then = {kind = 'slow_rolling', margin_steps = 5}",
            "margin_steps: found 5, with which no report is ever withheld; expected less than tau - 1 = 2",
        ),
        (
            "kind = 'flapping', workers = [1], on_s = 0.0, off_s = 1.0",
            "on_s: found 0.0, expected at least 1e-06",
        ),
        (
            "kind = 'flipped_labels', workers = [1], share = 0.1",
            "share: found 0.1, which of 4 candidates of a",
        ),
        (
            "kind = 'flipped_queries', workers = [1], share = 0.1",
            "share: found 0.1, which of 4 training queries",
        ),
    ],
)
def test_an_attack_on_nobody_is_refused(command, small, attack, sentence):
    words = ["--set", "budget.horizon_s=20.0", "--set", f"attacks=[{{ {attack} }}]"]
    words += ["--set", ICL] if "share" in attack else []
    answer = command("check", small, *words)
    assert (answer.code, answer.out) == (2, "")
    assert "attacks.0: " in answer.err or "attacks.0." in answer.err
    assert sentence in answer.err


@pytest.mark.parametrize(
    "attack",
    [
        "kind = 'sign_flip', fraction = 0.0",
        "kind = 'sign_flip', fraction = 0.17",
        "kind = 'slow_rolling', workers = [1], margin_steps = 2, skip_calls = true",
        "kind = 'slow_rolling', workers = [1], margin_steps = 1",
        "kind = 'rushing', workers = [1], start_s = 19.0",
    ],
)
def test_an_attack_on_somebody_or_on_purpose_on_nobody_is_fine(command, small, attack):
    words = ["--set", "budget.horizon_s=20.0", "--set", f"attacks=[{{ {attack} }}]"]
    assert command("check", small, *words).out.startswith("small: asyndbt, 3 workers: fine\n")


def test_a_share_of_none_may_be_written(command, small):
    attack = "attacks=[{ kind = 'flipped_labels', workers = [1], share = 0.0 }]"
    assert command("check", small, "--set", ICL, "--set", attack).code == 0


def test_an_attack_that_had_yet_to_begin_when_the_run_ended_is_said(command, small):
    late = "attacks=[{ kind = 'rushing', workers = [1], start_s = 900.0 }]"
    soon = late.replace("900.0", "1.0")
    answer = command("run", small, "--timing-only", "--set", late)
    assert answer.code == 0
    assert "small: attacks.0: 'rushing' begins at 900 s, but the run ended at" in answer.err
    assert "begins" not in command("run", small, "--timing-only", "--set", soon).err

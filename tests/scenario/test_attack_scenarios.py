"""Attacks and rules in scenario files: what is refused when loading, and that what is off changes nothing."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from conftest import Command, without_notes

from fedsim import simulation
from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.scenario.files import parse


@pytest.fixture
def command(command: Command) -> Command:
    return without_notes(command)


OUTER = "algorithm.aggregation = { outer = { kind = "
WRONG = {
    # f against the rows of a step: all workers' (3), the active set's (2), the inner loop's
    OUTER + "'trimmed_mean', f = 2 } }": "algorithm.aggregation.outer: 'trimmed_mean' needs at least 5 rows "
    "in a step, got 3",
    OUTER + "'trimmed_mean', f = 1 }, rows = 'active' }": "algorithm.aggregation.outer: 'trimmed_mean' needs "
    "at least 3 rows in a step, got 2",
    OUTER + "'krum', f = 1 } }": "algorithm.aggregation.outer: 'krum' needs at least 5 rows in a step, got 3",
    "algorithm.aggregation = { inner = { kind = 'median', f = 2 } }": "algorithm.aggregation.inner: 'median' "
    "needs at least 5 rows in a step, got 3",
    OUTER + "'median', f = 1 }, before = [{ kind = 'bucketing', size = 2 }] }": ""
    "algorithm.aggregation.outer: 'median' needs at least 3 rows in a step, got 2, made of 3",
    OUTER + "'mean' }, before = [{ kind = 'nearest_neighbour_mixing', f = 2 }] }": ""
    "algorithm.aggregation.before: 'nearest_neighbour_mixing' cannot work on the 3 rows of a step",
    # filters: known rows, and what they ask of the number of workers
    OUTER + "'median', f = 1 }, rows = 'active', filter = { kind = 'basgd', buffers = 2 } }": ""
    "algorithm.aggregation.outer: 'median' needs at least 3 rows in a step, got 2",
    OUTER + "'mean' }, rows = 'active', filter = { kind = 'basgd', buffers = 4 } }": ""
    "algorithm.aggregation.filter.buffers: found 4, expected at most 3, the number of workers",
    OUTER + "'mean' }, rows = 'active', filter = { kind = 'kardam', f = 1 } }": ""
    "algorithm.aggregation.filter.f: 1 malicious workers need more than 3 workers in all, found 3",
    OUTER + "'mean' }, filter = { kind = 'basgd', buffers = 2 } }": ""
    'algorithm.aggregation: filter: needs outer, and rows = "active"',
    "algorithm.aggregation = { inner = { kind = 'mean' }, rows = 'active', filter = { kind = 'basgd', "
    "buffers = 2 } }": 'algorithm.aggregation: filter: needs outer, and rows = "active"',
    "algorithm.aggregation = {}": "algorithm.aggregation: expected an aggregator in outer, in inner, or in "
    "both",
    # signs
    OUTER
    + "'dp_rsa', step = 0.1 } }": "algorithm.aggregation.outer: 'dp_rsa' sends signs, from which no cuts "
    "can be made; expected algorithm.cuts = false",
    "algorithm.aggregation = { inner = { kind = 'dp_rsa', step = 0.1 } }": "algorithm.aggregation: inner: "
    "'dp_rsa' is for the outer step alone",
    OUTER + "'dp_rsa', step = 0.1 }, before = [{ kind = 'simplex_projection' }] }": "algorithm.aggregation: "
    "before: 'simplex_projection' works on messages, but with outer = 'dp_rsa' workers send signs",
    # who and when
    "attacks = [{ kind = 'zero' }]": "attacks.0: expected `workers` (their numbers) or `fraction` (a part of "
    "all)",
    "attacks = [{ kind = 'zero', workers = [0, 3] }]": "attacks.0: found worker 3, expected 0 to 2",
    "attacks = [{ kind = 'zero', workers = [-1] }]": "attacks.0.workers.0: found -1, expected at least 0",
    "attacks = [{ kind = 'honest', workers = [0] }, { kind = 'zero', workers = [7] }]": "attacks.1: found "
    "worker 7, expected 0 to 2",
    "attacks = [{ kind = 'zero', workers = [1, 1] }]": "attacks.0: workers: found [1, 1], expected each "
    "number once",
    "attacks = [{ kind = 'zero', workers = [0], fraction = 0.3 }]": "attacks.0: found both workers and "
    "fraction, expected one of them",
    "attacks = [{ kind = 'zero', workers = [0], start_s = 5, stop_s = 5 }]": "attacks.0: stop_s: found 5, "
    "expected more than start_s = 5",
    "attacks = [{ kind = 'zero', workers = [0, 1] }, { kind = 'rushing', workers = [2] }]": "attacks: all "
    "workers are malicious, expected an honest one",
    "attacks = [{ kind = 'zero', fraction = 1.0 }]": "attacks: all workers are malicious, expected an honest "
    "one",
    # what cannot be attacked
    "attacks = [{ kind = 'worst_word', workers = [0] }]": "attacks.0: 'worst_word' sends distributions, but "
    "in problem 'quadratic' workers send numbers",
    "attacks = [{ kind = 'random_simplex', workers = [0] }]": "attacks.0: 'random_simplex' sends "
    "distributions, but in problem 'quadratic' workers send numbers",
    "attacks = [{ kind = 'flipped_labels', workers = [0] }]": "attacks.0: 'flipped_labels' attacks texts, "
    "but problem 'quadratic' has none",
    "algorithm.robust = { norm = 'l3' }": "algorithm.robust.norm: found 'l3', expected 'l1', 'l2' or 'linf'",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_attack_or_rule_is_one_sentence(command, small, tmp_path, override):
    answer = command("run", small, "--set", override)
    assert answer == (2, "", f"fedsim: {small}: {WRONG[override]}\n")
    assert list(tmp_path.iterdir()) == [small]


TWO = {
    # What is wrong only together with another setting.
    ("algorithm = { kind = 'cendbt' }", "attacks = [{ kind = 'zero', workers = [0] }]"): "attacks.0: 'zero' "
    "attacks what workers send, but under 'cendbt' they send nothing",
    ("algorithm = { kind = 'cendbt' }", "attacks = [{ kind = 'rushing', workers = [0] }]"): "attacks.0: "
    "'rushing' attacks what workers send, but under 'cendbt' they send nothing",
    ("algorithm.cuts = false", OUTER + "'dp_rsa', step = 0.1 } }", "algorithm.robust.psi = 0.1"): ""
    "algorithm.robust.project_messages: found true, expected false: 'dp_rsa' sends signs, which are no "
    "distributions",
    (
        "algorithm.cuts.participation = 'active'",
        "algorithm.aggregation = { inner = { kind = 'median', f = 1 } }",
    ): "algorithm.aggregation.inner: 'median' needs at least 3 rows in a step, got 2",
    ("algorithm = { kind = 'fedbdpl', participants = 2 }", OUTER + "'median', f = 1 } }"): ""
    "algorithm.aggregation.outer: 'median' needs at least 3 rows in a step, got 2",
    (
        "algorithm = { kind = 'fedbdpl' }",
        OUTER + "'median' }, rows = 'held' }",
    ): "algorithm.aggregation.rows: unknown key (known: outer, before, outer_rate, filter)",
}


@pytest.mark.parametrize("overrides", TWO)
def test_settings_that_do_not_go_together_are_one_sentence(command, small, tmp_path, overrides):
    words = [word for override in overrides for word in ("--set", override)]
    answer = command("run", small, *words)
    assert answer == (2, "", f"fedsim: {small}: {TWO[overrides]}\n")
    assert list(tmp_path.iterdir()) == [small]


RIGHT = [
    (OUTER + "'trimmed_mean', f = 1 }, inner = { kind = 'median', f = 1 } }",),
    (OUTER + "'median', f = 1 }, rows = 'active', filter = { kind = 'basgd', buffers = 3 } }",),
    ("algorithm.cuts = false", OUTER + "'dp_rsa', step = 0.1 }, rows = 'active' }",
     "algorithm.robust.project_messages = false"),
    # A rule that is never applied asks for no rows.
    ("problem = { kind = 'icl', task = { kind = 'calibrated', name = 'sst2' }, use_fragment = false }",
     "algorithm = { unset = ['cuts'] }", "budget = { server_steps = 1 }"),
    ("attacks = [{ kind = 'zero', workers = [0] }, { kind = 'zero', fraction = 0.0 }]",),
    ("attacks = [{ kind = 'honest', fraction = 1.0 }]",),
]  # fmt: skip


@pytest.mark.parametrize("overrides", RIGHT)
def test_what_can_be_satisfied_is_taken(command, small, overrides):
    words = [word for override in overrides for word in ("--set", override)]
    assert command("run", small, *words).code == 0


KINDS = {
    "attacks = [{ kind = 'sign_flp', workers = [0] }]": "attacks.0: unknown kind 'sign_flp'; did you mean "
    "'sign_flip'? (known: ",
    "attacks = [{ kind = 'rushin', workers = [0] }]": "attacks.0: unknown kind 'rushin'; did you mean "
    "'rushing'? (known: ",
    OUTER
    + "'medain' } }": "algorithm.aggregation.outer: unknown kind 'medain'; did you mean 'median'? (known: ",
    "algorithm.aggregation = { inner = { kind = 'trimed_mean' } }": "algorithm.aggregation.inner: unknown "
    "kind 'trimed_mean'; did you mean 'trimmed_mean'? (known: ",
    OUTER + "'mean' }, before = [{ kind = 'buckting' }] }": "algorithm.aggregation.before.0: unknown kind "
    "'buckting'; did you mean 'bucketing'? (known: ",
    OUTER
    + "'mean' }, filter = { kind = 'kardan' } }": "algorithm.aggregation.filter: unknown kind 'kardan'; "
    "did you mean 'kardam'? (known: ",
    "attacks = [{ kind = 'zero', worker = [0] }]": "attacks.0.worker: unknown key; did you mean 'workers'?",
    OUTER + "'krum', ff = 1 } }": "algorithm.aggregation.outer.ff: unknown key; did you mean 'f'?",
    OUTER + "'mean' }, before = [{ kind = 'bucketing', sise = 2 }] }": "algorithm.aggregation.before.0.sise: "
    "unknown key; did you mean 'size'?",
    OUTER + "'mean' }, filter = { kind = 'kardam', decai = 1 } }": "algorithm.aggregation.filter.decai: "
    "unknown key; did you mean 'decay'?",
}


@pytest.mark.parametrize("override", KINDS)
def test_the_nearest_known_name_is_offered(command, small, override):
    code, out, err = command("check", small, "--set", override)
    assert (code, out) == (2, "")
    assert err.startswith(f"fedsim: {small}: {KINDS[override]}")
    assert err.count("\n") == 1


def test_messages_are_not_attacked_where_nothing_tunes_p(command, small):
    text = small.read_text().replace(
        'kind = "quadratic"\ndimension = 3', 'kind = "icl"\nuse_fragment = false'
    )
    text = text.replace("[algorithm.cuts]\nevery = 4\nrounds = 2\n", "")
    small.write_text(text + "[problem.task]\nkind = 'calibrated'\nname = 'sst2'\n")
    assert command("check", small).code == 0
    answer = command("check", small, "--set", "attacks = [{ kind = 'zero', workers = [0] }]")
    sentence = "attacks.0: 'zero' attacks the p that workers send, but here nothing tunes p"
    assert answer == (2, "", f"fedsim: {small}: {sentence}\n")
    # Nor is there anything to combine.
    answer = command("check", small, "--set", OUTER + "'median' } }")
    sentence = "algorithm.aggregation: has no effect: the problem tunes no words, which these are about"
    assert answer.err.startswith(f"fedsim: {small}: {sentence}; leave it out")


def test_fallbacks_are_in_the_tables_and_in_what_the_command_line_says(command, small):
    """Worker 2 never answers and is evicted: two rows are too few from then on."""
    overrides = (
        OUTER + "'median', f = 1 } }", "algorithm.cuts = false", "algorithm.tau = 2",
        "server.evict_after_s = 5.0",
        "workers = [{ count = 2 }, { count = 1, compute = { kind = 'constant', value_s = 1000.0 } }]",
    )  # fmt: skip
    words = [word for override in overrides for word in ("--set", override)]
    answer = command("run", small, *words)
    assert answer.code == 0
    # The first step may leave the silent worker out; then the bound on staleness makes the server wait.
    said = "small, seed 0: 11 times a rule had too few rows and z stayed (fallbacks in steps.parquet)"
    assert said in answer.out.splitlines()
    (file,) = small.parent.glob("results/*/*/steps.parquet")
    assert pd.read_parquet(file).fallbacks.tolist() == [0, *range(12)]
    assert "fallbacks" not in command("run", small).out


PARAMETERS = {
    "base_alignment": 0.5, "demo_step": 0.3, "label_bias": 0.8, "word_gain": 0.7, "word_noise": 0.4,
    "demo_noise": 0.5,
}  # fmt: skip
TASK = {"n_words": 4, "n_candidates": 6, "n_demonstrations": 5, "train_per_class": 3, "test_counts": [4, 4]}
ASYNDBT = {"kind": "asyndbt", "wait_for": 4, "tau": 5}
RULES = {"outer": {"kind": "trimmed_mean", "f": 1}, "inner": {"kind": "median"}}


def ten(algorithm=ASYNDBT, attacks=(), **rules):
    """Return a scenario of ten workers on a sampled problem."""
    return parse(
        {
            "name": "ten",
            "algorithm": {
                **algorithm,
                "optimizer": {"kind": "adam", "learning_rate": 0.05},
                "z_rate": 0.05,
                "cuts": {"every": 4, "rounds": 2},
                **rules,
            },
            "problem": {
                "kind": "icl",
                "task": {"kind": "synthetic", "parameters": PARAMETERS} | TASK,
                "n_samples": 4,
                "batch": 5,
            },
            "workers": [{"count": 10, "upload": {"kind": "lognormal", "median_s": 0.03, "sigma": 1.0}}],
            "llm": {"kind": "independent", "latency": {"kind": "exponential", "mean_s": 0.1}},
            "budget": {"server_steps": 12},
            "evaluation": {"every_steps": 3},
            "attacks": list(attacks),
        }
    )


@pytest.mark.parametrize("fraction", [0.2, 1.0])
@pytest.mark.parametrize(
    "rules",
    [{}, {"robust": {"psi": 0.1}}, {"aggregation": RULES}, {"aggregation": {**RULES, "rows": "active"}}],
    ids=["sums", "robust", "rules", "rules of active rows"],
)
@pytest.mark.parametrize("algorithm", [ASYNDBT, {"kind": "sdbt"}], ids=["asyndbt", "sdbt"])
def test_with_an_attack_switched_to_honest_the_run_is_the_clean_one(algorithm, rules, fraction):
    clean = simulation.run(ten(algorithm, **rules))
    honest = simulation.run(ten(algorithm, [{"kind": "honest", "fraction": fraction}], **rules))
    pd.testing.assert_frame_equal(honest.steps, clean.steps, check_exact=True)
    pd.testing.assert_frame_equal(honest.workers, clean.workers, check_exact=True)
    assert clean.steps.loss.nunique() > 3


@pytest.fixture
def first_messages(monkeypatch):
    """Run a scenario for a step; return what the server then holds of each worker."""
    tuners = []
    original = Distributed.open

    def watched(*arguments):
        tuners.append(original(*arguments))
        return tuners[-1]

    monkeypatch.setattr(Distributed, "open", watched)

    def run(scenario):
        budget = scenario.budget.model_copy(update={"server_steps": 1})
        simulation.run(scenario.model_copy(update={"budget": budget}))
        return tuners[-1].received

    return run


@pytest.mark.parametrize("kind", ["gaussian", "random_simplex", "sign_flip", "worst_word"])
def test_attack_draws_disturb_no_other_draw(kind, first_messages):
    """An attack on worker 9 leaves the first messages of the others and every moment of the run alone."""
    attacks = [{"kind": kind, "workers": [9]}]
    clean, attacked = (first_messages(ten({"kind": "sdbt"}, given)) for given in ((), attacks))
    assert torch.equal(clean[:9], attacked[:9])
    assert not torch.equal(clean[9], attacked[9])
    clean, attacked = (simulation.run(ten(ASYNDBT, given)).steps for given in ((), attacks))
    timing = list(clean.columns[: list(clean.columns).index("bytes_down") + 1])
    pd.testing.assert_frame_equal(clean[timing], attacked[timing], check_exact=True)
    assert attacked.malicious_updates.iloc[-1] > 0
    assert not clean.malicious_updates.any()

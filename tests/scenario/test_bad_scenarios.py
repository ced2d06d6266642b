"""Every mistake in a scenario: one sentence with file, place, value and remedy; exit 2; nothing written."""

from __future__ import annotations

import shutil

import pytest

from fedsim.algorithms import ALGORITHMS

# An override of the small scenario, and what must be said of it after "fedsim: FILE: ".
WRONG = {
    "algorithm.cut = {}": "algorithm.cut: unknown key; did you mean 'cuts'?",
    "budget.epoch = 3": "budget.epoch: unknown key; did you mean 'epochs'?",
    "workers = [{ count = 1, lane = 2 }]": "workers.0.lane: unknown key; did you mean 'lanes'?",
    "llm.latency.valeu_s = 1": "llm.latency.valeu_s: unknown key; did you mean 'value_s'?",
    "llm.latency = { kind = 'exponential', men_s = 1 }": "llm.latency.men_s: unknown key; did you mean "
    "'mean_s'?",
    "llm.latency.qqq = 1": "llm.latency.qqq: unknown key (known: kind, value_s)",
    "algorithm.robust = { psy = 1 }": "algorithm.robust.psy: unknown key; did you mean 'psi'?",
    "algorithm.kind = 'asyndtb'": "algorithm: unknown kind 'asyndtb'; did you mean 'asyndbt'? "
    f"(known: {', '.join(ALGORITHMS.builtin)})",
    "workers = [{ count = 1, compute = { value_s = 1 } }]": "workers.0.compute: expected a table with kind = "
    '"..." (known: constant, uniform, exponential, shifted_exponential, lognormal, gamma, weibull, pareto, '
    "mixture, empirical)",
    "algorithm = 3": 'algorithm: expected a table with kind = "..." '
    f"(known: {', '.join(ALGORITHMS.builtin)})",
    "llm.latency.value_s = -1": "llm.latency.value_s: found -1, expected at least 0",
    "llm.latency.value_s = nan": "llm.latency.value_s: found nan, expected a finite number",
    "llm.latency.value_s = inf": "llm.latency.value_s: found inf, expected a finite number",
    "llm.latency.value_s = '3'": "llm.latency.value_s: found '3', expected a number",
    "llm.latency.value_s = true": "llm.latency.value_s: found true, expected a number",
    "algorithm.wait_for = 4": "algorithm.wait_for: found 4, expected at most 3, the number of workers",
    "algorithm.adapt = { most = 4 }": "algorithm.adapt.most: found 4, expected at most 3, the number of "
    "workers",
    "algorithm.adapt = { least = 3 }": "algorithm.adapt.least: found 3, expected less than 3, the number of "
    "workers",
    "algorithm.adapt = { least = 2, most = 2 }": "algorithm.adapt.least: found 2, expected less than 2, "
    "algorithm.adapt.most",
    "algorithm.adapt = { most = 1, least = 0 }": "algorithm.adapt.least: found 0, expected at least 1",
    "algorithm = { wait_for = 3, adapt = { most = 2 } }": "algorithm.wait_for: found 3, expected 1 to 2, the "
    "bounds of algorithm.adapt",
    "algorithm.adapt.every = 3": "algorithm.adapt.every: unknown key; did you mean 'every_steps'?",
    "algorithm.wait_for = true": "algorithm.wait_for: found true, expected an integer",
    "algorithm.wait_for = 2.0": "algorithm.wait_for: found 2.0, expected an integer",
    "algorithm.tau = 0": "algorithm.tau: found 0, expected at least 1",
    "workers = []": "workers: expected at least one group, as in [[workers]]",
    "workers = { count = 3 }": "workers: found a table, expected a list",
    "workers.0.count = 0": "workers.0.count: found 0, expected at least 1",
    "workers.0.transient = { probability = 1.5, factor = 2 }": "workers.0.transient.probability: found 1.5, "
    "expected at most 1",
    "workers.0.transient.probability = 0.5": "workers.0.transient.factor: missing; this key is required",
    "problem = { unset = true, kind = 'icl', task = { kind = 'calibrated', name = 'sst2' }, "
    "dirichlet_alpha = 0 }": "problem.dirichlet_alpha: found 0, expected more than 0",
    "problem.coupling = 1.0": "problem.coupling: found 1.0, expected less than 1",
    "llm.latency = { kind = 'empirical', samples_s = [] }": "llm.latency.samples_s: an empirical delay needs "
    "at least one sample",
    "llm.latency = { kind = 'empirical', samples_s = [1.0, -2.0] }": "llm.latency.samples_s.1: found -2.0, "
    "expected at least 0",
    "llm.latency = { kind = 'empirical', file = 'no.csv', column = 'x' }": "llm.latency: cannot read no.csv: "
    "No such file or directory",
    "llm.latency = { kind = 'mixture', components = [{ weight = 1, delay = { kind = 'constat' } }] }": ""
    "llm.latency.components.0.delay: unknown kind 'constat'; did you mean 'constant'? (known: constant, "
    "uniform, exponential, shifted_exponential, lognormal, gamma, weibull, pareto, mixture, empirical)",
    "algorithm.cuts = true": "algorithm.cuts: found true, expected a table or false",
    "algorithm.cuts = [1, 2]": "algorithm.cuts: found [1, 2], expected a table or false",
    "seed = -1": "seed: found -1, expected at least 0",
    "name = 'a b'": "name: found 'a b', expected letters, digits, '.', '_' and '-', "
    "the first a letter or digit",
    "name = 3": "name: found 3, expected a text in quotes",
    "record.spans = 1": "record.spans: found 1, expected true or false",
    "algorithm.polyhedron.norm = 'l2'": "algorithm.polyhedron.norm: found 'l2', expected 'l1' or "
    "'squared_l2'",
    "algorithm.polyhedron.norm = ['a long list of words', 'that would fill the screen', 'and more']": ""
    "algorithm.polyhedron.norm: found ['a long list of words', 'that would ..., expected 'l1' or "
    "'squared_l2'",
    "budget = 3": "budget: found 3, expected a table",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_setting_is_one_sentence(command, small, tmp_path, override):
    answer = command("run", small, "--set", override)
    assert answer == (2, "", f"fedsim: {small}: {WRONG[override]}\n")
    assert list(tmp_path.iterdir()) == [small]
    assert command("check", small, "--set", override).code == 2


def test_each_of_two_mistakes_has_its_sentence(command, small):
    answer = command("check", small, "--set", "seed=-1", "--set", "algorithm.tau=0")
    assert answer.err.splitlines() == [
        f"fedsim: {small}: seed: found -1, expected at least 0",
        f"fedsim: {small}: algorithm.tau: found 0, expected at least 1",
    ]


def test_a_budget_without_an_end(command, small):
    small.write_text(small.read_text().replace("server_steps = 12", ""))
    sentence = "budget: expected at least one of epochs, server_steps, worker_updates, horizon_s"
    assert command("check", small).err == f"fedsim: {small}: {sentence}\n"


def test_a_missing_table(command, small):
    text = small.read_text()
    small.write_text(text[: text.index("[[workers]]")] + text[text.index("[llm]") :])
    assert command("check", small).err == f"fedsim: {small}: workers: missing; this key is required\n"


BAD_OVERRIDES = {
    "seed": "--set 'seed': expected dotted.key=value",
    "cuts={ every = 3": "--set 'cuts={ every = 3': not a value of TOML",
    "=3": "--set '=3': expected dotted.key=value",
    "a..b=3": "--set 'a..b=3': expected dotted.key=value",
    "workers.3.count=1": "--set 'workers.3.count=1': expected a place from 0 to 0 in the list, got '3'",
    "workers.count=1": "--set 'workers.count=1': expected a place from 0 to 0 in the list, got 'count'",
}


@pytest.mark.parametrize("override", BAD_OVERRIDES)
def test_a_bad_override(command, small, override):
    assert command("check", small, "--set", override) == (2, "", f"fedsim: {BAD_OVERRIDES[override]}\n")


def test_a_missing_file_and_a_folder(command, tmp_path):
    assert command("run", "no.toml") == (2, "", "fedsim: no.toml: no such file\n")
    assert command("run", tmp_path) == (2, "", f"fedsim: {tmp_path}: a folder, expected a scenario file\n")


def test_broken_files(command, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("seed = = 3")
    assert command("check", file) == (
        2,
        "",
        f"fedsim: {file}: not valid TOML: Invalid value (at line 1, column 8)\n",
    )
    file.write_bytes(b"name = '\xff'")
    sentence = (
        "not a text in UTF-8, because of the byte 0xff; expected UTF-8 (most editors can save a text in it)"
    )
    assert command("check", file) == (2, "", f"fedsim: {file}, line 1: {sentence}\n")
    file.write_text("variants = 3")
    assert command("check", file).err == f"fedsim: {file}: variants: expected tables, as in [variants.NAME]\n"
    file.write_text("extends = 3")
    sentence = "extends: found 3, expected the path of a scenario file"
    assert command("check", file).err == f"fedsim: {file}: {sentence}\n"


def test_extending_what_is_not_there_or_oneself(command, tmp_path):
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text('extends = "third.toml"')
    assert (
        command("check", first).err == f"fedsim: {first}: extends: {tmp_path / 'third.toml'}: no such file\n"
    )
    first.write_text('extends = "second.toml"')
    second.write_text('extends = "first.toml"')
    sentence = "extends: 'first.toml' leads back to a file that extends this one"
    assert command("check", first) == (2, "", f"fedsim: {second}: {sentence}\n")
    first.write_text('extends = "first.toml"')
    assert command("check", first) == (2, "", f"fedsim: {first}: {sentence}\n")


def test_an_unknown_variant(command, small):
    small.write_text(small.read_text() + "[variants.quick.budget]\nserver_steps = 2\n")
    sentence = "no variant 'quik'; did you mean 'quick'? (variants: quick)"
    assert command("run", small, "--only", "quik") == (2, "", f"fedsim: {small}: {sentence}\n")


def test_one_bad_file_among_many_stops_all(command, small, tmp_path):
    other = tmp_path / "other.toml"
    shutil.copy(small, other)
    other.write_text("seed = -1\n" + other.read_text())
    assert command("run", small, other).code == 2
    assert not (tmp_path / "results").exists()


USAGE = {
    (): None,
    ("rnu",): "no such command 'rnu'",
    ("run",): "missing argument 'files'",
    ("run", "--sed", "3"): "no such option: --sed",
    ("run", "a.toml", "--jobs"): "option '--jobs' requires an argument",
    ("run", "a.toml", "--seed", "-1"): "invalid value for '--seed'",
    ("run", "a.toml", "--replicates", "0"): "invalid value for '--replicates'",
    ("verify",): "missing argument 'runs'",
    ("list", "delay"): "no family 'delay'; did you mean 'delays'?",
}


@pytest.mark.parametrize("words", USAGE)
def test_wrong_use_is_one_sentence(command, words):
    answer = command(*words)
    if USAGE[words] is None:
        assert answer.code == 0
        assert "Usage" in answer.out
    else:
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith(f"fedsim: {USAGE[words]}")
        assert answer.err.count("\n") == 1


def test_debug_shows_where_it_happened(command):
    with pytest.raises(Exception, match="no such file"):
        command("check", "no.toml", "--debug")


@pytest.mark.parametrize("version", ["0.12.5", "0.26.8"])
def test_a_typer_that_is_too_old_is_named(command, small, monkeypatch, version):
    monkeypatch.setattr("typer.__version__", version)
    sentence = f"typer {version} is installed, expected 0.27 or newer: pip install -U typer"
    assert command("check", small) == (2, "", f"fedsim: {sentence}\n")

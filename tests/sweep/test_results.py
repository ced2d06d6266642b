"""Run folders: whole or absent; damage is named; tidy tables come back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from sealing import seal

import fedsim
from fedsim import results, simulation, sweep
from fedsim.errors import InputError
from fedsim.results import loading
from fedsim.scenario import load_scenario


@pytest.fixture
def folder(small, tmp_path) -> Path:
    """A finished run."""
    return sweep.run_one(load_scenario(small), tmp_path / "results").folder


def spoil_json(folder: Path, name: str, **changes: object) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))


def spoil(folder: Path, name: str, content: bytes) -> None:
    """Write something else of the same size: only who reads it can tell."""
    size = (folder / name).stat().st_size
    (folder / name).write_bytes(content + b" " * (size - len(content)))


DAMAGE = {
    "truncated table": (
        lambda folder: (folder / "steps.parquet").write_bytes((folder / "steps.parquet").read_bytes()[:500]),
        "runs",
        "{folder}: damaged: steps.parquet has 500 bytes, expected ",
    ),
    "empty table": (
        lambda folder: (folder / "workers.parquet").write_bytes(b""),
        "workers",
        "{folder}: damaged: workers.parquet has 0 bytes, expected ",
    ),
    "truncated summary": (
        lambda folder: (folder / "summary.json").write_text('{"scenario": '),
        "runs",
        "{folder}: damaged: summary.json has 13 bytes, expected ",
    ),
    "truncated scenario": (
        lambda folder: (folder / "scenario.toml").write_text("= 3"),
        "runs",
        "{folder}: damaged: scenario.toml has 3 bytes, expected ",
    ),
    "broken summary": (
        lambda folder: spoil(folder, "summary.json", b'{"scenario": '),
        "runs",
        "{folder}: damaged: summary.json is not what was written",
    ),
    "summary of another shape": (
        lambda folder: (spoil(folder, "summary.json", b"[3]"), seal(folder)),
        "runs",
        "{folder}/summary.json: damaged: not a JSON object",
    ),
    "summary without its numbers": (
        lambda folder: (spoil(folder, "summary.json", b"{}"), seal(folder)),
        "runs",
        "{folder}/summary.json: damaged: no 'scenario'",
    ),
    "broken provenance": (
        lambda folder: (folder / "provenance.json").write_text("\x00"),
        "runs",
        "{folder}/provenance.json: damaged: Expecting value",
    ),
    "provenance without sizes": (
        lambda folder: seal(folder, settings=None),
        "runs",
        "{folder}/provenance.json: damaged: no files, no settings or no run in it; run the scenario again",
    ),
    "older format": (
        lambda folder: spoil_json(folder, "provenance.json", format=1),
        "runs",
        "{folder}: results of format 1, expected 2; run the scenario again",
    ),
} | {
    f"{name} missing": (
        lambda folder, name=name: (folder / name).unlink(),
        "runs",
        f"{{folder}}: damaged: {name} is missing",
    )
    for name in results.FILES
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence_and_mended_by_running_again(damage, folder, small, command):
    do_damage, table, sentence = DAMAGE[damage]
    whole = {name: (folder / name).read_bytes() for name in results.FILES if name != "provenance.json"}
    do_damage(folder)
    with pytest.raises(InputError) as error:
        fedsim.load_results(folder.parent.parent, table)
    assert str(error.value).startswith(sentence.format(folder=folder))
    assert len(str(error.value).splitlines()) == 1
    answer = command("verify", folder)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedsim: {folder}")
    assert answer.err.count("\n") == 1
    outcome = sweep.run_one(load_scenario(small), folder.parent.parent)
    assert not outcome.reused
    assert list(folder.parent.iterdir()) == [folder]
    assert {name: (folder / name).read_bytes() for name in whole} == whole


def test_no_results(command, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such results folder"):
        fedsim.load_results(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no finished run in this folder"):
        fedsim.load_results(tmp_path)
    for words in (("verify", tmp_path), ("figure", "figure1", tmp_path), ("table", "figure1", tmp_path)):
        answer = command(*words)
        assert answer == (2, "", f"fedsim: {tmp_path}: no finished run in this folder\n")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_table(folder):
    with pytest.raises(InputError, match=r"no table 'step'; did you mean 'steps'\? \(tables: runs, steps"):
        fedsim.load_results(folder, "step")


def test_a_half_written_folder_is_no_result(folder):
    shutil.copytree(folder, results.partial_of(folder))
    assert results.find_runs(folder.parent) == [folder]
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="no finished run"):
        results.find_runs(folder.parent)


def test_a_file_in_the_way_of_the_results(command, small, tmp_path):
    (tmp_path / "blocked").write_text("mine")
    answer = command("run", small, "--out", "blocked")
    assert answer.code == 2
    assert answer.err.startswith("fedsim: cannot write results to blocked/small/")
    assert answer.err.endswith("/blocked is a file\n")
    assert (tmp_path / "blocked").read_text() == "mine"


def test_an_unwritable_place_is_found_before_the_run(command, small, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)
    monkeypatch.setattr(sweep, "done", lambda *words, **more: pytest.fail("it ran"))
    answer = command("run", small, "--out", tmp_path / "new")
    assert answer.code == 2
    assert answer.err.endswith(f": {tmp_path} is not writable\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("failing", ["rename", "write_bytes"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing(small, tmp_path, monkeypatch, failing, error):
    def fail(*words, **more):
        raise error

    run = simulation.run(load_scenario(small))
    monkeypatch.setattr(Path, failing, fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        results.write(run, tmp_path / "out", 0.0)
    if isinstance(error, OSError):
        assert str(caught.value).endswith(": No space left on device")
    assert [path for path in (tmp_path / "out").rglob("*") if path.name != "small"] == []


def test_a_folder_of_a_run_that_is_a_file(small, tmp_path, command):
    place = results.folder_of(load_scenario(small), tmp_path / "results")
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    answer = command("run", small)
    assert answer.code == 2
    assert answer.err.startswith("fedsim: cannot write results to results/small/")
    assert place.read_text() == "mine"
    assert list(place.parent.iterdir()) == [place]


def test_what_a_folder_says_of_its_origin(folder):
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["format"] == results.FORMAT
    assert provenance["versions"]["fedsim-icl"] == fedsim.__version__
    assert provenance["seed"] == 0
    assert provenance["duration_s"] >= 0


def test_one_tidy_table(small, tmp_path):
    out = tmp_path / "results"
    overrides = (
        ["seed=3"],
        [],
        ["algorithm.cuts=false"],
        ["llm.latency.value_s=2"],
        ["llm.latency={kind='exponential', mean_s=1}"],
    )
    for changed in overrides:
        sweep.run_one(load_scenario(small, overrides=changed), out)
    runs = fedsim.load_results(out)
    assert len(runs) == 5
    # By the settings, in their order in a scenario, and then the seed; what a run does not have comes first.
    order = (
        runs[["algorithm.cuts", "llm.latency.kind", "llm.latency.value_s", "seed"]].astype(object).fillna("")
    )
    assert order.to_numpy().tolist() == [
        [False, "constant", 0.5, 0],  # the only one without `algorithm.cuts.every`
        ["", "constant", 0.5, 0],
        ["", "constant", 0.5, 3],
        ["", "constant", 2.0, 0],
        ["", "exponential", "", 0],
    ]
    assert not runs.columns.duplicated().any()
    varied = {
        "algorithm.cuts",
        "algorithm.cuts.every",
        "algorithm.cuts.rounds",
        "algorithm.cuts.participation",
    }
    varied |= {"llm.latency.kind", "llm.latency.value_s", "llm.latency.mean_s"}
    assert varied <= set(runs.columns)
    assert not {"budget.server_steps", "workers.0.count", "name"} & set(runs.columns)
    assert sorted(runs["llm.latency.value_s"].dropna()) == [0.5, 0.5, 0.5, 2.0]
    assert list(runs["algorithm.cuts"].dropna()) == [False]
    one = runs.set_index("run_id").loc[results.run_id(load_scenario(small))]
    assert one.seconds_calling == pytest.approx(
        one.simulated_time_s
        - sum(
            one[f"seconds_{other}"]
            for other in ("computing", "uploading", "downloading", "waiting", "cutting", "down")
        )
    )
    steps = fedsim.load_results(out, "steps")
    assert len(steps) == 5 * 13
    assert list(steps.columns[:4]) == ["scenario", "variant", "seed", "run_id"]
    assert len(fedsim.load_results(out, "workers")) == 5 * 3
    assert fedsim.load_results(out, "spans").empty


def test_a_timing_only_run_does_not_stand_among_the_others(small, tmp_path):
    scenario = load_scenario(small)
    sweep.run_one(scenario, tmp_path, timing_only=True)
    alone = fedsim.load_results(tmp_path)
    assert len(alone) == 1
    assert alone.loss.isna().all()
    sweep.run_one(scenario, tmp_path)
    assert fedsim.load_results(tmp_path).loss.notna().all()
    assert len(fedsim.load_results(tmp_path / "timing-only")) == 1
    assert len(results.find_runs(tmp_path)) == 2


def test_a_mixture_is_said(small, tmp_path, command):
    for seed in (0, 1):
        command("run", small, "--seed", seed, "--out", tmp_path / "r")
    first, second = results.find_runs(tmp_path / "r")
    words = ("figure", "idle", tmp_path / "r", "-o", "i")
    assert command(*words).err == ""
    command("run", small, "--out", tmp_path / "r", "--timing-only")
    assert (
        command(*words).err
        == "fedsim: left out: 1 run of the clock alone (--timing-only), beside 2 with learning\n"
    )
    seal(second, code="another")
    assert "fedsim: these runs were made by 2 codes of fedsim" in command(*words).err
    assert not [name for name in fedsim.load_results(tmp_path / "r") if name.startswith("versions.")]
    versions = json.loads((first / "provenance.json").read_text())["versions"]
    seal(second, versions=versions | {"fedsim-icl": "0.0"})
    assert set(fedsim.load_results(tmp_path / "r")["versions.fedsim"]) == {versions["fedsim-icl"], "0.0"}
    said = command("figure", "curves", tmp_path / "r", "-o", "c")
    assert said.code == 2
    assert "there are 2 runs, which differ in versions.fedsim; a mean over seeds needs" in said.err


def test_a_setting_that_varies_among_folders_alone_is_seen(small, tmp_path, command):
    for seed in (0, 1):
        out, setting = tmp_path / f"r{seed}", f"workers.0.slow_down={1 + seed}"
        command("run", small, "--seed", seed, "--out", out, "--set", setting)
    both = fedsim.load_results([tmp_path / "r0", tmp_path / "r1"])
    assert list(both["workers.0.slow_down"]) == [1, 2]
    said = command("table", "figure1", tmp_path / "r0", tmp_path / "r1")
    assert said.code == 2
    assert "there are 2 runs, which differ in workers.0.slow_down; a mean over seeds needs" in said.err


def test_the_tables_say_what_happened(small):
    run = simulation.run(load_scenario(small))
    steps, workers, summary = run.steps, run.workers, run.summary
    assert list(steps.step) == list(range(13))
    assert list(steps.step[steps.loss.notna()]) == [0, 3, 6, 9, 12]
    assert list(steps.columns[:9]) == [
        *("step", "time_s", "active", "staleness_mean", "staleness_max", "worker_updates", "drained"),
        *("cut_updates", "llm_calls"),
    ]
    assert {"tokens_in", "tokens_out", "cost", "bytes_up", "bytes_down", "loss", "accuracy"} <= set(
        steps.columns
    )
    assert summary["staleness_mean"] == pytest.approx(
        (steps.staleness_mean * steps.active).sum() / steps.active.sum()
    )
    assert list(workers.group) == ["workers"] * 3
    # Every worker finishes its jobs; those in flight at the end have made no counted call.
    assert summary["llm_calls"] <= workers.jobs.sum() <= summary["llm_calls"] + 3
    assert summary["seconds_by_activity"]["computing"] == pytest.approx(workers.seconds_computing.mean())
    assert np.isclose(sum(summary["server_seconds_by_activity"].values()), summary["simulated_time_s"])


def test_prices_become_cost(small):
    prices = ["llm.price_per_million_tokens_in=2", "llm.price_per_million_tokens_out=8"]
    problem = (
        "problem={ kind = 'icl', n_samples = 2, task = { kind = 'calibrated', name = 'sst2', n_words = 5 } }"
    )
    summary = simulation.run(load_scenario(small, overrides=[*prices, problem]), timing_only=True).summary
    # 2 samples of 20 queries; 3 texts per prompt, each 5 x 1.2394 + 46.841 tokens: 159.1, charged as 159.
    assert summary["tokens_in"] == summary["llm_calls"] * 159
    assert summary["tokens_out"] == summary["llm_calls"]
    assert summary["cost"] == pytest.approx(summary["llm_calls"] * (159 * 2e-6 + 8e-6))


def slow_table(out: Path, table: str) -> pd.DataFrame:
    """The plain twin of `load_results`: folder by folder, a frame each."""
    folders = results.find_runs(out)
    summaries = {folder: results.read_summary(folder) for folder in folders}
    of_runs = list(fedsim.load_results(out)["run_id"])  # whose order is held by hand in other tests
    folders.sort(key=lambda folder: of_runs.index(folder.name))
    parts = []
    for folder in folders:
        if (folder / f"{table}.parquet").exists():
            keys = {key: summaries[folder][key] for key in results.KEYS} | {"run_id": folder.name}
            part = results.read_table(folder, table)
            parts.append(part.assign(**keys)[[*keys, *part.columns]])
    return pd.concat(parts, ignore_index=True)


def slow_varied(out: Path) -> set[str]:
    """The plain twin of the choice of columns: from the scenario files, with pandas."""

    def flat(value: object, prefix: str = "") -> dict[str, object]:
        if isinstance(value, list) and any(isinstance(part, dict) for part in value):
            value = {str(place): part for place, part in enumerate(value)}
        if not isinstance(value, dict):
            return {prefix: value}
        return {
            key: leaf
            for name, part in value.items()
            for key, leaf in flat(part, f"{prefix}.{name}" if prefix else name).items()
        }

    files = [folder / "scenario.toml" for folder in results.find_runs(out)]
    settings = pd.DataFrame([flat(tomllib.loads(file.read_text())) for file in files])
    skip = {*results.KEYS, "name", "description"}
    return {
        key
        for key in settings
        if key not in skip and (key in results.ALWAYS or settings[key].astype(str).nunique(dropna=False) > 1)
    }


@pytest.fixture
def several(small, tmp_path) -> Path:
    """Runs of different shapes: with and without spans, accuracy, cuts; numbers of workers; a list."""
    task = (
        "task = { kind = 'calibrated', name = 'sst2', n_words = 4, n_candidates = 5, test_counts = [3, 4] }"
    )
    for overrides in (
        ["seed=3"],
        ["record.spans=true"],
        ["record.spans=true", "workers.0.count=5", "algorithm.cuts=false"],
        [f"problem={{ kind = 'icl', n_samples = 2, {task} }}"],
    ):
        sweep.run_one(load_scenario(small, overrides=overrides), tmp_path / "several")
    return tmp_path / "several"


@pytest.mark.parametrize("table", ["steps", "workers", "spans", "tickets"])
def test_tables_of_all_runs_are_those_of_each(several, table):
    quick, slow = fedsim.load_results(several, table), slow_table(several, table)
    assert list(quick.columns[:4]) == ["scenario", "variant", "seed", "run_id"]
    pd.testing.assert_frame_equal(quick[sorted(quick)], slow[sorted(slow)])


def test_columns_are_the_settings_that_vary(several):
    runs = fedsim.load_results(several)
    varied = slow_varied(several)
    assert {
        "problem.kind",
        "workers.0.count",
        "algorithm.cuts",
        "algorithm.cuts.every",
        "record.spans",
        "problem.n_samples",
    } < varied
    names = set(runs)
    assert varied <= names
    measured = {"run_id"}.union(*map(results.read_summary, results.find_runs(several)))
    assert not {name for name in names - varied - measured if not name.startswith("seconds_")}


def test_a_table_that_is_damaged_but_as_long_is_named(several):
    folder = results.find_runs(several)[1]
    spoil(folder, "steps.parquet", b"PAR1")
    assert len(fedsim.load_results(several)) == 4
    with pytest.raises(InputError) as error:
        fedsim.load_results(several, "steps")
    said = f"{folder}: damaged: steps.parquet is not what was written; run the scenario again"
    assert str(error.value) == said
    seal(folder)
    with pytest.raises(InputError) as error:
        fedsim.load_results(several, "steps")
    sentence = "damaged, or the installed pyarrow does not fit: not a table that can be read (ArrowInvalid: "
    assert str(error.value).startswith(f"{folder}/steps.parquet: {sentence}")
    assert str(error.value).endswith("; run the scenario again")


def test_tables_that_do_not_go_together_say_why(several):
    folder = results.find_runs(several)[1]
    table = pd.read_parquet(folder / "steps.parquet")
    table["loss"] = "high"
    table.to_parquet(folder / "steps.parquet", index=False)
    seal(folder)
    with pytest.raises(InputError, match=r"do not go together: .*(string|double)"):
        fedsim.load_results(several, "steps")


@pytest.mark.parametrize("broken", [TypeError("unexpected keyword argument"), AttributeError("no 'taste'")])
def test_a_fault_of_ours_is_no_fault_of_the_tables(several, monkeypatch, broken):
    def fail(files):
        raise broken

    monkeypatch.setattr(loading, "_read", fail)
    with pytest.raises(type(broken), match=str(broken)):
        fedsim.load_results(several, "steps")


def test_a_column_may_be_whole_numbers_here_and_not_there(tmp_path):
    for name, frame in (("a", {"x": [1, 2]}), ("b", {"x": [0.5, 3.0], "y": [7, 8]})):
        pd.DataFrame(frame).to_parquet(tmp_path / f"{name}.parquet", index=False)
    rows = loading._read([f"{tmp_path}/a.parquet", f"{tmp_path}/b.parquet"])
    assert list(rows.x) == [1.0, 2.0, 0.5, 3.0]
    assert list(rows.y[2:]) == [7, 8]


@pytest.mark.parametrize(
    ("values", "differ"),
    [([1, 1.0], False), ([True, 1], True), ([0, False], True), ([None, 0], True), ([[1], [1]], False)],
)
def test_when_a_setting_varies(values, differ):
    assert loading._differs(values) == differ


def test_a_run_under_another_address_is_no_finished_one(folder):
    moved = folder.rename(folder.with_name("0123456789ab"))
    assert not results.is_finished(moved)
    assert results.why_not_finished(moved) == f"holds the run '{folder.name}'"


def test_a_run_of_another_version_of_fedsim_is_no_finished_one(folder):
    versions = results.check_folder(folder)["versions"]
    seal(folder, versions=versions | {"fedsim-icl": "0.0.1"})
    assert results.why_not_finished(folder) == f"made by fedsim 0.0.1, this is {fedsim.__version__}"
    assert not results.is_finished(folder)
    assert len(fedsim.load_results(folder)) == 1


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        (None, "fedsim"),
        ("fedsim.__main__", "python -m fedsim"),
        ("fedsim_analysis.studies.speedup", "python -m fedsim_analysis.studies.speedup"),
    ],
)
def test_the_command_can_be_given_again(spec, shown, monkeypatch):
    main = ModuleType("__main__")
    main.__spec__ = spec and ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/fedsim", "run", "my file.toml", "--set", "a='b c'"])
    assert shlex.split(results.command_line()) == [*shown.split(), "run", "my file.toml", "--set", "a='b c'"]

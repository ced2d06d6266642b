"""What is read is what was written: links, copies, odd neighbours, changed bits, runs of the clock alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from sealing import seal

import fedsim
from fedsim import results, simulation, sweep, whole_files
from fedsim.errors import InputError, ResultsWarning
from fedsim.scenario import load_scenario

links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two runs; never changed."""
    from conftest import SMALL

    folder = tmp_path_factory.mktemp("made")
    (folder / "small.toml").write_text(SMALL)
    for seed in (0, 1):
        scenario = load_scenario(folder / "small.toml", overrides=[f"seed={seed}", "record.spans=true"])
        sweep.run_one(scenario, folder / "results")
    return folder / "results"


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of results."""
    return shutil.copytree(made, tmp_path / "results")


def run_words(seed: int = 0) -> list[object]:
    return ["run", "small.toml", "--set", "record.spans=true", "--seed", seed, "--out", "results"]


@links
@pytest.mark.parametrize("moved", ["scenario", "run", "root", "inner folder"])
def test_results_behind_a_link_are_read_by_all(moved, out, small, command, tmp_path):
    run = results.find_runs(out)[0]
    place = {"scenario": run.parent, "run": run, "root": out, "inner folder": out / "deep"}[moved]
    if moved == "inner folder":
        (out / "deep" / "er").mkdir(parents=True)
        (out / "small").rename(out / "deep" / "er" / "small")
    (tmp_path / "scratch").mkdir()
    place.rename(tmp_path / "scratch" / place.name)
    place.symlink_to(Path(os.path.relpath(tmp_path / "scratch", place.parent)) / place.name)
    assert len(fedsim.load_results(out)) == len(results.find_runs(out)) == 2
    answer = command("verify", "results")
    assert (answer.code, answer.err, answer.out.count(" invariants hold\n")) == (0, "", 2)
    if moved != "inner folder":
        assert command(*run_words()).out.count("(kept)") == 1
        assert command(*run_words(), "--again").code == 0
        assert place.is_symlink()
        assert len(results.find_runs(out)) == 2
    assert not list(tmp_path.rglob("*.partial"))


@links
def test_links_in_a_ring_and_to_nothing(out, command, tmp_path):
    runs = results.find_runs(out)
    (runs[0].parent / "up").symlink_to("..")
    (out / "latest").symlink_to(runs[0])  # sorted before the folder that it leads to
    (out / "self").symlink_to("self")
    (out / "gone").symlink_to("nowhere/at/all")
    with pytest.warns(ResultsWarning, match="where nothing is; left out") as told:
        assert results.find_runs(out) == runs
    assert [str(one.message).split(":")[0] for one in told] == [str(out / "gone"), str(out / "self")]
    answer = command("results", "results")
    assert (answer.code, answer.out.splitlines()[-1].split(",")[0]) == (0, "2 rows")
    note = "fedsim: note: results/gone: a link to nowhere/at/all, where nothing is; left out\n"
    assert answer.err == note + "fedsim: note: results/self: a link to self, where nothing is; left out\n"
    answer = command("results", "results/gone")
    assert answer == (2, "", "fedsim: results/gone: a link to nowhere/at/all, where nothing is\n")
    assert command("results", "x" * 300).err.endswith(": cannot be read: File name too long\n")


def test_a_copy_counts_once_and_is_told(out, command):
    first, second = results.find_runs(out)
    shutil.copytree(first.parent, out / "elsewhere")
    shutil.copytree(first, first.with_name("a copy"))
    with pytest.warns(ResultsWarning, match="the same run as") as told:
        assert len(fedsim.load_results(out)) == 2
    assert [str(one.message) for one in told] == [
        f"{first}: the same run as {out / 'elsewhere' / first.name}; it counts once",
        f"{second}: the same run as {out / 'elsewhere' / second.name}; it counts once",
        f"{first.with_name('a copy')}: the same run as {out / 'elsewhere' / first.name}; it counts once",
    ]
    for words in (("results",), ("trace",), ("verify",)):
        answer = command(*words, "results")
        assert answer.code == 0
        assert answer.err.count("it counts once\n") == 3
    assert command("results", "results", "--format", "csv").out.count("\n") == 3


def test_a_copy_with_other_numbers_and_one_alone(out):
    first, second = results.find_runs(out)
    mine = shutil.copytree(first, first.with_name("mine"))
    summary = json.loads((mine / "summary.json").read_text())
    (mine / "summary.json").write_text(json.dumps(summary | {"loss": 7.0}))
    seal(mine)
    with pytest.warns(ResultsWarning, match=f"the same run as {first}, but its numbers are others; it cou"):
        assert set(fedsim.load_results(out).run_id) == {first.name, second.name}
    shutil.rmtree(first)
    with pytest.warns(ResultsWarning, match=f"{mine}: holds the run {first.name}, by its name another"):
        runs = fedsim.load_results(out)
    assert set(runs.run_id) == {first.name, second.name}
    with pytest.warns(ResultsWarning):
        assert set(fedsim.load_results(out, "steps").run_id) == {first.name, second.name}


def test_many_copies_are_counted_and_not_listed(out):
    first = results.find_runs(out)[0]
    for number in range(8):
        shutil.copytree(first, out / f"copy {number}")
    with pytest.warns(ResultsWarning) as told:
        results.find_runs(out)
    assert [str(one.message) for one in told][5:] == ["... and 3 more of the kind"]


@pytest.mark.parametrize("name", ["x.failed.json", "mine.partial", "steps.parquet", "provenance.json"])
def test_odd_neighbours_disturb_nobody(name, out, command):
    for place in (out, out / "small"):
        (place / name).mkdir()
    (out / "stray").mkdir()
    for file in ("steps.parquet", "provenance.json", "x.failed.json"):
        (out / "stray" / file).write_text("mine")
    (out / "small" / "steps.parquet.partial").write_text("mine")
    assert len(fedsim.load_results(out)) == 2
    answer = command("report", "results")
    assert answer.code == 0
    assert answer.err.startswith("fedsim: note: results/stray/x.failed.json: damaged: ")
    assert answer.err.endswith("; left out\n")
    assert answer.err.count("\n") == 1
    results.clear_left_overs(out / "small")
    assert (out / "small" / name).is_dir() or name.startswith("x")
    assert (out / "small" / "steps.parquet.partial").read_text() == "mine"


def test_a_run_of_the_clock_alone_says_so_and_has_its_own_address(small, command, tmp_path):
    scenario = load_scenario(small)
    timed = sweep.run_one(scenario, tmp_path / "results", timing_only=True).folder
    full = sweep.run_one(scenario, tmp_path / "results").folder
    assert timed.parent.parent.name == "timing-only"
    assert timed.name == results.run_id(scenario, timing_only=True) != full.name
    for folder, what in ((timed, True), (full, False)):
        assert json.loads((folder / "summary.json").read_text())["timing_only"] is what
        assert json.loads((folder / "provenance.json").read_text())["timing_only"] is what
        assert ("# A run of the clock alone" in (folder / "scenario.toml").read_text()) is what
        assert list(fedsim.load_results(folder).timing_only) == [what]
    assert "(--timing-only)" in command("results", timed).out.splitlines()[-1]
    assert "timing-only" not in command("results", full).out
    # Wherever it lies, it is not taken for the run that learns, nor found in its place.
    shutil.move(timed, full.with_name(timed.name))
    assert list(fedsim.load_results("results").run_id) == [full.name]
    again = command("run", full.with_name(timed.name) / "scenario.toml")
    assert "(kept)" in again.out
    assert again.out.splitlines()[-1] == "results: results/small"
    tomllib.loads((full.with_name(timed.name) / "scenario.toml").read_text())
    run = simulation.run(scenario, timing_only=True)
    assert results.write(run, tmp_path / "by hand", 0.0).parent.parent.name == "timing-only"


def flipped(file: Path, place: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def test_one_changed_bit_anywhere_is_noticed(out, command):
    folder, other = results.find_runs(out)
    shutil.rmtree(other)
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        places = {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 75, len(whole) - 4, len(whole) - 1}
        for place in places if file.name != "provenance.json" else range(0, len(whole), 7):
            flipped(file, place, place % 8)
            try:
                assert not results.is_finished(folder), (file.name, place)
                if place in places:
                    answer = command("verify", folder)
                    assert (answer.code, answer.err.count("\n")) == (2, 1), (file.name, place)
            finally:
                file.write_bytes(whole)
    assert results.is_finished(folder)


def test_what_is_changed_is_run_again_and_not_shown(out, small, command):
    folder = results.find_runs(out)[0]
    summary = folder / "summary.json"
    summary.write_text(summary.read_text().replace('"n_workers": 3', '"n_workers": 8'))
    said = (
        f"results/small/{folder.name}: damaged: summary.json is not what was written; run the scenario again"
    )
    assert command("results", "results") == (2, "", f"fedsim: {said}\n")
    seed = json.loads(summary.read_text())["seed"]
    zeros = folder / "workers.parquet"
    zeros.write_bytes(bytes(zeros.stat().st_size))
    answer = command(*run_words(seed))
    assert answer.code == 0
    assert "(kept)" not in answer.out
    assert results.is_finished(folder)


def test_older_runs_without_digests_are_read_and_it_is_said(out, small, command):
    for folder in results.find_runs(out):
        origin = json.loads((folder / "provenance.json").read_text())
        for key in ("digests", "sha256", "timing_only"):
            del origin[key]
        (folder / "provenance.json").write_text(json.dumps(origin, indent=2) + "\n")
    assert len(fedsim.load_results(out)) == 2
    answer = command("verify", "results")
    assert answer.code == 0
    assert answer.out.count("invariants hold; it states no digests, so that changes cannot be seen\n") == 2
    assert "(kept)" in command(*run_words()).out


def test_files_are_on_the_disk_before_they_have_their_name(small, tmp_path, monkeypatch):
    done: list[str] = []
    rename, sync = Path.rename, whole_files.sync
    monkeypatch.setattr(results.writing, "sync", lambda path: (sync(path), done.append(path.name))[0])
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append("rename"), rename(self, to))[1])
    folder = sweep.run_one(load_scenario(small), tmp_path / "results", timing_only=True).folder
    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert set(before[:-1]) == {file.name for file in folder.iterdir()}
    assert before[-1].startswith(f"{folder.name}.")
    assert after == ["small"]


@links
@pytest.mark.parametrize("where", ["ring", "ring/in", "file", "file/in", "name" * 70, "full"])
def test_a_place_that_cannot_be_written_is_told_before_the_run(where, small, command, tmp_path, monkeypatch):
    (tmp_path / "ring").symlink_to("ring")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(sweep, "done", lambda *words, **more: pytest.fail("it ran"))
    if where == "full":
        monkeypatch.setattr(
            os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
    for words in (("run", small), ("run", small, "--replicates", 2), ("run", small, "--timing-only")):
        answer = command(*words, "--out", where)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert answer.err.startswith(f"fedsim: cannot write results to {where}/")
    assert {path.name for path in tmp_path.iterdir()} == {"ring", "file", "small.toml"}


@links
def test_a_link_to_where_nothing_is_yet(small, command, tmp_path):
    (tmp_path / "results").symlink_to("scratch/of/mine")
    assert command("run", small, "--timing-only").code == 0
    assert len(results.find_runs(tmp_path / "scratch" / "of" / "mine")) == 1
    assert (tmp_path / "results").is_symlink()


def test_two_at_once_both_end_well(small, tmp_path):
    run = simulation.run(load_scenario(small), timing_only=True)
    files = results.pack(run, 0.0, "")
    folder = results.folder_of(run.scenario, tmp_path, timing_only=True)
    with pytest.raises(InputError, match="cannot write results"):
        results.write_files(tmp_path / ("x" * 300), files, replace=True)
    for replace in (True, False):
        results.write_files(folder, files, replace=replace)
        assert results.is_finished(folder)
        assert list(folder.parent.iterdir()) == [folder]

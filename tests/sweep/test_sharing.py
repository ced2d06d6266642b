"""A study packed as one file and run again: equal, or what differs and by how much."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL
from endpoint_runs import SCENARIO, endpoint_scenario
from loopback_server import Loopback, chat
from text_cases import rows, write_jsonl

from fedsim.errors import ResultsError
from fedsim.results import digests, find_runs
from fedsim.scenario import load_scenario
from fedsim.sharing import repeating
from fedsim.sharing.data import data_of
from fedsim.sharing.repeating import repeat_study

SWEEP = '\n[sweep]\nreplicates = 2\n[sweep.grid]\n"algorithm.wait_for" = [1, 2]\n'

BASE = "0123456789ab"
"""A folder that looks like that of a run."""

Contents = dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of four runs over a file that extends another one, packed."""
    from fedsim.cli import main

    folder = tmp_path_factory.mktemp("made")
    (folder / BASE).mkdir()
    (folder / BASE / "scenario.toml").write_text(SMALL)
    (folder / "mine").mkdir()
    (folder / "mine" / "grid.toml").write_text(f'# why\nextends = "../{BASE}/scenario.toml"\n{SWEEP}')
    words = ["sweep", folder / "mine" / "grid.toml", "--jobs", 1, "--out", folder / "results"]
    assert main([str(word) for word in [*words, "--set", "seed=5"]]) == 0
    assert main(["pack", str(folder / "results"), "-o", str(folder / "study.zip")]) == 0
    return folder


def contents(study: Path) -> Contents:
    with zipfile.ZipFile(study) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(place: Path, files: Contents) -> Path:
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return place


def changed(files: Contents, name: str, change: Callable[[dict], None]) -> Contents:
    table = json.loads(files[name])
    change(table)
    return files | {name: json.dumps(table).encode()}


def test_a_sweep_s_folder_holds_its_file_and_what_it_extends(made):
    (sources,) = (made / "results" / "small").glob("*.sources")
    files = {one.relative_to(sources).as_posix() for one in sources.rglob("*") if one.is_file()}
    assert files == {"mine/grid.toml", f"{BASE}/scenario.toml", "sweep.json"}
    assert (sources / "mine" / "grid.toml").read_text() == (made / "mine" / "grid.toml").read_text()
    assert json.loads((sources / "sweep.json").read_text()) == {
        "file": "mine/grid.toml",
        "set": ["seed=5"],
        "only": [],
    }
    assert len(find_runs(made / "results")) == 4  # its files are no runs


def test_two_sweeps_in_one_folder_keep_their_files_apart(command, made, tmp_path):
    shutil.copytree(made / "results", tmp_path / "results")
    for seed in (5, 5, 6):
        assert command("sweep", made / "mine" / "grid.toml", "--jobs", 1, "--set", f"seed={seed}").code == 0
    hows = sorted((tmp_path / "results" / "small").glob("*.sources/sweep.json"))
    assert sorted(json.loads(how.read_text())["set"][0] for how in hows) == ["seed=5", "seed=6"]


def test_packed_and_repeated_elsewhere_it_is_equal(command, made, tmp_path):
    again = tmp_path / "again.zip"
    assert command("pack", made / "results", "-o", again).code == 0
    assert again.read_bytes() == (made / "study.zip").read_bytes()
    with zipfile.ZipFile(again) as archive:  # nothing in it tells the day
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    files = contents(again)
    assert (
        "sources/small/" + next((made / "results" / "small").glob("*.sources")).name + "/mine/grid.toml"
        in files
    )
    study = json.loads(files["study.json"])
    assert {"commit", "changed_since"} == set(study["commit"])
    answer = command("--safe", "repeat", again, "--jobs", 1)
    assert (answer.code, answer.out, answer.err) == (0, "4 runs: 4 equal, byte by byte\n", "")
    assert [one.name for one in tmp_path.iterdir()] == ["again.zip"]  # and nothing is kept


def test_what_differs_is_named_with_how_much(command, made, tmp_path):
    files = contents(made / "study.zip")
    study = json.loads(files["study.json"])
    first, second = study["runs"][:2]
    name = f"recorded/{first['run_id']}/summary.json"
    loss = json.loads(files[name])["loss"]
    files = changed(files, name, lambda table: table.update(loss=table["loss"] + 0.25))

    def change(table):
        table["runs"][1]["digests"]["steps.parquet"] = digests.digest(b"another byte")
        for run in table["runs"]:
            run["versions"]["numpy"] = "1.0"

    answer = command("repeat", packed(tmp_path / "s.zip", changed(files, "study.json", change)), "--jobs", 1)
    assert answer.code == 1
    assert answer.out.startswith("4 runs: 2 equal, byte by byte, 2 not equal\n")
    assert f"  small seed {second['seed']} ({second['run_id']}): steps.parquet\n" in answer.out
    told = f"  loss differs by up to 0.25: {loss + 0.25} before, {loss} now, in small seed {first['seed']}"
    assert told in answer.out
    assert "note: made with numpy 1.0, here is" in answer.err


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


@pytest.mark.parametrize(
    "add",
    [
        lambda archive: archive.writestr("../out.txt", b""),
        lambda archive: archive.writestr("/out.txt", b""),
        lambda archive: archive.writestr("a/../../out.txt", b""),
        lambda archive: archive.writestr("c:out.txt", b""),
        lambda archive: archive.writestr("RUNS/../runs/x", b""),
        lambda archive: archive.writestr("Study.json", b""),
        link,
    ],
)
def test_a_file_that_leads_out_is_not_unpacked(add, made, tmp_path, command):
    study = packed(tmp_path / "s.zip", contents(made / "study.zip"))
    with zipfile.ZipFile(study, "a") as archive:
        add(archive)
    answer = command("repeat", study, "-o", "in/here")
    assert (answer.code, answer.out) == (2, "")
    assert "nothing was unpacked" in answer.err
    assert [one.name for one in tmp_path.iterdir()] == ["s.zip"]


def test_an_archive_that_unpacks_to_too_much(made, tmp_path, command, monkeypatch):
    monkeypatch.setattr(repeating, "MOST_BYTES", 1000)
    answer = command("repeat", made / "study.zip", "-o", "here")
    assert (answer.code, list(tmp_path.iterdir())) == (2, [])
    assert "not unpacked" in answer.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.zip"], 2, "nowhere.zip: no such file"),
        (["full"], 2, "full: a folder, expected a file that `fedsim pack` has written"),
        (["none.zip"], 2, "none.zip: damaged, or no study that `fedsim pack` has written"),
        (["other.zip"], 2, "other.zip: no study that `fedsim pack` has written: study.json"),
        (["study.zip", "-o", "full"], 2, "full: not empty, expected a new folder"),
    ],
)
def test_mistakes(words, code, said, made, tmp_path, command):
    (tmp_path / "none.zip").write_bytes(b"PK no zip")
    packed(tmp_path / "other.zip", {"a.txt": b""})
    shutil.copy(made / "study.zip", tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    answer = command("repeat", *words)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


def test_an_address_that_is_a_path(made, tmp_path):
    files = contents(made / "study.zip")
    wrong = changed(files, "study.json", lambda table: table["runs"][0].update(run_id="../../x"))
    with pytest.raises(ResultsError, match="is no address of a run"):
        repeat_study(packed(tmp_path / "s.zip", wrong), tmp_path / "out")


@pytest.fixture
def asked(command, tmp_path):
    """A run on texts of one's own that asked a server, which is gone now; its answers were recorded."""
    with Loopback(chat({" Yes": 0.9, " No": 0.1})) as server:
        file = endpoint_scenario(tmp_path, server)
        assert command("run", file, "--set", "record.answers=true").code == 0
    return tmp_path / "results"


def test_data_and_answers_travel_along(asked, command, tmp_path):
    assert command("pack", asked).out.startswith("study.zip: 1 run, 1 file of data")
    (tmp_path / "reviews.jsonl").unlink()
    answer = command("--safe", "repeat", "study.zip", "--jobs", 1)
    assert (answer.code, answer.out) == (0, "1 run: 1 equal, byte by byte\n")
    assert "took a real model's answers from their recording" in answer.err
    files = {name: content for name, content in contents(Path("study.zip")).items() if "answers" not in name}
    answer = command("repeat", packed(tmp_path / "s.zip", files), "--jobs", 1)
    assert answer.code == 1
    assert "answers were not recorded" in answer.err


def test_data_that_do_not_go_in_are_named_and_may_be_brought(asked, command, tmp_path):
    answer = command("pack", asked, "--data-mb", 0.0001)
    assert "problem.task.file = " in answer.err
    assert "left out, it has 0.00" in answer.err
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "reviews.jsonl").rename(tmp_path / "elsewhere" / "mine.jsonl")
    answer = command("repeat", "study.zip", "--jobs", 1)
    assert (answer.code, answer.out) == (1, "1 run: 0 equal, byte by byte, 1 not run again\n")
    assert "--set problem.task.file=PATH" in answer.err
    assert command("repeat", "study.zip", "--jobs", 1, "--data", "elsewhere").code == 0


def test_a_text_that_looks_like_a_key_is_not_packed(asked, command, tmp_path):
    (run,) = find_runs(asked)
    rows = (tmp_path / "reviews.jsonl").read_text().replace("a lonely lighthouse", "sk-" + "a1B2c3D4" * 5)
    (tmp_path / "reviews.jsonl").write_text(rows)
    (tmp_path / "other.toml").write_text(
        "".join(line for line in (run / "scenario.toml").read_text().splitlines(True) if "sha256" not in line)
    )
    with Loopback(chat({" Yes": 0.9, " No": 0.1})) as server:
        model = [f"problem.model.base_url={server.base_url}"]
        assert command("run", "other.toml", "--out", "o", "--set", model[0]).code == 0
    answer = command("pack", "o")
    assert "left out, it holds what looks like a key" in answer.err


def test_data_that_moved_are_found_by_their_hash(asked, tmp_path, command):
    (run,) = find_runs(asked)
    before = load_scenario(run / "scenario.toml")
    (data,) = data_of(before)
    assert (data.key, data.path.name) == ("problem.task.file", "reviews.jsonl")
    for home in (run, asked / "asked", asked):
        moved = data.path.rename(home / "renamed.jsonl")
        found = load_scenario(run / "scenario.toml")
        assert data_of(found)[0].path == moved.resolve()
        moved.rename(data.path)
    data.path.rename(tmp_path / "far.jsonl")
    answer = command("verify", asked)
    assert "reviews.jsonl: no such file, nor one of its content (sha256 " in answer.err
    assert "--set problem.task.file=PATH" in answer.err
    healed = load_scenario(run / "scenario.toml", overrides=[f"problem.task.file={tmp_path / 'far.jsonl'}"])
    assert data_of(healed)[0].sha256 == data.sha256


def test_weights_that_are_gone_are_missed_by_who_needs_them_and_found_where_they_moved(tmp_path):
    write_jsonl(tmp_path, rows())
    digest = digests.digest(b"weights")
    model = f'[problem.model]\nkind = "local"\nweights = "/gone/w.gguf"\nsha256 = "{digest}"\n'
    (tmp_path / "local.toml").write_text(SCENARIO + model)
    assert data_of(load_scenario(tmp_path / "local.toml"))[1].path == Path("/gone/w.gguf")
    (tmp_path / "moved.gguf").write_bytes(b"weights")
    assert data_of(load_scenario(tmp_path / "local.toml"))[1].path == tmp_path / "moved.gguf"

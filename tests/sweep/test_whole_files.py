"""Files are written whole or not at all, through links and into pipes; what is impossible is told first."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL
from waiting import LIMIT_S

from fedsim import sweep
from fedsim.errors import InputError
from fedsim.scenario import load_scenario
from fedsim.whole_files import check_file, whole, write_whole

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes are those of Unix")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one run with spans."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.toml").write_text(SMALL)
    scenario = load_scenario(folder / "small.toml", overrides=["record.spans=true"])
    return sweep.run_one(scenario, folder / "results", timing_only=True).folder.parent


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    """A trace of requests."""
    rows = "".join(f"{0.1 + 0.01 * i},{0.5 + 0.03 * i * i},9,1,\n" for i in range(30))
    (tmp_path / "requests.csv").write_text("ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n" + rows)
    return tmp_path / "requests.csv"


WRITERS: dict[str, Callable[[Path, Path], list[object]]] = {
    "csv": lambda runs, _: ["results", runs, "--format", "csv"],
    "parquet": lambda runs, _: ["results", runs, "--format", "parquet"],
    "text": lambda runs, _: ["results", runs],
    "trace": lambda runs, _: ["trace", runs],
    "svg": lambda _, requests: ["fit-latency", requests],
}
BEGINS = {"csv": b"run_id,", "parquet": b"PAR1", "text": b"seed", "trace": b'{"displayT', "svg": b"<?xml"}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_link_stays_and_its_target_is_written(writer, command, runs, requests, tmp_path):
    words = WRITERS[writer](runs, requests)
    target = tmp_path / "else" / "target.old"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "far.svg").symlink_to("near.svg")
    (tmp_path / "near.svg").symlink_to(Path("else", "target.old"))
    answer = command(*words, "-o", "far.svg")
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "far.svg").is_symlink()
    assert (tmp_path / "near.svg").is_symlink()
    assert target.read_bytes().startswith(BEGINS[writer])
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [file.name for file in target.parent.iterdir()] == ["target.old"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_pipe_is_written_into(writer, command, runs, requests, tmp_path):
    os.mkfifo(tmp_path / "pipe.svg")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe.svg").read_bytes()), daemon=True)
    reader.start()
    answer = command(*WRITERS[writer](runs, requests), "-o", "pipe.svg")
    assert answer.code == 0
    assert answer.err.startswith("pipe.svg")
    assert "pipe.svg" not in answer.out
    reader.join(LIMIT_S)
    assert read[0].startswith(BEGINS[writer])
    assert stat.S_ISFIFO((tmp_path / "pipe.svg").stat().st_mode)


def test_a_descriptor_is_written_where_it_stands(command, runs, tmp_path):
    (tmp_path / "link").symlink_to("/dev/fd")
    with (tmp_path / "mine.csv").open("wb") as file:
        file.write(b"before\n")
        file.flush()
        for place in (f"/dev/fd/{file.fileno()}", f"link/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            assert command("results", runs, "--format", "csv", "-o", place).code == 0
        file.write(b"after\n")
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 8)
    answer = command("results", runs, "-o", "/dev/fd/9999")
    assert answer == (2, "", "fedsim: cannot write /dev/fd/9999: Bad file descriptor\n")


def test_standard_output_holds_the_rows_and_nothing_else(runs, tmp_path):
    script = (
        f"(echo before; {sys.executable} -m fedsim results {runs} --format csv -o /dev/fd/1; echo after) "
    )
    script += f"> out.csv; {sys.executable} -m fedsim results {runs} --format csv -o >(wc -l > n); wait $!"
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [lines[0], lines[1][:7], lines[-1], len(lines)] == ["before", "run_id,", "after", 4]
    assert (tmp_path / "n").read_text().strip() == "2"


def test_a_pipe_that_nobody_reads_is_given_up(command, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("fedsim.whole_files.READER_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    answer = command("results", runs, "-o", "pipe")
    assert answer == (2, "", "fedsim: cannot write pipe: nobody reads from this pipe\n")


def test_other_names_of_a_file_keep_its_content(tmp_path):
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    write_whole(tmp_path / "one", "new")
    assert (tmp_path / "two").read_text() == "new"


def test_mode_and_owner_are_kept(tmp_path):
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(file, 1, 2)
    before = file.stat()
    write_whole(file, "new")
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    umask = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", "")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_who_cannot_keep_the_owner_writes_into_the_file(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "file").write_text("old")
    before = (tmp_path / "file").stat()
    foreign = os.stat_result((before.st_mode, *before[1:4], before.st_uid + 1, *before[5:]))
    monkeypatch.setattr(os, "fstat", lambda _: foreign)
    monkeypatch.setattr(os, "fchown", refused)
    check_file(tmp_path / "file")
    write_whole(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_ino == before.st_ino
    assert len(list(tmp_path.iterdir())) == 1


PLACES = {
    ".": "it is a folder",
    "folder.svg": "it is a folder",
    "x" * 256 + ".svg": "File name too long",
    "new/" + "x" * 256 + ".svg": "File name too long",
    "mine/x.svg": "{here}/mine is a file",
    "ring.svg": "Too many levels of symbolic links",
    "ring.svg/x.svg": "Too many levels of symbolic links",
}


@pytest.mark.parametrize("writer", [*WRITERS, "figure", "table", "report", "latencies"])
def test_what_cannot_be_written_is_told_first(writer, command, runs, requests, tmp_path, monkeypatch):
    for reads in ("fedsim.results.load_results", "fedsim.results.find_runs", "fedsim_analysis.report.page"):
        monkeypatch.setattr(reads, lambda *_: pytest.fail("it was read"))
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "ring.svg").symlink_to("ring.svg")
    words = WRITERS[writer](runs, requests) if writer in WRITERS else [writer, runs]
    words[1:1] = {"figure": ["timeline"], "table": ["figure1"]}.get(writer, [])
    for place, why in PLACES.items():
        if writer == "svg" and place == ".":
            continue  # the name has to tell the format
        if writer in ("figure", "report") and "folder" in why:
            continue  # a folder gets a file of the usual name
        if writer == "figure" and place == "ring.svg":
            continue  # it is ring.svg.pdf that is written
        answer = command(*words, "-o", place)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"fedsim: cannot write {Path(place)}")
        assert answer.err.endswith(f": {why.format(here=tmp_path)}\n")
        assert answer.err.count("\n") == 1
        assert {path.name for path in tmp_path.iterdir()} == {
            "folder.svg",
            "mine",
            "ring.svg",
            "requests.csv",
        }


def test_a_figure_goes_into_no_pipe(command, runs, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in ("pipe", "/dev/null"):
        answer = command("figure", "timeline", runs, "-o", place)
        said = f"fedsim: cannot write {place}: a figure is three files; expected a name for them\n"
        assert answer == (2, "", said)


def test_a_disk_is_not_written_to(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can make such a file")
    os.mknod(tmp_path / "disk", 0o600 | stat.S_IFBLK, os.makedev(241, 241))
    with pytest.raises(InputError, match=r"cannot write .*disk: it is a disk"):
        write_whole(tmp_path / "disk", "x")


def test_a_full_disk_leaves_what_was_there(command, runs, requests, tmp_path, full_disk):
    for writer, words in WRITERS.items():
        (tmp_path / "out.svg").write_text("old")
        with full_disk(20):
            answer = command(*words(runs, requests), "-o", "out.svg")
            fresh = command(*words(runs, requests), "-o", "new/out.svg")
        assert answer.code == fresh.code == 2, writer
        assert answer.err == "fedsim: cannot write out.svg: File too large\n"
        assert (tmp_path / "out.svg").read_text() == "old"
        assert {path.name for path in tmp_path.iterdir()} == {"out.svg", "requests.csv"}


def test_nobody_elses_file_is_taken_for_ours(tmp_path):
    (tmp_path / "mine.csv.partial").write_text("mine")
    with whole(tmp_path / "mine.csv") as stream:
        stream.write(b"rows")
        (partial,) = set(tmp_path.iterdir()) - {tmp_path / "mine.csv.partial"}
    with whole(tmp_path / "mine.csv"):
        (other,) = set(tmp_path.iterdir()) - {tmp_path / "mine.csv.partial", tmp_path / "mine.csv"}
    assert partial.name != other.name
    assert (tmp_path / "mine.csv.partial").read_text() == "mine"


def test_a_link_that_lies_in_wait_is_not_followed(tmp_path, monkeypatch):
    names = iter(["taken", "free"])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(names))
    (tmp_path / ".out.csv.taken.partial").symlink_to("victim")
    (tmp_path / "victim").write_text("old")
    write_whole(tmp_path / "out.csv", "rows")
    assert (tmp_path / "victim").read_text() == "old"
    assert (tmp_path / "out.csv").read_text() == "rows"


def test_two_writers_of_one_file_both_end_well(tmp_path):
    file, texts = tmp_path / "file", ["a" * 100_000, "b" * 100_000]
    wrong: list[Exception] = []

    def write(text: str) -> None:
        try:
            for _ in range(25):
                write_whole(file, text)
        except Exception as error:
            wrong.append(error)

    writers = [threading.Thread(target=write, args=[text]) for text in texts * 2]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(LIMIT_S)
    assert wrong == []
    assert file.read_text() in texts
    assert list(tmp_path.iterdir()) == [file]

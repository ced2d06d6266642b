"""Sweeps that are killed, stopped, doubled, moved and starved: nothing finished is lost, no half is read."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from strange_parts import latency, strange
from waiting import LIMIT_S, started, until

import fedsim
from fedsim import results, simulation, sweep
from fedsim.errors import InputError, RunError
from fedsim.results.partial import partial_folder
from fedsim.scenario import load_scenario
from fedsim.sweep.engines import KILLED, LocalPool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks are those of Unix")

N_RUNS = 12


@pytest.fixture
def slow(small) -> Path:
    """A sweep whose runs take some tenths of a second each."""
    strange(small.parent)
    text = small.read_text().replace('{ kind = "constant", value_s = 0.5 }', "{ kind = 'strange:Slow' }")
    small.write_text(f"{text}[sweep]\nreplicates = {N_RUNS}\n")
    return small


@pytest.fixture(autouse=True)
def _strange_parts(tmp_path, monkeypatch) -> Iterator[None]:
    strange(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("strange", None)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a sweep as a program."""
    with ExitStack() as stack:

        def start(file: Path, *words: object, python: Iterable[str] = ()) -> subprocess.Popen:
            command = [sys.executable, *python, "-m", "fedsim", "sweep", file, "--timing-only", *words]
            return stack.enter_context(started(command, file.parent))

        yield start


def finished(out: Path) -> dict[str, bytes]:
    """Return the provenance of finished runs, which tells when each was made."""
    # Not by looking into every folder: those that are being written come and go.
    runs = [folder for folder in out.glob("timing-only/small/*") if not folder.suffix]
    return {run.name: (run / "provenance.json").read_bytes() for run in runs}


def whole(out: Path) -> None:
    """Check that all runs are there, and nothing else."""
    assert len(fedsim.load_results(out)) == N_RUNS
    assert {path.name for path in (out / "timing-only").iterdir()} == {"small"}
    assert {path.suffix for path in (out / "timing-only" / "small").iterdir()} == {"", ".sources"}


def test_kill_9_of_the_sweep_loses_nothing_and_leaves_nobody(start, slow, tmp_path):
    out = tmp_path / "results"
    sweeping = start(slow, "--jobs", 2)
    until(lambda: len(finished(out)) >= 3, sweeping)
    children = psutil.Process(sweeping.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(sweeping.pid, signal.SIGKILL)
    sweeping.communicate(timeout=LIMIT_S)
    until(lambda: not any(child.is_running() for child in children))
    before = finished(out)
    assert 3 <= len(before) < N_RUNS
    # As if it had been killed in the middle of writing.
    left = results.partial_of(out / "timing-only" / "small" / "0123456789ab")
    shutil.copytree(results.find_runs(out)[0], left)
    assert len(fedsim.load_results(out)) == len(before)
    second = start(slow, "--jobs", 2)
    said, complaints = second.communicate(timeout=LIMIT_S)
    assert (second.returncode, complaints) == (0, "")
    assert said.startswith(f"{N_RUNS} runs: {N_RUNS - len(before)} done, {len(before)} found finished\n")
    assert finished(out).items() >= before.items()
    whole(out)


def test_kill_9_of_a_worker_of_the_pool_goes_unnoticed(start, slow, tmp_path):
    sweeping = start(slow, "--jobs", 2)
    out = tmp_path / "results"
    until(lambda: len(finished(out)) >= 2, sweeping)
    children = psutil.Process(sweeping.pid).children()
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    os.kill(workers[0].pid, signal.SIGKILL)
    said, complaints = sweeping.communicate(timeout=LIMIT_S)
    assert (sweeping.returncode, complaints) == (0, "")
    assert said.startswith(f"{N_RUNS} runs: {N_RUNS} done\n")
    whole(out)


def test_a_run_that_kills_its_process_is_noted_and_harms_no_other(small, tmp_path):
    fatal = load_scenario(small, overrides=[latency("Suicide")])
    harmless = sweep.replicates([load_scenario(small, overrides=["algorithm.cuts.every=3"])], 8)
    scenarios = [*harmless[:2], fatal, *harmless[2:]]
    outcomes = list(sweep.run_all(scenarios, tmp_path, 2, timing_only=True, keep_going=True))
    failures = {outcome.scenario: outcome.failure for outcome in outcomes if outcome.failure}
    assert failures == {fatal: f"small: {KILLED}"}
    assert len(outcomes) == 9
    assert len(results.find_runs(tmp_path)) == 8


def test_kill_9_of_a_dask_worker(slow, tmp_path, command, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("fedsim.sweep.cluster.PATIENCE_S", LIMIT_S)
    with distributed.LocalCluster(
        n_workers=3, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as cluster:
        pids = [worker.process.process.pid for worker in list(cluster.workers.values())[:3]]
        killed = []
        answered = threading.Event()

        def kill() -> None:
            until(lambda: answered.is_set() or len(finished(tmp_path / "results")) >= 2)
            killed.append(len(finished(tmp_path / "results")))
            os.kill(pids[1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        answer = command("sweep", slow, "--timing-only", "--scheduler", cluster.scheduler_address)
        answered.set()
        killer.join()
    assert answer.out.startswith(f"{N_RUNS} runs: {N_RUNS} done\n"), answer
    assert (answer.code, answer.err) == (0, "")
    assert killed[0] < N_RUNS
    whole(tmp_path / "results")


SAID = "fedsim: stopped; finished runs are kept and will not be run again\n"


def stopped(sweeping: subprocess.Popen, slow: Path, signals: Iterable[int]) -> tuple[int, str, int]:
    """Send signals to all processes of a sweep; return its exit code, what it said, what is finished."""
    children = psutil.Process(sweeping.pid).children(recursive=True)
    for number in signals:
        with suppress(ProcessLookupError):
            os.killpg(sweeping.pid, number)
    said, complaints = sweeping.communicate(timeout=LIMIT_S)
    until(lambda: not any(child.is_running() for child in children))
    out = slow.parent / "results"
    before = finished(out)
    if before:
        assert {path.suffix for path in (out / "timing-only" / "small").iterdir()} == {"", ".sources"}
        assert all(results.is_finished(folder) for folder in results.find_runs(out))
    # Killed as it ends, it may have said already that all is done.
    assert said == "" or sweeping.returncode in (0, -signal.SIGINT)
    return sweeping.returncode, complaints, len(before)


@pytest.mark.parametrize(
    ("jobs", "signals", "code"),
    [
        (1, [signal.SIGINT], 130),
        (1, [signal.SIGTERM], 143),
        (2, [signal.SIGINT, signal.SIGINT, signal.SIGTERM], 130),
        (2, [signal.SIGHUP, signal.SIGHUP], 129),
    ],
    ids=str,
)
def test_whatever_stops_it_keeps_what_is_finished(start, slow, tmp_path, jobs, signals, code):
    sweeping = start(slow, "--jobs", jobs)
    until(lambda: len(finished(tmp_path / "results")) >= 2, sweeping)
    ended, complaints, n_finished = stopped(sweeping, slow, signals)
    assert (ended, complaints) == (code, SAID)
    assert 2 <= n_finished < N_RUNS


def test_ctrl_c_while_the_processes_of_the_pool_start(start, slow, tmp_path):
    """At each of these moments some of them have not come to ignore it by themselves."""

    def pool(sweeping: subprocess.Popen) -> int:
        try:
            children = psutil.Process(sweeping.pid).children()
            return sum("spawn_main" in " ".join(child.cmdline()) for child in children)
        except psutil.Error:
            return 0

    for size in (1, 3):
        sweeping = start(slow, "--jobs", 3)
        until(lambda: pool(sweeping) >= size, sweeping)  # noqa: B023 -- called at once
        assert stopped(sweeping, slow, [signal.SIGINT])[:2] == (130, SAID)
    assert start(slow, "--jobs", 2).communicate(timeout=LIMIT_S)[1] == ""
    whole(tmp_path / "results")


def test_ctrl_c_before_the_first_moment_and_after_the_last(start, slow, tmp_path):
    early = start(slow, python=["-X", "importtime"])  # tells on the way what it has loaded
    for line in early.stderr:
        if "typing" in line:
            break
    ended, complaints, _ = stopped(early, slow, [signal.SIGINT])
    assert ended == 130
    assert "Traceback" not in complaints
    assert complaints.endswith(("fedsim: stopped before anything was done\n", SAID))
    late = start(slow, "--jobs", 2)
    until(lambda: len(finished(tmp_path / "results")) == N_RUNS, late)
    ended, complaints, n_finished = stopped(late, slow, [signal.SIGINT])
    assert (ended, complaints) in ((130, SAID), (0, ""), (-signal.SIGINT, ""))
    assert n_finished == N_RUNS
    whole(tmp_path / "results")


def test_two_sweeps_into_one_folder_at_once(start, slow, tmp_path):
    both = [start(slow, "--jobs", 1) for _ in range(2)]
    said = [process.communicate(timeout=LIMIT_S) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [complaints for _, complaints in said] == ["", ""]
    whole(tmp_path / "results")


def test_who_comes_second_keeps_what_the_first_has_finished(small, tmp_path):
    run = simulation.run(load_scenario(small), timing_only=True)
    folder = results.write(run, tmp_path, 1.0)
    first = (folder / "provenance.json").read_bytes()
    later = results.pack(run, 2.0, "later")
    results.write_files(folder, later, replace=False)
    assert (folder / "provenance.json").read_bytes() == first
    (folder / "steps.parquet").unlink()
    results.write_files(folder, later, replace=False)
    assert b"later" in (folder / "provenance.json").read_bytes()
    assert list(folder.parent.iterdir()) == [folder]


def test_who_is_overtaken_while_replacing_keeps_the_other_one(small, tmp_path, monkeypatch):
    """Between the two renames, another sweep puts a finished folder there."""
    run = simulation.run(load_scenario(small), timing_only=True)
    folder = results.write(run, tmp_path, 1.0)
    rename, others = Path.rename, results.pack(run, 3.0, "another")

    def overtaken(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if self == folder and others:
            monkeypatch.setattr(Path, "rename", rename)
            results.write_files(folder, others, replace=False)
        return moved

    monkeypatch.setattr(Path, "rename", overtaken)
    results.write_files(folder, results.pack(run, 2.0, "mine"), replace=True)
    assert b"another" in (folder / "provenance.json").read_bytes()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_cannot_be_replaced_stays(small, tmp_path, monkeypatch):
    run = simulation.run(load_scenario(small), timing_only=True)
    folder = results.write(run, tmp_path, 1.0)
    before = (folder / "provenance.json").read_bytes()
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if target == folder and self.suffix == ".partial" and (self / "new").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(InputError, match="No space left on device"):
        results.write_files(folder, results.pack(run, 2.0, "mine") | {"new": b""}, replace=True)
    assert (folder / "provenance.json").read_bytes() == before
    assert list(folder.parent.iterdir()) == [folder]


def test_left_overs_of_the_dead_go_and_those_of_the_living_stay(small, tmp_path):
    place = tmp_path / "small"
    dead = results.partial_of(place / "0123456789ab")
    dead.mkdir(parents=True)
    with partial_folder(place / "0123456789ab") as living:
        (living / "steps.parquet").touch()
        results.clear_left_overs(place)
        assert list(place.iterdir()) == [living]
    assert list(place.iterdir()) == []


def test_results_copied_to_another_place_are_found_and_used(small, tmp_path):
    scenarios = sweep.replicates([load_scenario(small)], 3)
    list(sweep.run_all(scenarios, tmp_path / "here", timing_only=True))
    there = tmp_path / "there" / "deeper"
    for file in (tmp_path / "here").rglob("*"):
        if file.is_file():
            copy = there / file.relative_to(tmp_path / "here")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
            os.utime(copy, (1, 1))
    shutil.rmtree(tmp_path / "here")
    assert all(outcome.reused for outcome in sweep.run_all(scenarios, there, timing_only=True))
    assert len(fedsim.load_results(there.parent)) == 3


def test_a_full_disk_is_a_sentence_and_leaves_no_half(slow, tmp_path, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("a small disk needs root")
    try:
        answer = command("sweep", slow, "--timing-only", "--jobs", 1, "--out", disk)
        kept = results.find_runs(disk)
        there = {
            path.name for path in (disk / "timing-only" / "small").iterdir() if path.suffix != ".sources"
        }
        assert there == {one.name for one in kept}
        assert all(map(results.is_finished, kept))
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedsim: cannot write results to {disk}/timing-only/small/")
    assert answer.err.endswith(": No space left on device\n")
    assert len(kept) > 0


def test_a_pool_that_breaks_for_ever_is_one_sentence_without_a_sweep(small, tmp_path):
    fatal = load_scenario(small, overrides=[latency("Suicide")])
    with pytest.raises(RunError, match="a process was killed, perhaps for want of memory; try fewer --jobs"):
        list(sweep.run_all([fatal], tmp_path, 2, timing_only=True))
    assert list(tmp_path.rglob("*.failed.json")) == []


def test_a_pool_mends_itself():
    pool = LocalPool(1)
    try:
        (process,) = [pool.executor.submit(os.getpid).result()]
        os.kill(process, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(process) or psutil.Process(process).status() == "zombie")
        pool.mend()
        assert pool.executor.submit(int).result() == 0
    finally:
        pool.stop()

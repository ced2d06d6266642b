"""`fedsim sweep`: what it runs, keeps, notes and says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from strange_parts import latency, strange
from waiting import LIMIT_S, terminal

import fedsim
from fedsim import results, simulation, sweep
from fedsim.errors import InputError, PartError, RunError
from fedsim.icl.models.local import Local
from fedsim.scenario import load_scenario, parse
from fedsim.sweep import forecast
from fedsim.sweep.tally import Sentences
from fedsim.sweep.work import broken_by

GRID = '[sweep]\nreplicates = 2\n[sweep.grid]\n"algorithm.cuts.every" = [3, 4]\n'


@pytest.fixture
def swept(small) -> Path:
    """A file with a sweep of four runs."""
    small.write_text(small.read_text() + GRID)
    return small


@pytest.fixture
def _strange(tmp_path, monkeypatch):
    """The module `strange` beside the scenario."""
    strange(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("strange", None)


def test_it_runs_everything_once_and_says_where(command, swept):
    answer = command("sweep", swept, "--jobs", 1)
    assert answer == (0, "4 runs: 4 done\nresults: results/small\n", "")
    runs = fedsim.load_results("results")
    assert (
        list(zip(runs["algorithm.cuts.every"], runs.seed, strict=True)).sort()
        == [(3, 0), (3, 1), (4, 0), (4, 1)].sort()
    )
    assert sorted(zip(runs["algorithm.cuts.every"], runs.seed, strict=True)) == [
        (3, 0),
        (3, 1),
        (4, 0),
        (4, 1),
    ]
    assert command("sweep", swept, "--jobs", 1).out == (
        "4 runs: 0 done, 4 found finished\nresults: results/small\n"
    )
    assert "4 runs: 4 done" in command("sweep", swept, "--jobs", 1, "--again").out
    more = command("sweep", swept, "--jobs", 1, "--set", "sweep.replicates=3")
    assert more.out.startswith("6 runs: 2 done, 4 found finished")


def test_two_sweeps_that_share_runs_share_results(command, swept):
    command("sweep", swept, "--jobs", 1)
    other = swept.with_name("other.toml")
    other.write_text('extends = "small.toml"\n[sweep.grid]\n"algorithm.cuts.every" = [4, 5]\n')
    assert command("sweep", other, "--jobs", 1).out.startswith("2 runs: 1 done, 1 found finished")
    assert command("run", swept.with_name("small.toml"), "--set", "algorithm.cuts.every=5").code == 2
    plain = swept.with_name("plain.toml")
    plain.write_text(swept.read_text().replace(GRID, ""))
    assert "(kept)" in command("run", plain, "--set", "algorithm.cuts.every=5").out


def test_run_refuses_and_check_checks_all_points(command, swept, tmp_path):
    said = f"fedsim: {swept}: states a sweep; `fedsim sweep {swept}` runs it\n"
    assert command("run", swept) == (2, "", said)
    answer = command("check", swept)
    assert answer.code == 0
    assert answer.out.startswith("small: a sweep of 4 runs over algorithm.cuts.every: fine\n  all runs ")
    assert not (tmp_path / "results").exists()


def test_only_and_timing_only(command, swept):
    swept.write_text(swept.read_text() + "[variants.a]\n[variants.b]\nseed = 5\n")
    assert command("sweep", swept, "--only", "b", "--jobs", 1, "--timing-only").out == (
        "4 runs: 4 done\nresults: results/timing-only/small\n"
    )
    assert set(fedsim.load_results("results").variant) == {"b"}
    wrong = command("sweep", swept, "--only", "c")
    assert wrong == (2, "", f"fedsim: {swept}: no variant 'c' (variants: a, b)\n")


def test_the_results_of_two_processes_are_those_of_one(command, swept, tmp_path):
    command("sweep", swept, "--jobs", 1, "--out", "one")
    command("sweep", swept, "--jobs", 2, "--out", "two")
    one, two = [
        {
            file.relative_to(tmp_path / out): file.read_bytes()
            for file in (tmp_path / out).rglob("*")
            if file.is_file() and file.name != "provenance.json"
        }
        for out in ("one", "two")
    ]
    assert one == two
    assert len(one) == 4 * 4 + 2  # and the sweep's file, and how it was run


def test_a_dry_run_writes_nothing_and_tells_what_is_coming(command, swept, tmp_path):
    command("sweep", swept, "--jobs", 1, "--set", "sweep.replicates=1")
    before = sorted(tmp_path.rglob("*"))
    answer = command("sweep", swept, "--dry-run", "--jobs", 2)
    assert (answer.code, answer.err) == (0, "")
    heading, *rows, total, calls, needed = [line.split() for line in answer.out.splitlines()]
    assert heading == ["algorithm.cuts.every", "seed", "LLM", "calls"]
    # 12 steps of 2 workers, a call each. Cuts after steps 0, 3, 6, 9, or 0, 4, 8: the third worker ends its
    # job, then come 2 rounds of 3 workers. 24 + 4 (1 + 6) = 52, and 24 + 3 (1 + 6) = 45.
    assert rows == [
        ["3", "0", "52", "finished"],
        ["3", "1", "52"],
        ["4", "0", "45", "finished"],
        ["4", "1", "45"],
    ]
    assert " ".join(total) == "4 runs: 2 finished, 2 to run"
    assert " ".join(calls).startswith("LLM calls in all: about 194")
    assert re.fullmatch(r"time: about \d+ s with 2 processes, going by 2 finished runs", " ".join(needed))
    assert sorted(tmp_path.rglob("*")) == before
    tried = command("sweep", swept, "--dry-run", "--out", "elsewhere", "--jobs", 1)
    assert re.search(r"time: about \d+ s with one process, going by 2 s of the first run\n$", tried.out)
    assert sorted(tmp_path.rglob("*")) == before


TASK = "{ kind = 'calibrated', name = 'sst2', n_words = 4, n_candidates = 5, n_demonstrations = 3 }"
ICL = f"problem={{ kind = 'icl', n_samples = 2, task = {TASK} }}"


@pytest.mark.parametrize(
    ("overrides", "calls"),
    [
        # A job makes 2 samples x 20 queries = 40 calls. Synchronous: 12 steps of 3 workers; cuts after steps
        # 0, 4 and 8, each with 2 rounds of 3 workers: 36 + 18 jobs.
        (["algorithm.kind=sdbt"], (36 + 18) * 40),
        # Restarted before the three barriers, all workers do a job more for each.
        (["algorithm.kind=sdbt", "algorithm.cuts.restart=before"], (36 + 9 + 18) * 40),
        # No cuts from step 4 on: after step 0 alone.
        (["algorithm.kind=sdbt", "algorithm.cuts.stop_after=4"], (36 + 6) * 40),
        # 7 updates are reached in the third step of three workers: a cut after step 0 alone.
        (["algorithm.kind=sdbt", "budget={ worker_updates = 7 }"], (9 + 6) * 40),
        # One machine with the data of three workers.
        (["algorithm={ kind = 'cendbt' }", "algorithm.cuts=false"], 12 * 120),
    ],
)
def test_llm_calls_by_hand_and_as_they_come(small, overrides, calls):
    scenario = load_scenario(small, overrides=[ICL, *overrides])
    work = forecast.work_of(scenario)
    assert (work.llm_calls, work.exact, work.at_most) == (calls, True, False)
    assert simulation.run(scenario, timing_only=True).summary["llm_calls"] == calls


def test_llm_calls_of_the_asynchronous_form_are_about_right(small):
    scenario = load_scenario(small, overrides=[ICL, "budget.server_steps=200", "algorithm.tau=9"])
    work = forecast.work_of(scenario)
    assert not work.exact
    counted = simulation.run(scenario, timing_only=True).summary["llm_calls"]
    assert work.llm_calls == pytest.approx(counted, rel=0.05)


def test_what_may_end_a_run_before_is_said(command, swept):
    target = command("sweep", swept, "--dry-run", "--set", "target={ value = 1, stop = true }").out
    assert "LLM calls in all: at most about 194 (a target, a horizon or early stopping may end runs" in target
    swept.write_text(swept.read_text().replace("server_steps = 12", "horizon_s = 5"))
    seconds = command("sweep", swept, "--dry-run").out
    assert "LLM calls in all: unknown for 4 runs with a budget in seconds\n" in seconds
    assert "time: unknown until a run is finished (a budget in seconds)\n" in seconds
    assert forecast.work_of(load_scenario(swept)).updates is None


def test_a_real_model_is_not_asked_for_an_estimate(small, monkeypatch):
    monkeypatch.setattr(forecast, "run", lambda *words, **more: pytest.fail("it ran"))
    scenario = load_scenario(small)
    with pytest.raises(pytest.fail.Exception):
        forecast.trial(scenario, False)
    asking = SimpleNamespace(problem=SimpleNamespace(model=Local.model_construct()))
    assert forecast.trial(asking, False) is None


@pytest.mark.usefixtures("_strange")
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_breaks_off_is_noted_and_does_not_stop_the_others(command, small, tmp_path, jobs):
    point = "[[sweep.list]]\nllm.latency = {{ kind = '{}', value_s = {} }}\n"
    kinds = [
        ("strange:Raising", 1.0),
        ("constant", 1.0),
        ("strange:Raising", 2.0),
        ("strange:Untravelled", 1.0),
    ]
    small.write_text(small.read_text() + "".join(point.format(*kind) for kind in kinds))
    words = ("sweep", small, "--timing-only", "--jobs", jobs)
    first = command(*words)
    bad = 3 if jobs == 2 else 2  # what need not travel may stay at home
    assert first.code == 1
    assert first.out == f"4 runs: {4 - bad} done, {bad} failed\nresults: results/timing-only/small\n"
    said = "small: llm.latency: 'strange:Raising' raised ValueError: cannot sample"
    assert f"fedsim: {said} (and 1 more like this)\n" in first.err
    assert (
        "fedsim: small: llm.latency: 'strange:Untravelled' raised TypeError: cannot travel\n" in first.err
    ) == (jobs == 2)
    place = tmp_path / "results" / "timing-only" / "small"
    notes = sorted(place.glob("*.failed.json"))
    assert len(notes) == bad
    raised = [
        note for note in map(json.loads, (file.read_text() for file in notes)) if "Value" in note["reason"]
    ]
    assert raised[0]["reason"] == said
    assert "at 1.0" in " ".join(line for note in raised for line in note["trace"])
    assert results.run_id(parse(raised[0]["scenario"]), timing_only=True) == raised[0]["run_id"]
    assert len(results.find_runs(tmp_path / "results")) == 4 - bad
    (tmp_path / "mended").touch()
    second = command(*words)
    assert second.code == 1
    assert second.out.startswith(f"4 runs: 0 done, {4 - bad} found finished, {bad} failed\n")
    again = f"fedsim: {said} (failed before; --retry-failed runs it again) (and 1 more like this)\n"
    assert again in second.err
    third = command(*words, "--retry-failed")
    assert third.out.startswith(
        f"4 runs: 2 done, {4 - bad} found finished" + (", 1 failed" if jobs == 2 else "")
    )
    assert len(list(place.glob("*.failed.json"))) == bad - 2


@pytest.mark.usefixtures("_strange")
def test_without_a_sweep_an_error_ends_it(small, tmp_path):
    scenario = load_scenario(small, overrides=[latency("Raising")])
    said = "^small: llm.latency: 'strange:Raising' raised ValueError: cannot sample"
    with pytest.raises(PartError, match=said) as here:
        list(sweep.run_all([scenario], tmp_path / "out", timing_only=True))
    assert isinstance(here.value.__cause__, ValueError)
    with pytest.raises(PartError, match=said) as elsewhere:
        list(sweep.run_all([scenario, load_scenario(small)], tmp_path / "out", 2, timing_only=True))
    assert "in misbehave" in elsewhere.value.__notes__[0]
    assert list(tmp_path.rglob("*.failed.json")) == []


def test_a_stall_is_a_failure_with_a_folder(command, swept):
    words = ["sweep", swept, "--jobs", 1, "--set", "workers.0.stops_at_s=4"]
    for _ in range(2):
        answer = command(*words)
        assert answer.code == 1
        assert answer.err.startswith("fedsim: small: stalled at ")
        assert answer.err.endswith("lets the server go on without it (and 3 more like this)\n")
        assert answer.err.count("\n") == 1
    assert list(fedsim.load_results("results").ended) == ["stalled"] * 4


def test_a_damaged_folder_is_told_and_redone(command, swept):
    command("sweep", swept, "--jobs", 1)
    folder = results.find_runs(Path("results"))[0]
    whole = (folder / "steps.parquet").read_bytes()
    (folder / "steps.parquet").write_bytes(whole[:-9])
    answer = command("sweep", swept, "--jobs", 1)
    assert answer.code == 0
    assert answer.out.startswith("4 runs: 1 done, 3 found finished\n")
    said = f"damaged: steps.parquet has {len(whole) - 9:,} bytes, expected {len(whole):,}; it was run again\n"
    assert answer.err == f"fedsim: {folder}: {said}"
    assert (folder / "steps.parquet").read_bytes() == whole


def test_sentences_that_differ_in_numbers_are_said_once():
    said = Sentences()
    for sentence in ("a: at step 3", "a: at step 14,000", "b: at step 3", "a: at step 1e+15"):
        said.add(sentence)
    assert list(said) == ["a: at step 3 (and 2 more like this)", "b: at step 3"]


def test_any_executor_will_do_and_memory_stays_bounded(small, tmp_path):
    asked = []

    def many():
        for seed in range(60):
            asked.append(seed)
            yield load_scenario(small).model_copy(update={"seed": seed})

    with ThreadPoolExecutor(2) as executor:
        running = sweep.run_all(many(), tmp_path, executor=executor)
        next(running)
        # Three for each of two workers, and room for the one that has come back.
        assert len(asked) <= 8
        assert len(list(running)) == 59
        assert executor.submit(int).result() == 0
    assert len(results.find_runs(tmp_path)) == 60


def test_what_is_finished_is_passed_on_as_it_is_found(small, tmp_path):
    scenarios = sweep.replicates([load_scenario(small)], 20)
    list(sweep.run_all(scenarios, tmp_path))
    asked = []
    running = sweep.run_all((asked.append(one) or one for one in scenarios), tmp_path, 2)
    assert next(running).reused
    assert len(asked) == 1
    running.close()


def test_want_of_memory_is_a_sentence():
    assert broken_by(MemoryError()).reason == "there was not enough memory; try fewer --jobs"


def test_an_executor_that_is_broken_is_a_sentence(small, tmp_path):
    from concurrent.futures import BrokenExecutor

    class Broken(ThreadPoolExecutor):
        def submit(self, *words, **more):
            raise BrokenExecutor

    with pytest.raises(RunError, match="the executor has lost its workers; finished runs are kept"):
        list(sweep.run_all([load_scenario(small)], tmp_path, executor=Broken()))


def test_who_computes_with_another_version_is_refused(small, tmp_path, monkeypatch):
    answers = iter(["2.0", "1.0"])
    monkeypatch.setattr("fedsim.sweep.agreement.fedsim_version", lambda: next(answers))
    said = (
        r"process \d+ on .+ has fedsim 1\.0, but the sweep was started by fedsim 2\.0; finished runs are kept"
    )
    with ThreadPoolExecutor(1) as executor, pytest.raises(InputError, match=said):
        list(sweep.run_all([load_scenario(small)], tmp_path, executor=executor, keep_going=True))
    assert list(tmp_path.rglob("*.failed.json")) == []


def test_results_that_cannot_be_written_stop_everything(command, swept, monkeypatch):
    def full(*words):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for jobs in (1, 2):
        answer = command("sweep", swept, "--timing-only", "--jobs", jobs)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("fedsim: cannot write results to results/timing-only/small/")
        assert answer.err.endswith(": No space left on device\n")
        assert answer.err.count("\n") == 1
    assert [path.name for path in Path("results").rglob("*")] == ["timing-only", "small"]
    with pytest.raises(InputError, match="no finished run"):
        results.find_runs(Path("results"))


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for Unix")
def test_progress_on_a_terminal(swept, tmp_path):
    with terminal() as (leader, follower):
        done = subprocess.run(
            [sys.executable, "-m", "fedsim", "sweep", swept, "--timing-only", "--jobs", "1"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=follower,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
            check=True,
            timeout=LIMIT_S,
        )
        shown = os.read(leader, 100_000).decode()
    assert done.stdout.startswith(b"4 runs: 4 done")
    assert "4/4" in shown
    assert "0 failed, 0 running" in shown

"""Shipped scenarios with mistakes in them end in a sentence or a run: no trace, no hang, no empty promise.

`make fuzz N=5000 SEED=7` tries more of them; FIRST is the number of the first case, with N=1 of the only one.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from mutations import Case, make_case

from fedsim.cli import main
from fedsim.scenario.files import read_file

SEED = int(os.environ.get("FUZZ_SEED", "14"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "200"))
BLOCK = 20
"""Cases of one test."""
LIMIT_S = int(os.environ.get("FUZZ_LIMIT_S", "300"))
"""Of one case; only a hang takes so long."""
ROOM_BYTES = 8 * 2**30
"""Of addresses, beyond what there is: only what would take gigabytes needs so many."""
FEW = (
    *("--set", "budget.server_steps=3", "--set", "budget.worker_updates=30"),
    *("--set", "budget.horizon_s=10000"),
)
"""A small budget, of simulated time as well: a service may well refuse each call for years."""
FULL_EVERY = 8
"""One case of so many is run with its learning too."""
ASKS = ("llm/", "llm.toml", "endpoint", "local", "replay", "fitted", "encoder", "glue")
"""Words in scenarios, or their places, that ask a real model: their runs are timed only."""


class HungError(BaseException):
    """A command took longer than only a hang does; no `except Exception` swallows it."""


class FuzzError(AssertionError):
    """A command did what no input may make it do."""


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of all scenarios, and a few texts where those of the language models expect theirs."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(Path(__file__).parents[2] / "scenarios", folder / "scenarios")
    (folder / "data").mkdir()
    rows = [
        {"id": n, "split": ("train", "test")[n % 2], "text_a": _text(n), "label": n // 2 % 2}
        for n in range(400)
    ]
    (folder / "data" / "movie_reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "scenarios"


def _text(number: int) -> str:
    """Return some words, of which many stand beside each other in many texts, as a vocabulary needs them."""
    chance = random.Random(number)
    pairs = [f"{one}{chance.randrange(12)} {two}{chance.randrange(6)}" for one, two in ("ab", "cd", "ef") * 2]
    return " ".join(pairs)


@pytest.fixture
def guarded() -> Iterator[None]:
    """Limit the addresses of this process, so that no case takes the memory of the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise a HungError in what takes too long; end the process if even that does not help."""

    def hung(signum: int, frame: FrameType | None) -> None:
        raise HungError(f"still running after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, hung)
    faulthandler.dump_traceback_later(2 * LIMIT_S, exit=True, file=sys.__stderr__)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def command(*words: object) -> tuple[int, str, str]:
    """Run the command line in this process; return its exit code and what it said."""
    out, err = io.StringIO(), io.StringIO()
    arguments = [str(word) for word in words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited():
        code = main(arguments)
    said = out.getvalue() + err.getvalue()
    if code == 2 and not all(line.startswith("fedsim: ") for line in err.getvalue().splitlines()):
        raise FuzzError(f"exit code 2 with other words than a sentence: {err.getvalue()[:500]!r}")
    if code and not err.getvalue().strip():
        raise FuzzError(f"exit code {code} without a word")
    if "Traceback" in said:
        raise FuzzError(f"a stack trace: {said[-1500:]}")
    return code, out.getvalue(), err.getvalue()


def expect(codes: set[int], *words: object) -> int:
    code, _, err = command(*words)
    if code not in codes:
        raise FuzzError(f"`fedsim {words[0]}` ended with {code}, expected one of {codes}: {err[:500]}")
    return code


def tried(case: Case, file: Path, out: Path) -> None:
    """Check a case, and run it if it is fine."""
    file.write_bytes(case.content)
    given = [word for override in case.overrides for word in ("--set", override)]
    if expect({0, 2}, "check", file, *given):
        return
    if read_file(file).sweep is not None:
        expect({0}, "sweep", file, *given, "--dry-run")
        return
    only = ["--only", read_file(file).chosen()[0]]
    chosen = [file, *given, *(only if only[1] else []), *FEW]
    if expect({0, 2}, "check", *chosen):  # the budget may be gone
        return
    ways = [["--timing-only"]]
    if not case.number % FULL_EVERY and not any(word in f"{case.origin} {case.content!r}" for word in ASKS):
        ways.append([])
    for way in ways:
        if expect({0, 1}, "run", *chosen, *way, "--out", out) == 0:
            expect({0}, "verify", out)
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BLOCK))
def test_mistakes_end_in_a_sentence_or_a_run(
    scenarios: Path, tmp_path: Path, guarded: None, first: int
) -> None:
    failures = []
    for number in range(first, min(first + BLOCK, FIRST + CASES)):
        case = make_case(SEED, number, scenarios)
        file = scenarios / Path(case.origin).parent / "mistaken.toml"
        try:
            tried(case, file, tmp_path / "out")
        except (Exception, HungError, SystemExit) as error:
            what = (
                str(error)
                if isinstance(error, FuzzError)
                else "".join(traceback.format_exception(error)[-12:])
            )
            given = shlex.join(word for override in case.overrides for word in ("--set", override))
            again = f"make fuzz N=1 SEED={SEED} FIRST={number}"
            failures.append(
                f"=== case {number} of seed {SEED} ({again}), from {case.origin}, {given[:600]!a}:\n"
                f"{case.content[:3000]!r}\n{what}"
            )
        finally:
            file.unlink(missing_ok=True)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert not failures, "\n".join(failures)

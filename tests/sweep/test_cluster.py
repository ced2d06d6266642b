"""`fedsim sweep --scheduler`: where nobody answers, workers with other code, a scheduler that dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from waiting import LIMIT_S, ended, until

from fedsim import results
from fedsim.sweep import cluster

pytest.importorskip("distributed", reason="the extra `dask` is not installed")

PART = """
import time

from helping import FACTOR
from fedsim.timing.delays import Delay


class Slow(Delay):
    @property
    def mean_value_s(self):
        return FACTOR

    def sample(self, generator, size):
        time.sleep(0.01)
        return generator.random(size) * FACTOR
"""
"""A delay whose runs take some tenths of a second."""


MINE = "llm.latency={ kind = 'mine:Slow' }"
PATIENT = f"""
import sys
from fedsim.cli import main
from fedsim.sweep import cluster

cluster.PATIENCE_S = {LIMIT_S}
sys.exit(main())
"""


@pytest.fixture
def swept(small) -> Path:
    small.write_text(small.read_text() + "[sweep]\nreplicates = 40\n")
    return small


WRONG = {
    "8786": "found a port alone",
    "host": "no host and port",
    "tcp://host": "no host and port",
    "tcp://host:8786/status": "no host and port",
    "tcp://host:99999": "found the port 99999, expected one from 1 to 65535",
    "http://127.0.0.1:8787": "a scheduler is not reached by 'http'",
    "tpc://127.0.0.1:8786": "a scheduler is not reached by 'tpc'; did you mean 'tcp'?",
}


@pytest.mark.parametrize("address", WRONG)
def test_what_is_no_address(command, swept, address):
    answer = command("sweep", swept, "--scheduler", address)
    said = f"{WRONG[address]}; expected tcp://HOST:PORT, as in tcp://192.168.1.5:8786\n"
    assert answer == (2, "", f"fedsim: --scheduler {address!r}: {said}")


@pytest.fixture
def listening() -> Iterator[Callable[[bytes], int]]:
    """Listen on a port: whoever comes gets these bytes, and then nothing."""
    with ExitStack() as stack:

        def listen(greeting: bytes) -> int:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def greet() -> None:
                while True:
                    try:
                        guest, _ = server.accept()
                    except OSError:
                        return
                    stack.enter_context(guest).sendall(greeting)

            thread = threading.Thread(target=greet)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown, socket.SHUT_RDWR)
            return server.getsockname()[1]

        yield listen


# Nothing; a browser's answer; a server that speaks first; one that speaks like Dask, of more than there is.
GREETINGS = [
    b"",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x10" + bytes(7) + b"\x01",
]


@pytest.mark.parametrize("greeting", GREETINGS)
def test_who_is_no_scheduler(command, swept, tmp_path, listening, monkeypatch, greeting):
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.5)
    before = threading.active_count()
    address = f"tcp://127.0.0.1:{listening(greeting)}"
    answer = command("sweep", swept, "--scheduler", address)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedsim: --scheduler {address!r}: no Dask scheduler answers there")
    assert answer.err.endswith("; expected an address as in tcp://192.168.1.5:8786\n")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "results").exists()
    assert threading.active_count() == before + 1  # who listens


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:9", "tls://127.0.0.1:9", "127.0.0.1:9", "tcp://[::1]:9"]
)
def test_where_nobody_is(command, swept, monkeypatch, address):
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.5)
    answer = command("sweep", swept, "--scheduler", address)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    wrong = (
        "tls:// needs the certificates" if address.startswith("tls") else "no Dask scheduler answers there"
    )
    assert answer.err.startswith(f"fedsim: --scheduler {address!r}: {wrong}")


def test_without_dask(command, swept, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = "fedsim: --scheduler needs Dask: pip install 'fedsim-icl[dask]'\n"
    assert command("sweep", swept, "--scheduler", "tcp://127.0.0.1:9") == (2, "", said)


@pytest.fixture
def dask(tmp_path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a program of Dask's in a folder."""
    with ExitStack() as stack:

        def start(program: str, folder: Path, *words: object) -> subprocess.Popen:
            folder.mkdir(exist_ok=True)
            log = stack.enter_context((tmp_path / f"{program}.log").open("a"))
            command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--no-dashboard", *words]
            process = subprocess.Popen(
                [str(word) for word in command], cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(ended, process)
            return process

        yield start


def test_workers_with_other_code_and_a_scheduler_that_dies(swept, tmp_path, dask):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "mine.py").write_text(PART)
    (here / "helping.py").write_text("FACTOR = 0.5\n")
    found = tmp_path / "scheduler.json"
    scheduler = dask("scheduler", there, "--port", 0, "--host", "127.0.0.1", "--scheduler-file", found)
    until(lambda: found.exists() and found.read_text().rstrip().endswith("}"), scheduler)
    address = json.loads(found.read_text())["address"]
    words = ["--nworkers", 1, "--nthreads", 1, "--no-nanny", "--scheduler-file", found]

    def sweep() -> subprocess.Popen:
        more = ["sweep", swept, "--timing-only", "--scheduler", address, "--set", MINE]
        return subprocess.Popen(
            [sys.executable, "-c", PATIENT, *map(str, more)],
            cwd=here,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answer() -> tuple[int, str]:
        with sweep() as process:
            said, complaint = process.communicate(timeout=LIMIT_S)
        assert said == ""
        return process.returncode, complaint

    worker = dask("worker", there, *words)
    # It may come before the first run, or with it.
    code, complaint = answer()
    assert code == 2
    assert complaint.startswith("fedsim: the worker tcp://127.0.0.1:")
    assert "cannot import 'mine:Slow': No module named 'mine'; install its package there, or " in complaint
    assert complaint.count("\n") == 1
    (there / "mine.py").write_text(PART)
    (there / "helping.py").write_text("FACTOR = 0.75\n")
    code, complaint = answer()
    assert code == 2
    assert "has other code of 'helping' than the sweep was started with, and 'mine:Slow' runs it" in complaint
    assert list(here.rglob("*.json")) == []  # no run is spent, and none is noted to have failed
    ended(worker)
    dask("worker", here, *words)
    with sweep() as process:
        made = here / "results" / "timing-only" / "small"
        until(lambda: len([run for run in made.glob("*") if not run.suffix]) >= 2, process)
        os.kill(scheduler.pid, signal.SIGKILL)
        said, complaint = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, said) == (1, "")
    assert complaint == (
        "fedsim: the connection to the Dask scheduler is lost; finished runs are kept, and the next start "
        "goes on from there\n"
    )
    kept = results.find_runs(here / "results")
    assert 2 <= len(kept) < 40
    assert list(here.rglob("*.failed.json")) == []

"""Who may talk to a model on this machine: to that of a run nobody, to `fedsim serve` programs, no pages."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_weights import write_weights

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.local import Local
from fedsim.icl.models.local import serving as front
from fedsim.icl.models.local.own_process import RuntimeProcess
from fedsim.icl.models.local.serving import KEY, serving

JSON = {"Content-Type": "application/json"}
ASKED = {"model": "tiny", "prompt": "A:", "max_tokens": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_weights(tmp_path_factory.mktemp("private") / "tiny.gguf", {":": {"ĠY": 3.0}})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def served(tiny) -> Iterator[int]:
    """The port of a server."""
    port = free_port()
    with serving(Local(weights=str(tiny)), port):
        yield port


Answered = tuple[int, set[str], str]


def ask(
    port: int, body: object = ASKED, route: str = "/v1/completions", method: str = "POST", **headers: str
) -> Answered:
    """Return the status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, route, content, JSON | named)
        answer = connection.getresponse()
        return answer.status, {name.lower() for name, _ in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def listening(pid: int) -> list[str]:
    """Return the ports on which a process listens."""
    ours = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    text = "".join(Path(f"/proc/{pid}/net/{file}").read_text() for file in ("tcp", "tcp6"))
    lines = [line.split() for line in text.splitlines()]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in ours]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's lists of open ports")
def test_a_local_model_opens_no_port(tiny):
    runtime = RuntimeProcess(tiny, 256)
    assert runtime.complete("A:", 1).text == " Y"
    assert [listening(pid) for pid in (runtime._process.pid, os.getpid())] == [[], []]
    runtime.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_the_death_of_the_runtime_is_a_sentence(tiny, number):
    session = Local(weights=str(tiny)).connect()
    answers: dict[int, object] = {}

    def done(place: int, answer: object) -> None:
        answers[place] = answer
        if place == 1:
            os.kill(session._runtime._process.pid, number)

    with pytest.raises(
        ModelError, match=rf"^llama.cpp has died \(signal {number.name}\).*answers that were had"
    ):
        session.ask(["A:", "B:", "C:"], ("No", "Yes"), done)
    assert list(answers) == [0, 1]
    session.close()


def test_the_runtime_ends_with_whoever_started_it(tiny):
    script = (
        "import os, sys; from pathlib import Path; from fedsim.icl.models.local import own_process; "
        "print(own_process.RuntimeProcess(Path(sys.argv[1]), 256)._process.pid, flush=True); "
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, tiny], capture_output=True, text=True, check=False)
    # Waits until it is gone.
    tail = ["tail", f"--pid={int(done.stdout)}", "-f", "/dev/null"]
    assert subprocess.run(tail, timeout=300, check=False).returncode == 0


def test_a_program_is_answered(served):
    status, headers, content = ask(served)
    assert (status, json.loads(content)["choices"][0]["text"]) == (200, " Y")
    assert not [name for name in headers if name.startswith("access-control")]
    chat = {"messages": [{"role": "user", "content": "A:"}], "max_completion_tokens": 1, "seed": 0}
    assert ask(served, chat, "/v1/chat/completions")[0] == 200
    assert "tiny.gguf" in ask(served, None, "/v1/models", "GET")[2]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Host": "rebound.example.org"}, 403),
        ({"Host": "rebound.example.org:8089"}, 403),
        ({"Host": "127.0.0.1.example.org"}, 403),
        ({"Host": ""}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_page_in_a_browser_is_not(served, headers, status):
    found, names, _ = ask(served, **headers)
    assert found == status
    assert not [name for name in names if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("route", "method", "status"),
    [
        ("/props", "GET", 404),
        ("/slots", "GET", 404),
        ("/tokenize", "POST", 404),
        ("/v1/completions", "OPTIONS", 405),
        ("/v1/completions", "GET", 405),
        ("/../etc/passwd", "GET", 404),
    ],
)
def test_nothing_else_is_told(served, tiny, route, method, status):
    found, _, content = ask(served, ASKED, route, method)
    assert found == status
    assert str(tiny.parent) not in content


DEEP = "(" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        ASKED | {"grammar": "root ::= " + DEEP + '"a"' + ")" * 100_000},
        ASKED | {"json_schema": {"type": "object"}},
        ASKED | {"response_format": {"type": "json_object"}},
        ASKED | {"stream": True},
        ASKED | {"prompt": [1, 2, 3]},
        ASKED | {"max_tokens": -1},
        ASKED | {"max_tokens": 10**30},
        ASKED | {"seed": 10**30},
        {"max_tokens": 1},
        "[" * 100_000,
        '{"prompt": ' + "[" * 100_000,
        b"\xff\xfe",
        b"",
    ],
    ids=str,
)
def test_what_a_model_need_not_know_is_refused(served, body):
    assert ask(served, body)[0] == 400
    assert ask(served)[0] == 200


def test_a_body_without_end(served):
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served)) as connection:
        connection.sendall(head.encode())
        with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012 -- at some round
            while True:
                connection.sendall(b" " * 2**16)
    assert ask(served)[0] == 200


def test_half_requests_keep_nobody_waiting(served, monkeypatch):
    """More than are let in, which never end; the limit of time plays no part."""
    monkeypatch.setattr(front, "ARRIVAL_S", 3600.0)
    halves = []
    try:
        for number in range(front.MOST_CONNECTIONS + 50):
            half = socket.create_connection(("127.0.0.1", served))
            half.sendall(
                b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-" if number % 2 else b"PO"
            )
            halves.append(half)
        for _ in range(3):
            assert ask(served)[0] == 200
    finally:
        for half in halves:
            half.close()


def test_a_half_request_is_let_go(served, monkeypatch):
    monkeypatch.setattr(front, "ARRIVAL_S", 0.2)
    with socket.create_connection(("127.0.0.1", served)) as half:
        half.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: ")
        half.settimeout(300)
        assert half.recv(1) == b""


def test_a_key_is_asked_for(tiny, monkeypatch):
    monkeypatch.setenv(KEY, "the-key-of-today")
    port = free_port()
    with serving(Local(weights=str(tiny)), port) as url:
        assert ask(port)[0] == 401
        assert ask(port, Authorization="Bearer another")[0] == 401
        assert ask(port, Authorization="Bearer the-key-of-today")[0] == 200
        from fedsim.icl.models.endpoint import Endpoint

        settings = {"model": "m", "base_url": url, "layout": "completions", "when_unlisted": "text"}
        session = Endpoint(**settings, api_key_env=KEY).connect()
        answers: dict[int, object] = {}
        session.ask(["A:"], ("No", "Yes"), answers.__setitem__)
        session.close()
        assert len(answers) == 1


def test_a_port_that_is_taken(served, tiny):
    model = Local(weights=str(tiny))
    with pytest.raises(InputError, match=f"cannot listen on port {served}"), serving(model, served):
        pass

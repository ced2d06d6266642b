"""Servers that send too much, for too long, or send prompts on to others."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from loopback_server import Loopback, Reply, chat

from fedsim.errors import ModelError
from fedsim.icl.models.endpoint import Endpoint

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def ask(model: Endpoint) -> int:
    """Return how many answers came."""
    answers: dict[int, object] = {}
    session = model.connect()
    try:
        session.ask(["a private text"], ("No", "Yes"), answers.__setitem__)
    finally:
        session.close()
    return len(answers)


@contextmanager
def raw_server(send: Callable[[socket.socket], None]) -> Iterator[Endpoint]:
    """A server that sends bytes of its own; the model that asks it."""
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                taken, _ = listening.accept()
            except OSError:
                return
            with taken, suppress(OSError):
                taken.recv(2**16)
                send(taken)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        try:
            yield Endpoint(
                model="m", base_url=f"http://127.0.0.1:{port}/v1", api_key_env="", retries=0, timeout_s=300
            )
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def endless(taken: socket.socket) -> None:
    taken.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        taken.sendall(b"10000\r\n" + b" " * 2**16 + b"\r\n")


def large(taken: socket.socket) -> None:
    taken.sendall(HEAD + b"Content-Length: 300000000\r\n\r\n")
    while True:
        taken.sendall(b" " * 2**16)


def bomb(taken: socket.socket) -> None:
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(b" " * 10**6) for _ in range(500)) + packer.flush()
    taken.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed)


def other_packing(taken: socket.socket) -> None:
    taken.sendall(HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc")


def damaged(taken: socket.socket) -> None:
    taken.sendall(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")


@pytest.mark.parametrize(
    ("send", "sentence"),
    [
        (endless, "the server sent an answer of more than 64 MiB"),
        (large, "the server sent an answer of more than 64 MiB"),
        (bomb, "the server sent an answer of more than 64 MiB"),
        (other_packing, "packed in a way that it was not asked for, or damaged"),
        (damaged, "packed in a way that it was not asked for, or damaged"),
    ],
)
def test_an_answer_is_bounded(send, sentence):
    tracemalloc.start()
    with raw_server(send) as model, pytest.raises(ModelError, match=sentence):
        ask(model)
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most_bytes < 4 * 2**26


@pytest.mark.parametrize("head", [b"", HEAD + b"Content-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: "])
def test_a_call_has_an_end(head):
    """A byte follows another for ever, of the body or of the head: no single one is late."""
    over = threading.Event()

    def trickle(taken: socket.socket) -> None:
        taken.sendall(head)
        while not over.wait(0.05):
            taken.sendall(b"x")

    with raw_server(trickle) as model:
        try:
            with pytest.raises(ModelError, match=r"no answer within timeout_s = 0.5 s|hung up"):
                ask(model.model_copy(update={"timeout_s": 0.5}))
        finally:
            over.set()


def test_a_flood_of_headers():
    def flood(taken: socket.socket) -> None:
        taken.sendall(HEAD)
        while True:
            taken.sendall(b"A: " + b"a" * 2**14 + b"\r\n")

    with raw_server(flood) as model, pytest.raises(ModelError, match="could not be reached, or hung up"):
        ask(model)


def test_a_packed_answer_is_read():
    content = chat().body
    packed = gzip.compress(json.dumps(content).encode())
    with Loopback(Reply(packed, 200, {"Content-Encoding": "gzip"})) as server:
        assert ask(server.endpoint()) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_prompt_is_sent_on_to_another_server(status):
    with Loopback(chat()) as other:
        away = Reply(b"", status, {"Location": f"{other.base_url}/chat/completions"})
        with Loopback(away) as server:
            with pytest.raises(ModelError, match="sends requests on to another address"):
                ask(server.endpoint(retries=5))
            assert (len(server.requests), other.requests) == (1, [])


def test_unless_it_is_allowed():
    with Loopback(chat()) as other:
        away = Reply(b"", 307, {"Location": f"{other.base_url}/chat/completions"})
        with Loopback(away) as server:
            assert ask(server.endpoint(follow_redirects=True)) == 1
        assert len(other.requests) == 1


def test_a_server_may_send_on_to_itself():
    def script(request, number):
        return chat() if number > 1 else Reply(b"", 308, {"Location": "/v1/elsewhere"})

    with Loopback(script) as server:
        assert ask(server.endpoint()) == 1
        assert server.paths[1] == "/v1/elsewhere"


def test_it_does_not_do_so_for_ever():
    with Loopback(Reply(b"", 308, {"Location": "/v1/again"})) as server, pytest.raises(ModelError):
        ask(server.endpoint())

"""A server on this machine that speaks OpenAI's API and behaves as a test tells it to."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

from waiting import LIMIT_S, until

from fedsim.icl.models.endpoint import Endpoint

YES_NO = {" Yes": 0.6, "No": 0.2}
"""Tokens and probabilities that `chat` and `legacy` list unless told otherwise."""


class Reply(NamedTuple):
    """What the server does with one request."""

    body: Any = b""
    """Bytes as they are, anything else as JSON."""
    status: int = 200
    headers: Mapping[str, str] = {}
    act: Literal["answer", "hang", "hang_up"] = "answer"
    wait_s: float = 0.0
    after: threading.Event | None = None
    """Answers only once this is set."""


Script = Callable[[dict[str, Any], int], Reply]
"""From a request's body and its number, counted from 1, to a reply."""


def usage(tokens_in: int = 30, tokens_out: int = 1) -> dict[str, int]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}


def content(listed: Mapping[str, float]) -> dict[str, Any]:
    """Return the log-probabilities of one token in the layout of chats."""
    tokens = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in listed.items()]
    return {"content": [{**tokens[0], "top_logprobs": tokens}]}


def chat(listed: Mapping[str, float] | None = YES_NO, text: str = "Yes", **more: Any) -> Reply:
    logprobs = None if listed is None else content(listed)
    choice = {"message": {"role": "assistant", "content": text}, "logprobs": logprobs}
    return Reply({"choices": [choice], "usage": usage()} | more)


def legacy(listed: Mapping[str, float] = YES_NO, text: str = " Yes") -> Reply:
    logprobs = {
        "tokens": [text],
        "token_logprobs": [-0.5],
        "top_logprobs": [{token: math.log(p) for token, p in listed.items()}],
    }
    return Reply({"choices": [{"text": text, "logprobs": logprobs}], "usage": usage()})


def error(status: int, message: str = "", **fields: Any) -> Reply:
    """Return an error whose retry, if any, comes after 20 ms."""
    return Reply({"error": {"message": message, **fields}}, status, {"Retry-After-Ms": "20"})


class Loopback:
    """The server; a context that listens while it is open, and remembers what it was asked."""

    def __init__(self, script: Script | Reply) -> None:
        self.script: Script = (lambda _, __: script) if isinstance(script, Reply) else script
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str] = []
        self.arrived_s: list[float] = []
        self.most_open = 0
        self.over = threading.Event()
        self._open = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Loopback:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def endpoint(self, **settings: Any) -> Endpoint:
        plain = {"model": "m", "base_url": self.base_url, "api_key_env": "", "retries": 0}
        plain["timeout_s"] = LIMIT_S  # a server that is slow because the machine is has not failed
        return Endpoint(**(plain | settings))

    def wait_for(self, n_requests: int) -> None:
        until(lambda: len(self.requests) >= n_requests)

    def begin(self, handler: _Handler, body: dict[str, Any]) -> Reply:
        with self._lock:
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            self.requests.append(body)
            self.paths.append(handler.path)
            self.keys.append(handler.headers.get("Authorization", ""))
            self.arrived_s.append(time.monotonic())
            number = len(self.requests)
        return self.script(body, number)

    def end(self) -> None:
        with self._lock:
            self._open -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    loopback: Loopback

    def handle_error(self, *_: object) -> None:
        """Say nothing about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        loopback = self.server.loopback
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        reply = loopback.begin(self, request)
        try:
            time.sleep(reply.wait_s)
            if reply.after is not None:
                until(lambda: reply.after.is_set() or loopback.over.is_set())
            if reply.act == "hang":
                loopback.over.wait(LIMIT_S)
        finally:
            loopback.end()
        if reply.act == "answer":
            self._send(reply)
        else:
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep still."""

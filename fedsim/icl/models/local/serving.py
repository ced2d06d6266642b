"""A local model behind an OpenAI-compatible server on this machine, for trying out endpoints.

Strangers may knock: other users of this machine, and pages in a browser. So requests are read here, and
llama.cpp gets only the fields that it is meant to. A page is refused, whatever name it gives this machine
(`Origin`, `Host`); nothing is allowed to pages of other places; a key is asked for where the variable
FEDSIM_SERVE_KEY holds one. Who sends half a request keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import h11
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedsim.errors import InputError
from fedsim.safety import is_loopback
from fedsim.secrets import is_in_variable

if TYPE_CHECKING:
    from fedsim.icl.models.local import Local
    from fedsim.icl.models.local.runtime import LlamaServer

HOST = "127.0.0.1"
KEY = "FEDSIM_SERVE_KEY"
"""The environment variable with the key that clients must send, if they must."""

ARRIVAL_S = 10.0
"""How long a request may take to arrive, and a connection may stay without one."""
MOST_CONNECTIONS = 400
"""Of more, the one that has waited longest for its request is closed."""
MOST_WAITING = 1000
"""Requests that may wait for an answer."""
MOST_BODY_BYTES = 4 * 2**20
MOST_HEAD_BYTES = 16 * 2**10


class ServedMessage(BaseModel):
    """One message of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str


class ServedRequest(BaseModel):
    """What may be asked: no grammars, schemas or files, nor anything else that reaches far into llama.cpp."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str = ""
    prompt: str | None = None
    messages: list[ServedMessage] | None = Field(default=None, min_length=1, max_length=1000)
    max_tokens: int | None = Field(default=None, ge=0, le=100_000)
    max_completion_tokens: int | None = Field(default=None, ge=0, le=100_000)
    temperature: float | None = Field(default=None, ge=0, le=100)
    seed: int | None = Field(default=None, ge=-1, lt=2**32)
    logprobs: bool | int | None = Field(default=None, le=1_000_000)
    top_logprobs: int | None = Field(default=None, ge=0, le=1_000_000)
    logit_bias: dict[str, float] | None = Field(default=None, max_length=1000)
    stop: str | list[str] | None = None
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    top_p: float | None = Field(default=None, ge=0, le=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-10, le=10)
    frequency_penalty: float | None = Field(default=None, ge=-10, le=10)
    cache_prompt: bool | None = None
    echo: Literal[False] | None = None
    stream: Literal[False] | None = None
    n: Literal[1] | None = None
    user: str | None = None


class _RefusedError(Exception):
    """A request that gets no answer: status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@contextmanager
def serving(model: Local, port: int, slots: int = 1) -> Iterator[str]:
    """Serve a model to OpenAI clients on the loopback interface, and yield the root of the API.

    Args:
        model: whose weights.
        port: where to listen.
        slots: prompts that are answered at once, by one thread; with more than one an answer may
            differ in its last digits from the model's own.

    Raises:
        InputError: the weights or an optional package are missing, or the port is taken.
    """
    from fedsim.icl.models.local.runtime import LlamaServer

    is_in_variable(KEY)
    try:
        listening = socket.create_server((HOST, port), backlog=512)
    except OSError as error:
        raise InputError(f"cannot listen on port {port}: {error.strerror}") from error
    with listening, ThreadPoolExecutor(slots) as pool:
        llama = LlamaServer(model.loadable(), model.context_tokens, slots)
        front = _Front(llama, pool, os.environ.get(KEY, "").strip(), model.weights)
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=lambda: asyncio.run(front.run(listening, started)), daemon=True)
        thread.start()
        loop, stop = started.result()
        try:
            yield f"http://{HOST}:{port}/v1"
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            pool.shutdown(wait=True, cancel_futures=True)
            llama.close()


class _Front:
    """Takes requests from the network, hands the sensible ones on, and sends the answers."""

    def __init__(self, llama: LlamaServer, pool: ThreadPoolExecutor, key: str, weights: str) -> None:
        self._routes = {"/v1/completions": llama.complete, "/v1/chat/completions": llama.chat}
        self._pool = pool
        self._key = key
        # The name alone: where the weights lie is nobody's business.
        self._name = weights.replace("\\", "/").rpartition("/")[2]
        self._idle: dict[asyncio.Task[Any], None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._waiting = 0

    async def run(
        self,
        listening: socket.socket,
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
    ) -> None:
        """Serve until the event is set that is handed out by `started`."""
        stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=listening, limit=MOST_HEAD_BYTES)
        started.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._talk(task, reader, writer)
        except (asyncio.CancelledError, OSError, TimeoutError, h11.ProtocolError):
            pass  # gone, or not worth an answer
        finally:
            self._tasks.discard(task)
            self._idle.pop(task, None)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _talk(
        self, task: asyncio.Task[Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of one connection, one after the other."""
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)
        while True:
            self._make_room(task)
            try:
                async with asyncio.timeout(ARRIVAL_S):
                    request, body = await _arrived(talk, reader)
                if request is None:
                    return
                self._idle.pop(task, None)
                status, answer = 200, await self._answer(request, body)
            except _RefusedError as refused:
                status, answer = refused.status, _error(str(refused))
            except h11.RemoteProtocolError as error:
                status, answer = error.error_status_hint, _error("not a request of HTTP")
            await self._send(talk, writer, status, answer)
            if talk.our_state is not h11.DONE or talk.their_state is not h11.DONE:
                return
            talk.start_next_cycle()

    def _make_room(self, task: asyncio.Task[Any]) -> None:
        """Count a connection that waits for a request; the one that has waited longest gives way."""
        self._idle.pop(task, None)
        while len(self._idle) >= MOST_CONNECTIONS:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.cancel()
        self._idle[task] = None

    async def _answer(self, request: h11.Request, body: bytes) -> dict[str, Any]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        route = request.target.decode("latin-1").partition("?")[0]
        # A page of another place says where it is from; one that calls itself by our number's name says so.
        if "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise _RefusedError(403, "no page may ask this server")
        if not _is_ours(headers.get("host", "")):
            raise _RefusedError(403, "expected a Host of 127.0.0.1 or localhost")
        if self._key and not hmac.compare_digest(
            headers.get("authorization", "").encode("latin-1"), f"Bearer {self._key}".encode()
        ):
            raise _RefusedError(401, f"expected the key that {KEY} held when the server was started")
        if route == "/v1/models" and request.method == b"GET":
            return {"object": "list", "data": [{"id": self._name, "object": "model", "owned_by": "fedsim"}]}
        if route not in self._routes:
            raise _RefusedError(
                404, f"no such route; known: GET /v1/models, POST {', POST '.join(self._routes)}"
            )
        if request.method != b"POST":
            raise _RefusedError(405, "expected POST")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _RefusedError(415, "expected a body of type application/json")
        return await self._computed(route, _read(body, route))

    async def _computed(self, route: str, fields: dict[str, Any]) -> dict[str, Any]:
        if self._waiting >= MOST_WAITING:
            raise _RefusedError(503, "too many requests wait for an answer")
        self._waiting += 1
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._routes[route], fields)
        finally:
            self._waiting -= 1
        if "error" in answer:
            error = answer["error"]
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise _RefusedError(status, str(error.get("message", "llama.cpp failed")))
        return answer | {"model": self._name}

    @staticmethod
    async def _send(
        talk: h11.Connection, writer: asyncio.StreamWriter, status: int, answer: dict[str, Any]
    ) -> None:
        content = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        if status >= 400 and talk.their_state is not h11.DONE:
            headers.append(("Connection", "close"))  # what else it sends is not read
        writer.write(talk.send(h11.Response(status_code=status, headers=headers)) or b"")
        writer.write(talk.send(h11.Data(data=content)) or b"")
        writer.write(talk.send(h11.EndOfMessage()) or b"")
        async with asyncio.timeout(ARRIVAL_S):
            await writer.drain()


async def _arrived(talk: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
    """Return the next request with its body; none: the client has closed the connection."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = talk.next_event()
        if event is h11.NEED_DATA:
            talk.receive_data(await reader.read(2**16))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MOST_BODY_BYTES:
                raise _RefusedError(413, f"expected at most {MOST_BODY_BYTES:,} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:  # closed
            return None, b""


def _read(body: bytes, route: str) -> dict[str, Any]:
    """Return the fields of a request."""
    try:
        request = ServedRequest.model_validate_json(body)
    except ValidationError as error:
        what = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, what["loc"]))
        raise _RefusedError(400, f"{place}: {what['msg']}" if place else what["msg"]) from None
    wanted, other = ("messages", "prompt") if "chat" in route else ("prompt", "messages")
    if getattr(request, wanted) is None or getattr(request, other) is not None:
        raise _RefusedError(400, f"expected {wanted!r}, and no {other!r}")
    return request.model_dump(exclude_none=True, exclude={"model", "user", "stream", "n", "echo"})


def _is_ours(host: str) -> bool:
    """Whether a request was meant for this machine, and not for a name that somebody made lead here."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _error(why: str) -> dict[str, Any]:
    return {"error": {"message": why, "type": "invalid_request_error", "param": None, "code": None}}

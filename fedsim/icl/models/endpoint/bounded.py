"""What a server may do to a client: how much it may send, for how long, and where it may send prompts on to.

An answer is read whole here, within bounds, before anything else looks at it. A server is a stranger: it may
send without end, pack much into little, let a byte follow another for ever, or name another machine that
would get the prompts.
"""

from __future__ import annotations

import asyncio
import importlib
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from openai import DefaultAsyncHttpxClient

# openai brings its client of HTTP along: httpx, or a package of another name with the same classes.
http: Any = importlib.import_module(DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0])

MOST_BYTES = 64 * 2**20
"""Of an answer, packed or not: a thousand tokens listed at each of a thousand places."""

REFUSED = "fedsim_refused"
"""Where a response that was made here says why, in its extensions: no server can write there."""

TOO_LARGE = f"the server sent an answer of more than {MOST_BYTES // 2**20} MiB: lower top_logprobs"
PACKED = "the server sent an answer that is packed in a way that it was not asked for, or damaged"
SENT_ON = (
    "the server sends requests on to another address, which would get the prompts: name that address in "
    "base_url, or say follow_redirects = true"
)


class BoundedTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # of one of two packages
    """Wraps a transport; what passes a bound becomes an answer of status 400 that says so.

    Args:
        inner: what sends and receives.
        timeout_s: how long one try may take, from the request to the end of its answer.
        follow_redirects: whether requests may be sent on to another server.
    """

    def __init__(self, inner: Any, timeout_s: float, follow_redirects: bool) -> None:
        self._inner = inner
        self._timeout_s = timeout_s
        self._follow_redirects = follow_redirects

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request and return its answer, all of it."""
        request.headers["accept-encoding"] = "gzip, deflate"
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._inner.handle_async_request(request)
                try:
                    content, why = await _read(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise http.ReadTimeout("the whole answer took too long", request=request) from error
        if response.has_redirect_location and not (
            self._follow_redirects or _same_server(str(request.url), response.headers["location"])
        ):
            why = SENT_ON
        if why:
            return http.Response(400, stream=_Whole(b""), extensions={REFUSED: why})
        headers = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
        ]
        return http.Response(
            response.status_code,
            headers=headers,
            stream=_Whole(content),
            extensions={"http_version": response.extensions.get("http_version", b"HTTP/1.1")},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Whole(http.AsyncByteStream):  # type: ignore[misc]  # of one of two packages
    """A body that is there already, which the client reads and closes as any other."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


def refusal(response: Any) -> str:
    """Return why a response was made here and not by the server, in a sentence; nothing: it was not."""
    return str(response.extensions.get(REFUSED, ""))


async def _read(response: Any) -> tuple[bytes, str]:
    """Return the unpacked body of a response, or a sentence on what is wrong with it."""
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "", "gzip", "x-gzip", "deflate"):
        return b"", PACKED
    # 32 more than the largest window: the header tells gzip from zlib's own.
    unpack = None if packing in ("identity", "") else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    content, received = bytearray(), 0
    async for piece in response.aiter_raw():
        received += len(piece)
        try:
            content += piece if unpack is None else unpack.decompress(piece, MOST_BYTES + 1 - len(content))
        except zlib.error:
            return b"", PACKED
        if max(len(content), received) > MOST_BYTES:
            return b"", TOO_LARGE
    return bytes(content), ""


def _same_server(address: str, location: str) -> bool:
    """Whether an address leads to the server that a redirect from there leads to; encrypting it is fine."""
    try:
        before, after = urlsplit(address), urlsplit(urljoin(address, location))
        return _server(before) == _server(after) or (
            (before.scheme, after.scheme) == ("http", "https")
            and before.hostname == after.hostname
            and (_server(before)[2], _server(after)[2]) == (80, 443)
        )
    except ValueError:
        return False


def _server(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)

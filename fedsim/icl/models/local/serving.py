"""A local model behind an OpenAI-compatible server on this machine, for trying out endpoints."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedsim.errors import InputError

if TYPE_CHECKING:
    from fedsim.icl.models.local import Local

HOST = "127.0.0.1"


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
    from fedsim.icl.models.local.runtime import start_server

    # llama.cpp would say it in its own log, which is silent.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"cannot listen on port {port}: {error.strerror}") from error
    server = start_server(model.loadable(), model.context_tokens, slots, port)
    try:
        yield f"{server.listening_address}/v1"
    finally:
        # The server stops when nothing refers to it.
        del server

"""llama.cpp in this process: one model, one prompt at a time.

Its HTTP server is a part of it that cannot be left out. It listens on a socket in a folder that this user
alone can enter, with a key that this process alone knows: no port is open, and no page of a browser near.
"""

from __future__ import annotations

import json
import math
import secrets
import socket
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fedsim.errors import InputError, ModelError

IMPOSSIBLE = -1e30
"""Below it, what llama.cpp writes for the logarithm of zero."""

PLACE = "@PROMPT@"

Tokens = tuple[int, ...]


class ModelOutput(NamedTuple):
    """What the model said to one call."""

    text: str
    logprobs: dict[int, float]
    """Of the likeliest tokens, by their number."""
    tokens_in: int
    tokens_out: int
    ttft_s: float
    seconds: float


class Runtime:
    """A model with its weights in memory.

    Raises:
        InputError: the package xllamacpp is missing, or the file is no model that it can load.
    """

    def __init__(self, weights: Path, context_tokens: int) -> None:
        self._server: LlamaServer | None = LlamaServer(weights, context_tokens)

    def complete(self, prompt: str | list[str | int], max_tokens: int, n_listed: int = 0) -> ModelOutput:
        """Continue a prompt greedily: a text, or a text and the tokens after it.

        Args:
            prompt: the part of it that it shares with the one before is not computed again.
            max_tokens: the most that are written.
            n_listed: how many of the likeliest first tokens are listed.

        Raises:
            ModelError: the prompt is longer than the context.
        """
        request = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "cache_prompt": True}
        start = perf_counter()
        assert self._server is not None
        reply = self._server.complete(request | ({"logprobs": n_listed} if n_listed else {}))
        seconds = perf_counter() - start
        if "error" in reply:
            raise _error(reply["error"])
        choice, usage = reply["choices"][0], reply["usage"]
        listed = choice["logprobs"]["content"][0]["top_logprobs"] if choice["logprobs"] else []
        return ModelOutput(
            text=choice["text"],
            logprobs={each["id"]: _logarithm(each["logprob"]) for each in listed},
            tokens_in=usage["prompt_tokens"],
            tokens_out=usage["completion_tokens"],
            ttft_s=reply["timings"]["prompt_ms"] / 1e3,
            seconds=seconds,
        )

    def tokens(self, text: str, whole: bool = False) -> Tokens:
        """Return the numbers of a text's tokens; of a whole prompt with what the model wants at its start."""
        assert self._server is not None
        return tuple(self._server.post("/tokenize", {"content": text, "add_special": whole})["tokens"])

    def text(self, tokens: Tokens) -> str:
        """Return the text of some tokens."""
        assert self._server is not None
        return self._server.post("/detokenize", {"tokens": tokens})["content"]

    def chat_template(self) -> tuple[str, str]:
        """Return what the model's template puts before and after the one message of a chat."""
        message = {"role": "user", "content": PLACE}
        assert self._server is not None
        rendered = self._server.post("/apply-template", {"messages": [message]})["prompt"]
        before, _, after = rendered.partition(PLACE)
        return before, after

    def close(self) -> None:
        """Free the weights; more than once does no harm."""
        if self._server is not None:
            self._server.close()
        self._server = None


def _logarithm(value: float) -> float:
    return -math.inf if value < IMPOSSIBLE else value


def _error(error: dict[str, Any]) -> ModelError:
    if error.get("type") == "exceed_context_size_error":
        return ModelError(
            f"a prompt has {error['n_prompt_tokens']} tokens, more than context_tokens = {error['n_ctx']}: "
            "raise context_tokens, reduce n_words, or show fewer or shorter demonstrations"
        )
    # Only the kind of error: its text may quote the prompt.
    return ModelError(f"the local model failed ({error.get('type', 'unknown error')})")


class LlamaServer:
    """llama.cpp's server with one model.

    Args:
        weights: the GGUF file.
        context_tokens: the longest prompt.
        slots: how many prompts are answered at once, by one thread.

    Raises:
        InputError: the package xllamacpp is missing, or the file is no model that it can load.
    """

    def __init__(self, weights: Path, context_tokens: int, slots: int = 1) -> None:
        try:
            import xllamacpp
        except ModuleNotFoundError as error:
            raise InputError("a local model needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(weights)
        params.n_ctx = context_tokens * slots
        params.n_parallel = slots
        # More threads wait for one another at every step: beside other work on the machine far slower.
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.n_gpu_layers = params.cache_ram_mib = params.n_ctx_checkpoints = 0
        params.warmup = params.fit_params = False
        # Flash attention sums in another order for many tokens than for few: an answer would depend on how
        # much of its prompt was there already, by up to 0.4 in a log-probability.
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.endpoint_slots = params.endpoint_props = params.ui = False
        params.cors_origins = "null"  # of all pages: none
        # No word from llama.cpp's own log.
        params.verbosity = -1
        self._key = secrets.token_urlsafe(32)
        params.api_keys = [self._key]
        self._folder: TemporaryDirectory[str] | None = None
        if hasattr(socket, "AF_UNIX"):  # elsewhere a free port of the loopback interface, and the key
            self._folder = TemporaryDirectory(prefix="fedsim-")
            params.hostnames = [str(Path(self._folder.name) / SOCKET)]
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise InputError(
                f"the weights {weights} cannot be loaded: damaged, incomplete, or of a model that this "
                "xllamacpp does not know"
            ) from error
        # Its loop starts in another thread. Closed before that it would wait for ever, so see it answer once.
        self._server.handle_completions({"prompt": "a", "max_tokens": 1})

    def complete(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request for a completion as OpenAI's API states it; what went wrong is in `error`."""
        return self._server.handle_completions(request)

    def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request for a chat's next message; otherwise as `complete`."""
        return self._server.handle_chat_completions(request)

    def post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for what only the HTTP server answers."""
        # Not through urllib: that would ask a proxy for the way into this very process.
        if self._folder is None:
            connection = HTTPConnection(urlsplit(self._server.listening_address).netloc)
        else:
            connection = _UnixConnection(str(Path(self._folder.name) / SOCKET))
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request("POST", route, json.dumps(body), headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def close(self) -> None:
        """Free the weights: the server stops when nothing refers to it."""
        self._server = None
        if self._folder is not None:
            self._folder.cleanup()


SOCKET = "llama.sock"


class _UnixConnection(HTTPConnection):
    """HTTP through a socket that has a path in place of a port."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

"""A language model in this process that is ready to answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.language import Answer, Writing

LIST_LENGTHS = (20, 1_000, 10**9)
"""How many of the likeliest tokens are asked for, until all label words are there. 20 cost nothing to speak
of, 1,000 cost some milliseconds, and the whole vocabulary a third of a second."""

ENDING_LETTERS = 8
"""How much of a prompt's end is looked at to see how a label word after it is cut into tokens."""

IMPOSSIBLE = -1e30
"""Below it, what llama.cpp writes for the logarithm of zero."""

PLACE = "@PROMPT@"

Tokens = tuple[int, ...]


class Reply(NamedTuple):
    """What the model said to one call."""

    text: str
    logprobs: dict[int, float]
    """Of the likeliest tokens, by their number."""
    tokens_in: int
    tokens_out: int
    ttft_s: float
    seconds: float


class LocalSession:
    """See `fedsim.icl.models.language.Session`. One thread may use it at a time.

    The part of a prompt that it shares with the one before is not computed again: a call takes as long as
    what is new in its prompt, and so do the times in its answer.
    """

    def __init__(self, weights: Path, context_tokens: int, layout: Literal["completions", "chat"]) -> None:
        self._server = _server(weights, context_tokens)
        self._label_tokens: dict[tuple[str, tuple[str, ...]], list[Tokens]] = {}
        self._space = "" if layout == "chat" else " "
        self._before, self._after = self._chat_template() if layout == "chat" else ("", "")

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        """Score the label words after each prompt, in their order.

        Raises:
            ModelError: a prompt is longer than the context, or empty.
        """
        for place, prompt in enumerate(prompts):
            done(place, self._answer(self._rendered(prompt), labels))

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        """Continue each prompt greedily for at most `max_tokens`; errors as for `ask`."""
        for place, prompt in enumerate(prompts):
            reply = self._call(self._rendered(prompt), max_tokens)
            done(place, Writing(reply.text, reply.tokens_in, reply.tokens_out, reply.ttft_s, reply.seconds))

    def close(self) -> None:
        """Free the weights; more than once does no harm."""
        self._server = None

    def _answer(self, text: str, labels: tuple[str, ...]) -> Answer:
        tokens = self._tokens_of(text, labels)
        rule = "listed"
        if len({each[0] for each in tokens}) == len(labels):
            tokens = [each[:1] for each in tokens]
        else:
            rule = "whole_label"
        calls: list[Reply] = []
        found: dict[Tokens, dict[int, float]] = {}
        for start, wanted in _steps(tokens).items():
            tries = self._scored([text, *start] if start else text, wanted)
            calls += tries
            found[start] = tries[-1].logprobs
            if len(tries) > 1 and rule == "listed":
                rule = "longer_list"
        logprobs = tuple(sum(found[each[:i]][token] for i, token in enumerate(each)) for each in tokens)
        return Answer(
            logprobs=logprobs,
            tokens_in=sum(call.tokens_in for call in calls),
            tokens_out=sum(call.tokens_out for call in calls),
            ttft_s=sum(call.seconds for call in calls),
            end_to_end_s=sum(call.seconds for call in calls),
            rule=rule,
        )

    def _scored(self, prompt: str | list[str | int], wanted: set[int]) -> list[Reply]:
        """Ask for the likeliest next tokens, for longer lists until one holds all that are wanted."""
        calls = []
        for n_listed in LIST_LENGTHS:
            calls.append(self._call(prompt, 1, n_listed))
            if wanted <= calls[-1].logprobs.keys():
                return calls
        raise ModelError("the model gave no log-probabilities: is the prompt empty?")

    def _call(self, prompt: str | list[str | int], max_tokens: int, n_listed: int = 0) -> Reply:
        request = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "cache_prompt": True}
        start = perf_counter()
        reply = self._server.handle_completions(request | ({"logprobs": n_listed} if n_listed else {}))
        seconds = perf_counter() - start
        if "error" in reply:
            raise _error(reply["error"])
        choice, usage = reply["choices"][0], reply["usage"]
        listed = choice["logprobs"]["content"][0]["top_logprobs"] if choice["logprobs"] else []
        return Reply(
            text=choice["text"],
            logprobs={each["id"]: _logarithm(each["logprob"]) for each in listed},
            tokens_in=usage["prompt_tokens"],
            tokens_out=usage["completion_tokens"],
            ttft_s=reply["timings"]["prompt_ms"] / 1e3,
            seconds=seconds,
        )

    def _rendered(self, prompt: str) -> str:
        return self._before + prompt + self._after

    def _tokens_of(self, text: str, labels: tuple[str, ...]) -> list[Tokens]:
        """Return the tokens of each label word as it follows a text.

        They are those that the text's end gains when the word is put after it: some models cut a word
        differently where nothing stands before it. Where the word changes how the end itself is cut (a space
        that would be one token with it), they are those of the word alone.
        """
        end = text[-ENDING_LETTERS:]
        if (end, labels) not in self._label_tokens:
            space = "" if end[-1:].isspace() else self._space
            before = self._tokens(end)
            found = []
            for label in labels:
                both = self._tokens(end + space + label)
                kept = both[: len(before)] == before
                found.append(both[len(before) :] if kept else self._tokens(space + label))
                if not found[-1]:
                    raise ModelError(f"the label {label!r} has no letters of its own after the prompt")
            self._label_tokens[end, labels] = found
        return self._label_tokens[end, labels]

    def _tokens(self, text: str) -> Tokens:
        return tuple(self._post("/tokenize", {"content": text})["tokens"])

    def _chat_template(self) -> tuple[str, str]:
        """Return what the model's template puts before and after the one message of a chat."""
        message = {"role": "user", "content": PLACE}
        before, _, after = self._post("/apply-template", {"messages": [message]})["prompt"].partition(PLACE)
        return before, after

    def _post(self, route: str, body: dict[str, Any]) -> dict[str, Any]:
        # Not through urllib: that would ask a proxy for the way into this very process.
        connection = HTTPConnection(urlsplit(self._server.listening_address).netloc)
        try:
            connection.request("POST", route, json.dumps(body), {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


def _steps(tokens: list[Tokens]) -> dict[Tokens, set[int]]:
    """Return for each beginning of a word, the empty one first, which tokens may come next.

    >>> _steps([(7,), (8, 9)])
    {(): {8, 7}, (8,): {9}}
    """
    steps: dict[Tokens, set[int]] = {}
    for each in tokens:
        for i, token in enumerate(each):
            steps.setdefault(each[:i], set()).add(token)
    return steps


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


def _server(weights: Path, context_tokens: int) -> Any:
    """Load a model for one prompt at a time.

    Raises:
        InputError: the package xllamacpp is missing, or the file is no model that it can load.
    """
    try:
        import xllamacpp
    except ModuleNotFoundError as error:
        raise InputError("a local model needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.n_ctx = context_tokens
    params.n_parallel = params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_gpu_layers = params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.warmup = params.fit_params = False
    # Flash attention sums in another order for many tokens than for few: an answer would depend on how much
    # of its prompt was there already, by up to 0.4 in a log-probability.
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    # No word from llama.cpp's own log.
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise InputError(
            f"the weights {weights} cannot be loaded: damaged, incomplete, or of a model that this xllamacpp "
            "does not know"
        ) from error

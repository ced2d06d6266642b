"""From a failed call to a sentence. Nothing that a server sent is passed on: it may quote a prompt or key."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from openai import APIConnectionError, APIStatusError, APITimeoutError

from fedsim.icl.models.endpoint.bounded import refusal
from fedsim.icl.models.endpoint.client import proxy_of

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint

TOO_LONG = ("context length", "context size", "context window", "maximum context", "too long")
"""How servers say in words that a prompt does not fit."""

REMEDIES = {
    "logprobs": 'lower top_logprobs, or say top_logprobs = 0 and when_unlisted = "text"',
    "top_logprobs": 'lower top_logprobs, or say top_logprobs = 0 and when_unlisted = "text"',
    "seed": 'leave seed out with unset = ["seed"]',
    "temperature": 'leave temperature out with unset = ["temperature"]',
    "max_tokens": 'say length_field = "max_completion_tokens"',
    "max_completion_tokens": 'say length_field = "max_tokens"',
    "logit_bias": 'say when_unlisted = "floor"',
    "echo": 'say when_unlisted = "floor"',
}
"""Fields of a request that a server may dislike, and that may be named, with what helps."""

FILTERED = "content_filter"
"""The code of the error by which a server says that a filter kept a prompt back."""

DEEPEST = 10
"""How deep an answer is looked into for the name of a field."""

ANY = "look at top_logprobs, seed, temperature, length_field and extra_body"


class CallError(Exception):
    """A call that gave no usable answer, or that must not be made; its text is what happened and a remedy."""


class FilteredError(CallError):
    """A filter of the server did not let the prompt pass."""


def failure(error: Exception, settings: Endpoint) -> CallError:
    """Return what is to be raised for the error of a client."""
    filtered = isinstance(error, APIStatusError) and error.status_code == 400 and error.code == FILTERED
    return (FilteredError if filtered else CallError)(explain(error, settings))


def explain(error: Exception, settings: Endpoint) -> str:
    """Return what happened and what to do about it, from the kind of error alone."""
    proxy = proxy_of(settings.base_url)
    through = f" through the proxy that {proxy.named_by} names" if proxy else ""
    tried = f"in {settings.retries + 1} tries" if settings.retries else "in the only try (retries = 0)"
    if isinstance(error, APITimeoutError):
        return f"no answer within timeout_s = {settings.timeout_s:g} s {tried}{through}"
    if isinstance(error, APIConnectionError):
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return (
                    f"the certificate of the server at base_url is not believed{through}: the environment "
                    "variable SSL_CERT_FILE names a file of certificates that are"
                )
            if isinstance(cause, ssl.SSLError):
                return f"no encrypted connection to the server at base_url{through}: does it speak https?"
        running = "are both running?" if proxy else "is it running?"
        return f"the server at base_url could not be reached{through}, or hung up, {tried} ({running})"
    if isinstance(error, APIStatusError):
        if refused := refusal(error.response):
            return refused
        if proxy and error.status_code == 407:
            return f"the proxy that {proxy.named_by} names wants a name and a password (407)"
        return _status(error, settings, tried)
    return f"the client failed ({type(error).__name__})"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield what an error came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: APIStatusError, settings: Endpoint, tried: str) -> str:
    status, key = error.status_code, settings.api_key_env
    if status == 401:
        if not key:
            return "the server wants a key (401): name the environment variable that holds it in api_key_env"
        return f"the server refuses the key in the environment variable {key} (401)"
    if status == 403:
        return f"the server forbids the use of this model (403){f' with the key in {key}' if key else ''}"
    if status == 404:
        return "the server does not know this model or route (404): look at model, base_url and layout"
    if status == 429:
        return _limited(error, tried)
    if status >= 500:
        return f"the server failed with status {status} {tried}"
    if status == 413 or _is_too_long(error):
        return (
            f"a prompt is longer than the model's context ({status}): reduce n_words, or show fewer or "
            "shorter demonstrations"
        )
    if error.code == FILTERED:
        return f"a filter of the server does not let a prompt pass ({status})"
    return f"the server rejects the request{_because(error, settings)}"


def _because(error: APIStatusError, settings: Endpoint) -> str:
    """Return which field of a request a server dislikes, where it says so, and what helps."""
    field, status = _disliked(error, (*REMEDIES, *settings.extra_body)), error.status_code
    remedy = REMEDIES.get(field, f"look at extra_body.{field}" if field else ANY)
    if field.startswith("max_") and (field != settings.length_field or "below_min" in f"{error.code}"):
        remedy = "raise text_tokens" if settings.when_unlisted == "text" else ANY
    return f"{f' because of the field {field!r}' if field else ''} ({status}): {remedy}"


def _disliked(error: APIStatusError, fields: Collection[str]) -> str:
    """Return which of the fields of a request an error is about; nothing where it does not say."""
    if error.param in fields:
        return str(error.param)
    texts: list[str] = []
    for key, value in _leaves(error.body):
        if key == "loc" and value in fields:
            return value
        texts.append(value)
    quoted = (match for text in texts for match in re.findall(r"""['"`](\w+)['"`]""", text))
    return next((name for name in quoted if name in fields), "")


def _leaves(value: object, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the texts in an answer, each with the key under which it or its list stands."""
    if isinstance(value, str):
        yield key, value
    elif depth == DEEPEST:
        return
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, str(name), depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key, depth + 1)


def _limited(error: APIStatusError, tried: str) -> str:
    if error.code == "insufficient_quota":
        return "the account has no quota left (429)"
    wait = error.response.headers.get("retry-after", "")
    asked = f", asking for a wait of {wait} s" if wait.isdigit() else ""
    return f"the server refused for the rate of requests (429) {tried}{asked}: lower concurrency, or wait"


def _is_too_long(error: APIStatusError) -> bool:
    if "context" in f"{error.code} {error.type}":
        return True
    return any(words in error.message.lower() for words in TOO_LONG)

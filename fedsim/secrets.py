"""Keys and passwords: what must not stand in a scenario, and how all that is written or printed hides them.

Two rules. A scenario is written into results, caches and reports: one that holds a secret is refused, and the
sentence does not repeat it. Everything else (commands, errors, traces, notes of failed runs, what servers
send) passes `redacted` on its way to a file or a terminal.

A secret is known by its place (the user's part of an address, a field called ``api_key`` or ``password``), by
its form (``sk-...``, ``Bearer ...``), or by its value: that of an environment variable whose name says so, or
that a scenario names as the one that holds a key.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "***"

REMEDY = (
    "scenarios are written into results: keep it in an environment variable (`api_key_env` names that of a "
    "server's key)"
)

NO_NAME = "expected the name of an environment variable, in capitals, such as 'OPENAI_API_KEY'; never the "
NO_NAME += "key itself"

LEAST_LETTERS = 8
"""A shorter value ("none", "test") is no secret that could be told from other words."""

_NAMES = (
    r"(?:(?:api|access|account|private|secret|subscription|auth|signing)[_-]?key|key[_-]?secret"
    r"|(?:api|access|auth|bearer|id|refresh|session|security)[_-]?token|secret|password|passwd|passphrase"
    r"|authorization|credentials?|cookie)"
)
_NAME = re.compile(rf"(?:.*\.)?(?:(?:.*[_.\-\s])?{_NAMES}|token)", re.IGNORECASE | re.DOTALL)
_VARIABLE = re.compile(r"(.*_)?(API)?(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_.*)?|.+_PWD")

_USER = re.compile(r"(?P<scheme>\b[A-Za-z][\w+.-]*://)(?P<user>[^\s/?#'\"]*|[^\s/?#@:'\"]*:[^\s@'\"]*)@")
_FIELD = re.compile(
    rf"(?P<name>(?<![\w-])(?:(?:[\w-]*[_-])?{_NAMES}|token))"
    # In a list the value follows; in an object of JSON the next key does, which is none.
    r"(?P<is>\s*=\s*|[\"']\s*:\s*|[\"']\s*,\s*(?=b?[\"'])(?![\"'][^\"'\n]*[\"']\s*:))"
    r"(?P<value>b?\"(?:[^\"\\]|\\.)*\"|b?'(?:[^'\\]|\\.)*'|[^\s,;&'\"\\\])}{\[]+)",
    re.IGNORECASE,
)
_ADDRESS_NAME = re.compile("(url|uri|address|host|server|endpoint)$", re.IGNORECASE)
_BARE_USER = re.compile(r"[^\s/@]+:[^\s@]+@|[^\s/@]+@[\w.-]+:\d")
"""A user and a password before a host, where the scheme of the address was forgotten."""
_STEMS = re.compile("key|token|secret|pass|auth|cred|cookie", re.IGNORECASE)
_FORMS = re.compile(
    r"\b(?:Bearer|Basic)\s+[A-Za-z0-9+/._~-]{8,}=*"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\bhf_[A-Za-z0-9]{16,}|\bgh[a-z]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"
    r"|\bxox[a-z]-[\w-]{10,}|\bA[KS]IA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)

_variables: set[str] = set()
"""Environment variables that scenarios name as the ones that hold a key."""


def is_in_variable(name: str) -> None:
    """Take the value of an environment variable for a secret from now on, whatever its name."""
    _variables.add(name)


@lru_cache(maxsize=2**12)
def names_secret(name: str) -> bool:
    """Whether what has this name is a secret.

    >>> [names_secret(name) for name in ("api_key", "X-Api-Key", "problem.model.password", "apiKey")]
    [True, True, True, True]
    >>> [names_secret(name) for name in ("api_key_env", "max_tokens", "per_output_token", "key")]
    [False, False, False, False]
    """
    return _NAME.fullmatch(name) is not None


def redacted(text: str) -> str:
    """Return a text without the secrets in it.

    >>> redacted("mlflow:http://bob:hunter2@host/x?token=abc")
    'mlflow:http://***@host/x?token=***'
    """
    if len(text) < LEAST_LETTERS:
        return text
    text = _FORMS.sub(HIDDEN, without_known(text))
    if "@" in text:
        text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    if _STEMS.search(text):  # much faster than the pattern that follows
        text = _FIELD.sub(rf"\g<name>\g<is>{HIDDEN}", text)
    return text


def without_known(text: str) -> str:
    """Return a text without the values that are known to be secrets, and otherwise as it is."""
    for value in _known_now():
        text = text.replace(value, HIDDEN)
    return text


def redacted_values(value: Any) -> Any:
    """Return a value that JSON can hold, without secrets."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {
            redacted(str(key)): HIDDEN if _is_hidden(key, part) else redacted_values(part)
            for key, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted_values(part) for part in value]
    return value


def found_in(table: Any) -> list[str]:
    """Return a sentence on each secret in a table of settings: its place, and never itself."""
    return [
        f"{place}: {why}" if place else why for place, why in dict(_found(table, "", _known_now())).items()
    ]


def is_bare_address(text: str) -> bool:
    """Whether a text is an address with a user or a password in it whose scheme was forgotten.

    >>> [is_bare_address(text) for text in ("bob:secret@host:5000", "runs/a@b", "http://bob:secret@host")]
    [True, False, False]
    """
    return "://" not in text and _BARE_USER.match(text) is not None


def trace_of(error: BaseException) -> str:
    """Return the stack trace of an error, as Python prints it, without secrets."""
    return redacted("".join(traceback.format_exception(error)))


def _is_hidden(key: object, value: object) -> bool:
    is_scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    return is_scalar and value != "" and names_secret(str(key))


def _found(value: Any, place: str, known: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield places of secrets, and what is to be done about them."""
    if hasattr(value, "model_fields_set"):  # a part
        value = vars(value)
    if isinstance(value, Mapping):
        for key, part in value.items():
            if _looks(str(key), known):
                yield place, f"a key looks like a secret and is not shown; {REMEDY}"
                continue
            inside = f"{place}.{key}" if place else str(key)
            if _ADDRESS_NAME.search(str(key)) and any(map(is_bare_address, _texts(part))):
                yield inside, f"an address must hold no user, password or key; {REMEDY}"
                continue
            if _is_hidden(key, part):
                yield inside, f"must not hold a secret; {REMEDY}"
            elif str(key).endswith("_env") and names_secret(str(key).removesuffix("_env")):
                # Somebody may have put the key itself there.
                if not all(
                    _names_variable(one) for one in (part if isinstance(part, list | tuple) else [part])
                ):
                    yield inside, NO_NAME
            else:
                yield from _found(part, inside, known)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _found(part, f"{place}.{number}", known)
    elif isinstance(value, str) and "://" in value and redacted(value) != value:
        yield place, f"an address must hold no user, password or key; {REMEDY}"
    elif isinstance(value, str) and _looks(value, known):
        yield place, f"looks like a secret and is not shown; {REMEDY}"


def _texts(value: Any) -> list[str]:
    """Return a text, or those of a list: of the values that a sweep gives to one setting."""
    return [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str)]


def _names_variable(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"([A-Z_][A-Z0-9_]*)?", value) is not None


def _looks(text: str, known: tuple[str, ...]) -> bool:
    return len(text) >= LEAST_LETTERS and (
        _FORMS.search(text) is not None or any(value in text for value in known)
    )


def _known_now() -> tuple[str, ...]:
    return _known(tuple(os.environ.items()), tuple(sys.argv), frozenset(_variables))


@lru_cache(maxsize=8)
def _known(
    environment: tuple[tuple[str, str], ...], words: tuple[str, ...], variables: frozenset[str]
) -> tuple[str, ...]:
    """Return what is known to be secret in all its spellings, the longest first."""
    values, others = set(), list(words)
    for name, value in environment:
        if name in variables or _VARIABLE.fullmatch(name.upper()):
            values.add(value.strip())
        elif name == "OPENAI_CUSTOM_HEADERS":  # a line each, perhaps with a scheme before the key
            heads = [line.partition(":")[2].split() for line in value.splitlines()]
            values |= {words[-1] for words in heads if words}
        else:
            others.append(value)
    for text in others:
        values |= {user["user"].partition(":")[2] for user in _USER.finditer(text)}
    spelt = {
        spelling
        for value in values
        if len(value) >= LEAST_LETTERS and not _is_place(value)
        for spelling in (
            value,
            quote(value, safe=""),
            unquote(value),
            json.dumps(value)[1:-1],
            repr(value)[1:-1],
        )
    }
    return tuple(sorted(spelt, key=len, reverse=True))


def _is_place(value: str) -> bool:
    """Whether a value names a file, as that of GOOGLE_APPLICATION_CREDENTIALS does."""
    try:
        return value[0] in "/~." and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False

"""The settings of a language model behind a server."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from fedsim.catalog import FreeTable
from fedsim.errors import InputError
from fedsim.icl.models.language import LanguageModel
from fedsim.safety import KEYS, elsewhere, is_safe
from fedsim.secrets import found_in, is_in_variable

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.session import EndpointSession

WhenUnlisted = Literal["floor", "logit_bias", "append", "text"]

SET_HERE = {"model", "messages", "prompt", "seed", "max_tokens", "temperature", "logprobs", "top_logprobs"}
SET_HERE |= {"echo", "logit_bias", "n", "stream", "max_completion_tokens"}
"""Fields of a request that have a setting of their own, or one right value."""


class Endpoint(LanguageModel):
    """Any server that speaks OpenAI's API: the log-probabilities of the label words, read off the answers.

    A call asks for one token and for the likeliest tokens in its place. The probability of a label
    is the sum over the listed tokens that begin it, see `fedsim.icl.models.endpoint.label_scores`; what is
    done about a label that no listed token begins, `when_unlisted` says:

    - ``floor``: its probability is `floor`, or that of the least likely listed label where this is less.
    - ``logit_bias``: the prompt is asked again with the same large bias on the first token of every label,
      and the log-probabilities are renormalised over the labels. Right only where a server lists
      log-probabilities from *after* the bias (vLLM with ``logprobs_mode = "processed_logprobs"``), and where
      the labels' first tokens differ; elsewhere the label is not listed again, which is reported.
    - ``append``: the prompt is asked again with each such label at its end, echoed with its log-probabilities
      (``completions`` only; a server that cannot echo is reported).
    - ``text``: the label that the written answer starts with has probability 1 - (U - 1) `floor`, the other
      U - 1 have `floor`; all have `floor` where it starts with none. The only rule for a server that lists
      nothing at all.

    Measured seconds are those of the calls that succeeded, without refused tries and waits between them, and
    are added up over the calls of a prompt. Answers are not streamed: the time to the first token equals the
    whole time. Each process of each run counts its own budget.

    Source: Diao et al., "Black-box Prompt Learning for Pre-trained Language Models", TMLR 2023, and
    its released code (log-probabilities, ``append``); the released code of Wang et al., "FedOne", ICML 2025
    (one token, 20 listed, beginnings of labels, ``floor`` = 0.01).
    """

    kind: Literal["endpoint"] = "endpoint"
    model: str = Field(min_length=1)
    """The name that the server knows the model by."""
    base_url: str = "https://api.openai.com/v1"
    """The root of the API."""
    api_key_env: str = "OPENAI_API_KEY"
    """The name of the environment variable that holds the key; empty for a server that needs none."""
    layout: Literal["chat", "completions"] = "chat"
    """Whether a prompt is sent as one message of a user, or as a text to be continued."""
    top_logprobs: int = Field(default=20, ge=0)
    """Tokens to be listed; 0 asks for none, which needs the rule "text". Servers have limits of their own."""
    when_unlisted: WhenUnlisted = "floor"
    """What is done about a label that is not among the listed tokens."""
    floor: float = Field(default=0.01, gt=0, lt=0.5)
    label_token_ids: dict[str, int] = Field(default_factory=dict)
    """For "logit_bias": the number of the first token of each label, with its leading space if it has one."""
    seed: int | None = 0
    """Sent to the server; none is sent where it is unset."""
    temperature: float | None = Field(default=0.0, ge=0)
    """Sent to the server: 0 asks for the likeliest tokens. None is sent where it is unset: the server's own
    then decides what is written, but not what is listed."""
    length_field: Literal["max_tokens", "max_completion_tokens"] | None = "max_tokens"
    """The field of a request that bounds the length of an answer: OpenAI's current models want the second.
    Where it is unset, none is sent, and each answer is as long as the server likes."""
    text_tokens: int = Field(default=8, ge=1)
    """The most tokens of an answer that is read as text: room for a quotation mark and a label of several
    tokens. A model that thinks before it answers needs some hundreds."""
    extra_body: FreeTable = Field(default_factory=dict)
    """Further fields of a request, whatever the server takes."""
    control_prompt: bool = True
    """Whether a run that finds kept answers asks one of their prompts anew, to find out whether they are of
    the model that answers now: where its name or its answer is another one, the run is an error."""
    concurrency: int = Field(default=8, ge=1, le=1000)
    """Calls open at a time."""
    timeout_s: float = Field(default=60.0, gt=0)
    """How long one try may take, from the request to the end of its answer."""
    follow_redirects: bool = False
    """Whether a server may send requests, and so the prompts, on to another one."""
    retries: int = Field(default=5, ge=0)
    """Further tries after a refusal for the rate, an error of the server, a time-out or a lost connection:
    after the wait that the server asks for, up to two minutes, else after 0.5 s, doubled each time up to 8 s,
    less a random part of up to a quarter."""
    max_calls: int | None = Field(default=None, ge=1)
    """Calls that may be made; tries of one call that failed are not counted."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens that may be used, of prompts and of answers. A prompt is asked only when the most that it can
    need still fits: a token per byte, so that the budget is never passed and a little of it is left."""
    max_cost: float | None = Field(default=None, gt=0)
    """Cost that may be caused, in the currency of the prices; bounded like `max_tokens`."""
    price_per_million_tokens_in: float | None = Field(default=None, ge=0)
    price_per_million_tokens_out: float | None = Field(default=None, ge=0)

    @field_validator("base_url")
    @classmethod
    def _is_a_plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("expected an address such as 'http://127.0.0.1:8080/v1'")
        if why := elsewhere(url):
            raise ValueError(why)
        # Settings are written into results: a secret must not stand in one.
        if "@" in parts.netloc or parts.query:
            raise ValueError("must hold no user, password or query; a key belongs into api_key_env")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        # The value is not shown: somebody may have put the key itself here.
        if not re.fullmatch(r"([A-Z_][A-Z0-9_]*)?", name):
            raise ValueError(
                "expected the name of an environment variable, in capitals, such as 'OPENAI_API_KEY'; "
                "never the key itself"
            )
        if name:
            is_in_variable(name)
        return name

    @field_validator("extra_body")
    @classmethod
    def _adds(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if secret := found_in(fields):
            raise ValueError(secret[0])
        if taken := sorted(SET_HERE & set(fields)):
            raise ValueError(f"cannot set {', '.join(taken)}: fedsim sets it")
        return fields

    @model_validator(mode="after")
    def _fit_together(self) -> Endpoint:
        if is_safe() and self.api_key_env and not self.api_key_env.startswith(KEYS):
            raise ValueError(
                f"api_key_env: found {self.api_key_env!r}, but with --safe only the keys of variables named "
                f'{KEYS}... are sent; for a server without keys say api_key_env = ""'
            )
        if self.when_unlisted == "append" and self.layout == "chat":
            raise ValueError("when_unlisted = 'append' needs layout = 'completions': a chat echoes nothing")
        if self.when_unlisted == "logit_bias":
            ids = self.label_token_ids
            if not ids or len(set(ids.values())) < len(ids):
                raise ValueError("when_unlisted = 'logit_bias' needs different label_token_ids")
        if self.when_unlisted == "append" and self.length_field is None:
            raise ValueError("when_unlisted = 'append' needs length_field: nothing is to follow the prompt")
        for limit in ("max_tokens", "max_cost"):
            if getattr(self, limit) is not None and self.length_field is None:
                raise ValueError(f"{limit} needs length_field: without it an answer may have any length")
        if self.top_logprobs == 0 and self.when_unlisted != "text":
            raise ValueError("top_logprobs = 0 needs when_unlisted = 'text'")
        prices = (self.price_per_million_tokens_in, self.price_per_million_tokens_out)
        if self.max_cost is not None and None in prices:
            raise ValueError("max_cost needs price_per_million_tokens_in and price_per_million_tokens_out")
        return self

    def idle(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        if self.when_unlisted != "text":
            found["text_tokens"] = f'no answer is read as text (when_unlisted = "{self.when_unlisted}")'
        if not self.cache:
            found["control_prompt"] = "no answer is kept (cache = false)"
        return found

    @property
    def bounds(self) -> Mapping[str, float]:
        limits = {name: getattr(self, name) for name in ("max_calls", "max_tokens", "max_cost")}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def price(self, tokens_in: float, tokens_out: float) -> float | None:
        price_in, price_out = self.price_per_million_tokens_in, self.price_per_million_tokens_out
        if price_in is None or price_out is None:
            return None
        return (tokens_in * price_in + tokens_out * price_out) / 1e6

    @property
    def may_change(self) -> bool:
        return self.control_prompt

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on.

        One name on two servers may be two models, so the server counts; its address may be private, so only
        a hash of it appears. A server that moved is another one.
        """
        rule: dict[str, Any] = {"when_unlisted": self.when_unlisted}
        if self.when_unlisted in ("floor", "text"):
            rule["floor"] = self.floor
        if self.when_unlisted == "logit_bias":
            rule["label_token_ids"] = self.label_token_ids
        # What has its usual value is not stated, so that answers kept by earlier versions are found.
        unusual = {
            "temperature": (self.temperature, 0.0),
            "length_field": (self.length_field, "max_tokens"),
            "text_tokens": (self.text_tokens if self.when_unlisted == "text" else 8, 8),
        }
        return {
            "kind": self.kind,
            "model": self.model,
            "server": hashlib.sha256(self.base_url.rstrip("/").encode()).hexdigest()[:16],
            "layout": self.layout,
            "top_logprobs": self.top_logprobs,
            "rule": rule,
            "seed": self.seed,
            "extra_body": self.extra_body,
        } | {name: value for name, (value, usual) in unusual.items() if value != usual}

    def connect(self) -> EndpointSession:
        """Return a session.

        Raises:
            InputError: the client is not installed, or there is no key where one should be.
        """
        try:
            from fedsim.icl.models.endpoint.session import EndpointSession
        except ModuleNotFoundError as error:
            raise InputError(
                "model 'endpoint' needs the extra 'llm': pip install 'fedsim-icl[llm]'"
            ) from error
        return EndpointSession(self, self._api_key())

    def _api_key(self) -> str:
        if not self.api_key_env:
            return "none"  # the client wants one; a server that needs none does not look at it
        is_in_variable(self.api_key_env)  # in this process, too
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(
                f"model 'endpoint' takes its key from the environment variable {self.api_key_env}, which is "
                'not set; for a server without keys say api_key_env = ""'
            )
        if not (key.isascii() and key.isprintable()):
            raise InputError(f"the environment variable {self.api_key_env} holds letters that no key has")
        return key

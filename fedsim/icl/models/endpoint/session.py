"""An endpoint that is ready to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.endpoint.answers import answer, most_for_labels, write
from fedsim.icl.models.endpoint.background import BackgroundLoop
from fedsim.icl.models.endpoint.budget import UsageBudget, most
from fedsim.icl.models.endpoint.calls import Caller
from fedsim.icl.models.endpoint.client import open_client
from fedsim.icl.models.endpoint.errors import CallError
from fedsim.icl.models.endpoint.window import Ask, PendingPrompt, Window

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint
    from fedsim.icl.models.language import Answer, Writing

INTERRUPT_PATIENCE_S = 2.0
"""How long answers on their way are waited for after Ctrl-C; after a failure it is the time-out."""

Result = TypeVar("Result")


class EndpointSession:
    """See `fedsim.icl.models.language.Session`. One thread may use it at a time."""

    def __init__(self, settings: Endpoint, api_key: str) -> None:
        _silence()
        client = open_client(settings, api_key)
        self._settings = settings
        self._call = Caller(settings, client)
        self._budget = UsageBudget(settings)
        self._background = BackgroundLoop(client)

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        """Score the label words after each prompt.

        Raises:
            InputError: the settings do not fit these labels.
            ModelError: a prompt could not be answered, or the budget is used up.
        """
        _check(self._settings, labels)
        jobs = [
            PendingPrompt(place, prompt, most_for_labels(prompt, labels, self._settings))
            for place, prompt in enumerate(prompts)
        ]
        self._run(jobs, partial(answer, self._call, labels=labels), done)

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        """Continue each prompt greedily for at most `max_tokens`; errors as for `ask`."""
        jobs = [
            PendingPrompt(place, prompt, most(prompt, 1, max_tokens)) for place, prompt in enumerate(prompts)
        ]
        self._run(jobs, partial(write, self._call, max_tokens=max_tokens), done)

    def close(self) -> None:
        """Close the connections; more than once does no harm."""
        self._background.close()

    def _run(self, jobs: list[PendingPrompt], ask: Ask[Result], done: Callable[[int, Result], None]) -> None:
        window = Window(self._background, self._budget, self._settings.concurrency, done)
        failure: CallError | None = None
        try:
            try:
                window.run(jobs, ask)
            except CallError as error:
                failure = error
                window.collect(self._settings.timeout_s)
        except KeyboardInterrupt:
            window.collect(INTERRUPT_PATIENCE_S)
            raise
        finally:
            window.cancel()
        if failure is not None:
            # Not in a handler: the errors behind it may quote a prompt or key, and must not be chained.
            raise ModelError(self._sentence(failure, window.handed_over, len(jobs)))

    def _sentence(self, failure: CallError, answered: int, asked: int) -> str:
        model = self._settings.model
        how_far = f"model {model!r} stopped after {answered} of {asked} answers of a batch: {failure}"
        if self._settings.cache:
            return f"{how_far}. Answers are kept: the same command goes on from there"
        return f"{how_far}. With cache = false the same command starts from the beginning"


def _check(settings: Endpoint, labels: tuple[str, ...]) -> None:
    """Raise an `InputError` where a rule cannot work with these labels."""
    if settings.when_unlisted == "logit_bias":
        missing = [label for label in labels if label not in settings.label_token_ids]
        if missing:
            raise InputError(f"label_token_ids has no number for the label {missing[0]!r}")
    if settings.when_unlisted == "text" and settings.floor * len(labels) >= 1:
        raise InputError(
            f"floor = {settings.floor:g} is too much for the rule 'text' with {len(labels)} labels"
        )


def _silence() -> None:
    """Keep what is sent and where out of every log, however a program has set up its own."""
    for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

"""An endpoint that is ready to answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.look import ListedToken, Look
from fedsim.icl.models.endpoint.answers import answer, most_for_labels, write
from fedsim.icl.models.endpoint.background import BackgroundLoop
from fedsim.icl.models.endpoint.budget import UsageBudget, most
from fedsim.icl.models.endpoint.calls import Caller
from fedsim.icl.models.endpoint.client import open_client
from fedsim.icl.models.endpoint.errors import CallError
from fedsim.icl.models.endpoint.label_scores import begun
from fedsim.icl.models.endpoint.window import Ask, PendingPrompt, Window

if TYPE_CHECKING:
    from fedsim.icl.answers.answer import Spent
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
        self._run(self._scoring(prompts, labels), self._scorer(labels), done)

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        """Continue each prompt greedily for at most `max_tokens`; errors as for `ask`."""
        jobs = [
            PendingPrompt(place, prompt, most(prompt, 1, max_tokens)) for place, prompt in enumerate(prompts)
        ]
        self._run(jobs, partial(write, self._call, max_tokens=max_tokens), done)

    def look(self, prompt: str, labels: tuple[str, ...]) -> Look:
        """Ask one prompt, and return what came even where it cannot be used; see `Shows`."""
        answers: list[Answer] = []
        self._call.first = None
        failure, _ = self._tried(
            self._scoring([prompt], labels), self._scorer(labels), lambda _, answer: answers.append(answer)
        )
        useless = "" if failure is None else str(failure)
        if (reply := self._call.first) is None:
            raise ModelError(f"model {self._settings.model!r}: {useless}")
        listed = [
            ListedToken(token, logprob, "" if (place := begun(token, labels)) is None else labels[place])
            for token, logprob in reply.listed()
        ]
        return Look(reply.text, listed, reply.choices[0].finish_reason, next(iter(answers), None), useless)

    def spent(self) -> Spent:
        """Return what was sent so far, and what it cost if both prices are known."""
        spent, settings = self._call.spent, self._settings
        price_in, price_out = settings.price_per_million_tokens_in, settings.price_per_million_tokens_out
        if price_in is None or price_out is None:
            return spent
        return spent._replace(cost=(spent.tokens_in * price_in + spent.tokens_out * price_out) / 1e6)

    def close(self) -> None:
        """Close the connections; more than once does no harm."""
        self._background.close()

    def _scoring(self, prompts: Sequence[str], labels: tuple[str, ...]) -> list[PendingPrompt]:
        _check(self._settings, labels)
        return [
            PendingPrompt(place, prompt, most_for_labels(prompt, labels, self._settings))
            for place, prompt in enumerate(prompts)
        ]

    def _scorer(self, labels: tuple[str, ...]) -> Ask[Answer]:
        return partial(answer, self._call, labels=labels)

    def _run(self, jobs: list[PendingPrompt], ask: Ask[Result], done: Callable[[int, Result], None]) -> None:
        failure, n_answered = self._tried(jobs, ask, done)
        if failure is not None:
            # Not in a handler: the errors behind it may quote a prompt or key, and must not be chained.
            raise ModelError(self._sentence(failure, n_answered, len(jobs)))

    def _tried(
        self, jobs: list[PendingPrompt], ask: Ask[Result], done: Callable[[int, Result], None]
    ) -> tuple[CallError | None, int]:
        """Ask prompts; return the first failure, and how many were answered."""
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
        return failure, window.handed_over

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

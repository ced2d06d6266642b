"""A language model on this machine that is ready to answer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from fedsim.errors import ModelError
from fedsim.icl.models.label_rule import LabelTokens, steps, summed
from fedsim.icl.models.language import Answer, Writing
from fedsim.icl.models.local.own_process import RuntimeProcess
from fedsim.icl.models.local.runtime import ModelOutput, Runtime

LIST_LENGTHS = (20, 1_000, 10**9)
"""How many of the likeliest tokens are asked for, until all label words are there. 20 cost nothing to speak
of, 1,000 cost some milliseconds, and the whole vocabulary a third of a second."""


class LocalSession:
    """See `fedsim.icl.models.language.Session`. One thread may use it at a time.

    The part of a prompt that it shares with the one before is not computed again: a call takes as long as
    what is new in its prompt, and so do the times in its answer.
    """

    def __init__(self, weights: Path, context_tokens: int, layout: Literal["completions", "chat"]) -> None:
        # Elsewhere a process cannot hand over the end of a pipe by its number.
        own = RuntimeProcess if os.name == "posix" else Runtime
        self._runtime: Runtime | RuntimeProcess = own(weights, context_tokens)
        self._label_tokens = LabelTokens(self._runtime.tokens, "" if layout == "chat" else " ")
        self._before, self._after = self._runtime.chat_template() if layout == "chat" else ("", "")

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
            reply = self._runtime.complete(self._rendered(prompt), max_tokens)
            done(place, Writing(reply.text, reply.tokens_in, reply.tokens_out, reply.ttft_s, reply.seconds))

    def close(self) -> None:
        """Free the weights; more than once does no harm."""
        self._runtime.close()

    def _answer(self, text: str, labels: tuple[str, ...]) -> Answer:
        tokens, whole = self._label_tokens.counted(text, labels)
        replies = {
            start: self._scored([text, *start] if start else text, wanted)
            for start, wanted in steps(tokens).items()
        }
        seconds = sum(reply.seconds for reply in replies.values())
        longer = any(len(reply.logprobs) > LIST_LENGTHS[0] for reply in replies.values())
        found = {start: reply.logprobs for start, reply in replies.items()}
        return Answer(
            logprobs=summed(tokens, found),
            tokens_in=sum(reply.tokens_in for reply in replies.values()),
            tokens_out=sum(reply.tokens_out for reply in replies.values()),
            ttft_s=seconds,
            end_to_end_s=seconds,
            rule="whole_label" if whole else "longer_list" if longer else "listed",
        )

    def _scored(self, prompt: str | list[str | int], wanted: set[int]) -> ModelOutput:
        """Return the likeliest next tokens, listed far enough to hold all that are wanted.

        A longer list is the same question: its time counts, its tokens do not.

        Raises:
            ModelError: there are none.
        """
        spent_s = 0.0
        for n_listed in LIST_LENGTHS:
            reply = self._runtime.complete(prompt, 1, n_listed)
            spent_s += reply.seconds
            if wanted <= reply.logprobs.keys():
                return reply._replace(seconds=spent_s)
        raise ModelError(
            "the model gave no log-probabilities: is the prompt empty, or is the likeliest next token half a "
            "character?"
        )

    def _rendered(self, prompt: str) -> str:
        return self._before + prompt + self._after

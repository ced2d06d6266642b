"""What is asked of the model after a prompt: the scores of label words by one of the rules, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fedsim.icl.models.endpoint import label_scores
from fedsim.icl.models.endpoint.budget import Use, most
from fedsim.icl.models.endpoint.calls import Call, Caller
from fedsim.icl.models.endpoint.errors import CallError, FilteredError
from fedsim.icl.models.endpoint.label_scores import Found
from fedsim.icl.models.language import Answer, Writing

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint

BIAS = 100
"""The largest bias that OpenAI's API takes: no other token keeps a chance."""


def most_for_labels(prompt: str, labels: tuple[str, ...], settings: Endpoint) -> Use:
    """Return the most that `answer` can use."""
    calls = {"append": 1 + len(labels), "logit_bias": 2}.get(settings.when_unlisted, 1)
    longest = max(len(ending(prompt, label).encode()) for label in labels)
    return most(prompt, calls, _tokens_out(settings), added=longest if calls > 1 else 0)


async def answer(call: Caller, prompt: str, labels: tuple[str, ...]) -> tuple[Answer, Use]:
    """Return the scores of the label words after a prompt, and what they used.

    Raises:
        CallError: a call failed, or its answer is not what the rule needs.
    """
    settings = call.settings
    try:
        first = await call(prompt, _tokens_out(settings), **_listing(settings))
    except FilteredError:
        # The same prompt will never be answered: an answer that names no label, and a call without tokens.
        return _unanswered(labels, settings), Use(1, 0, 0)
    if first.reply.is_refused:
        return _together([first], _nothing(labels), _nothing_known(labels, settings), "refused")
    found = _listed(first, labels, settings)
    if None not in found:
        return _together([first], found, found, "listed")
    if settings.when_unlisted == "append":
        return await _append(call, prompt, labels, first, found)
    if settings.when_unlisted == "logit_bias":
        bias = {str(settings.label_token_ids[label]): BIAS for label in labels}
        second = await call(prompt, 1, **_listing(settings), logit_bias=bias)
        scores: Found = [*label_scores.renormalised(_listed(second, labels, settings))]
        return _together([first, second], scores, scores, "logit_bias")
    if settings.when_unlisted == "text":
        return _read_as_text(first, labels, settings)
    return _together([first], found, label_scores.floored(found, settings.floor), "floor")


async def write(call: Caller, prompt: str, max_tokens: int) -> tuple[Writing, Use]:
    """Return what the model writes after a prompt, and what it used.

    Raises:
        CallError: the call failed, or brought no text.
    """
    made = await call(prompt, max_tokens)
    text, tokens = made.reply.text, made.tokens
    if text is None:
        raise CallError("the server sent an answer without text")
    written = Writing(
        text,
        tokens.prompt_tokens,
        tokens.completion_tokens,
        made.seconds,
        made.seconds,
        made.reply.model,
        made.reply.system_fingerprint,
    )
    return written, made.use


def ending(prompt: str, label: str) -> str:
    """Return a label as it follows a prompt: after a space, unless white space stands there already."""
    return label if prompt[-1:].isspace() else f" {label}"


async def _append(
    call: Caller, prompt: str, labels: tuple[str, ...], first: Call, found: Found
) -> tuple[Answer, Use]:
    """Ask again for each label that was not listed, with it at the end of the prompt."""
    calls, scores = [first], list(found)
    for place, label in enumerate(labels):
        if scores[place] is None:
            asked = ending(prompt, label)
            calls.append(await call(prompt + asked, 0, logprobs=1, echo=True))
            scores[place] = label_scores.of_ending(calls[-1].reply.written(), asked)
    return _together(calls, scores, scores, "append")


def _read_as_text(call: Call, labels: tuple[str, ...], settings: Endpoint) -> tuple[Answer, Use]:
    """Return the scores by the label that was written; where none was, the rule says why."""
    text = call.reply.text or ""
    label = label_scores.begins_with(text, labels)
    found: Found = [0.0 if place == label else None for place in range(len(labels))]
    rule = "text"
    if label is None:
        rule = "no_text" if not text.strip() else "cut_off" if call.reply.is_cut_off else "text"
    return _together([call], found, label_scores.of_text(text, labels, settings.floor), rule)


def _nothing(labels: tuple[str, ...]) -> Found:
    return [None] * len(labels)


def _nothing_known(labels: tuple[str, ...], settings: Endpoint) -> list[float]:
    return label_scores.floored(_nothing(labels), settings.floor)


def _unanswered(labels: tuple[str, ...], settings: Endpoint) -> Answer:
    """Return the answer to a prompt that the server does not let pass."""
    scores = tuple(_nothing_known(labels, settings))
    return Answer(scores, 0, 0, 0.0, 0.0, "refused", tuple(range(len(labels))))


def _listed(call: Call, labels: tuple[str, ...], settings: Endpoint) -> Found:
    listed = call.reply.listed()
    if not listed and settings.when_unlisted != "text":
        raise CallError(
            'the server lists no log-probabilities: say when_unlisted = "text" to read its answers as texts'
        )
    return label_scores.matched(listed, labels)


def _listing(settings: Endpoint) -> dict[str, Any]:
    """Return the fields of a request that ask for the likeliest tokens."""
    n_listed = settings.top_logprobs
    if n_listed == 0:
        return {}
    if settings.layout == "completions":
        return {"logprobs": n_listed}
    return {"logprobs": True, "top_logprobs": n_listed}


def _tokens_out(settings: Endpoint) -> int:
    return settings.text_tokens if settings.when_unlisted == "text" else 1


def _together(
    calls: list[Call], found: Found, scores: Sequence[float | None], rule: str
) -> tuple[Answer, Use]:
    """Add up what a prompt's calls took.

    Args:
        calls: what was asked.
        found: what the answers say of each label.
        scores: what stands for it.
        rule: see `Answer.rule`.
    """
    seconds = sum(call.seconds for call in calls)
    answer = Answer(
        logprobs=tuple(logprob for logprob in scores if logprob is not None),
        tokens_in=sum(call.tokens.prompt_tokens for call in calls),
        tokens_out=sum(call.tokens.completion_tokens for call in calls),
        ttft_s=seconds,
        end_to_end_s=seconds,
        rule=rule,
        unlisted=tuple(place for place, logprob in enumerate(found) if logprob is None),
        model=calls[0].reply.model,
        fingerprint=calls[0].reply.system_fingerprint,
    )
    return answer, Use(*map(sum, zip(*(call.use for call in calls), strict=True)))

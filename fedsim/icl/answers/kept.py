"""How answers are addressed and written down; shared by the cache, recordings and replays."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from fedsim.icl.answers.answer import ROUNDING, Answer, Writing

FORMAT = 1
"""The version of addresses and of what is kept under them; raised whenever either would be misread."""

Kept = Answer | Writing

LATER = {"unlisted", "model", "fingerprint"}
"""Fields that answers kept by earlier versions lack."""

Question = tuple[str, Any]
"""What is asked of a prompt: `scoring` of label words, or `writing` of so many tokens."""


def scoring(labels: tuple[str, ...]) -> Question:
    """Return the question for the probabilities of label words."""
    return ("labels", list(labels))


def writing(max_tokens: int) -> Question:
    """Return the question for a greedy continuation."""
    return ("write", max_tokens)


def addresses(identity: dict[str, Any], question: Question, prompts: Iterable[str]) -> list[str]:
    """Return the address of each prompt's answer.

    It is the SHA-256 of canonical JSON (sorted keys, no spaces, ASCII) of the list
    ``[format, identity, kind of question, labels or tokens, exact prompt]``: the same everywhere and always,
    and the prompt cannot be read from it.
    """
    common = json.dumps([FORMAT, identity, *question], sort_keys=True, separators=(",", ":"))
    # A prompt comes last, so what all of them share is hashed once.
    start = hashlib.sha256(common[:-1].encode() + b",")
    found = []
    for prompt in prompts:
        whole = start.copy()
        whole.update(json.dumps(prompt).encode() + b"]")
        found.append(whole.hexdigest())
    return found


def to_table(kept: Kept) -> dict[str, Any]:
    """Return an answer as a table for JSON; the logarithm of probability zero is written as null.

    What earlier versions did not know is left out where there is nothing to say.
    """
    table = {name: value for name, value in kept._asdict().items() if value or name not in LATER}
    if isinstance(kept, Answer):
        table["logprobs"] = [None if value == -math.inf else value for value in kept.logprobs]
    return table


def from_table(table: dict[str, Any]) -> Kept:
    """Return the answer that `to_table` wrote, every float bit for bit.

    Raises:
        ValueError: a field is missing, unknown, or holds something impossible.
    """
    kind: type[Kept] = Writing if "text" in table else Answer
    expected = set(kind._fields)
    if wrong := sorted((expected ^ set(table)) - (LATER & expected)):
        raise ValueError(f"{'missing' if wrong[0] in expected else 'unknown'} field {wrong[0]!r}")
    kept = kind(**{name: _read(name, value) for name, value in table.items()})
    if isinstance(kept, Answer):
        _check(kept)
        if "unlisted" not in table and kept.rule in ("floor", "text"):
            # Kept by an earlier version: what was not found had the least of all scores.
            least = min(kept.logprobs)
            found = [number for number, logprob in enumerate(kept.logprobs) if logprob == least]
            return kept._replace(unlisted=tuple(found))
    return kept


def _check(answer: Answer) -> None:
    """Refuse probabilities that cannot be some; fedsim once cut those above 1 down to 1."""
    # Whole labels may begin each other, and so need not exclude each other; listed tokens do.
    n_certain = sum(logprob >= -ROUNDING for logprob in answer.logprobs)
    if max(answer.logprobs) > ROUNDING or (answer.rule == "listed" and n_certain > 1):
        raise ValueError("field 'logprobs' says that more than one label is certain, or more than certain")
    if not set(answer.unlisted) <= set(range(len(answer.logprobs))):
        raise ValueError("field 'unlisted' names a label that there is not")


def _read(name: str, value: Any) -> Any:
    if name == "logprobs" and isinstance(value, list) and value:
        return tuple(-math.inf if item is None else _number(name, item) for item in value)
    if name == "unlisted" and isinstance(value, list) and all(type(item) is int for item in value):
        return tuple(value)
    if name in ("text", "rule", "model", "fingerprint") and isinstance(value, str):
        return value
    if name in ("tokens_in", "tokens_out") and type(value) is int and value >= 0:
        return value
    if name in ("ttft_s", "end_to_end_s") and _number(name, value) >= 0:
        return float(value)
    raise ValueError(f"field {name!r} holds something impossible")


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"field {name!r} holds something that is no number")
    return float(value)

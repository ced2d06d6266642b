"""How a report writes names, numbers and settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

UNKNOWN = "-"
"""Printed where there is no value."""

NOT_SET = "not set"
"""The value of a setting that a run does not have."""

LABELS = {
    "simulated_time_s": "Simulated time (s)",
    "time_to_target_s": "Time to target (s)",
    "accuracy": "Accuracy",
    "loss": "Loss",
    "llm_calls": "LLM calls (simulated)",
    "cost": "Cost (simulated)",
    "real_calls": "Calls really sent",
    "real_tokens_in": "Tokens really sent",
    "real_tokens_out": "Tokens really received",
    "real_cost": "Real cost",
    "n_workers": "Workers",
    "method": "Method",
    "scenario": "Scenario",
    "seed": "Seed",
    "ended": "How it ended",
}


def label(column: str) -> str:
    """Return how a person reads the name of a measurement; a setting keeps its dotted name.

    >>> label("worker_updates"), label("seconds_calling"), label("llm_wait_s"), label("workers.1.slow_down")
    ('Worker updates', 'Calling (s per worker)', 'LLM wait (s)', 'workers.1.slow_down')
    """
    if column in LABELS or "." in column:
        return LABELS.get(column, column)
    words, unit = column, ""
    if column.startswith("seconds_"):
        words, unit = column.removeprefix("seconds_"), " (s per worker)"
    elif column.endswith("_s"):
        words, unit = column.removesuffix("_s"), " (s)"
    words = words.replace("_", " ")
    return (words[:1].upper() + words[1:]).replace("Llm", "LLM") + unit


def number(value: float) -> str:
    """Return a number with four digits that count, or all digits of a larger whole one.

    >>> number(0.81234), number(586.42), number(52000.0), number(1.5e-7), number(math.nan)
    ('0.8123', '586.4', '52,000', '1.5e-07', '-')
    """
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def setting(value: Any) -> str:
    """Return the value of a setting as a scenario file writes it, without its quotes.

    >>> setting(4.0), setting(True), setting(math.nan), setting(["R1", "R3"]), setting("krum")
    ('4', 'true', 'not set', '["R1", "R3"]', 'krum')
    """
    value = plain(value)
    if value is None:
        return NOT_SET
    if isinstance(value, bool) or not isinstance(value, float | str):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else f"{value:g}"


def plain(value: Any) -> Any:
    """Return a cell of a table as JSON knows it: no NumPy types, and none for what is not known."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counted(count: int, word: str) -> str:
    """Return a number and its word.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def short_list(words: Iterable[str], most: int = 12) -> str:
    """Return the first words of a list, and how many more there are.

    >>> short_list(["1", "2", "4"], most=2)
    '1, 2 and 1 more'
    """
    words = list(words)
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers in order, those that follow each other as a range.

    >>> ranges([0, 1, 2, 7])
    '0 to 2, 7'
    """
    # What follows each other keeps its distance from its place in the list.
    groups = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    parts = [[number for _, number in group] for _, group in groups]
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)

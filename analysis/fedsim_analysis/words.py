"""How names, numbers and settings are written for people, and which way a measurement is better."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from fedsim_analysis.style import time_unit

UNKNOWN = "-"
"""Printed where there is no value."""

NOT_SET = "not set"
"""The value of a setting that a run does not have."""

_NUMBER = re.compile(r"[-+>=<~]*\s*[\d.,]*\d[\d.,]*(e[-+]?\d+)?\b.*|-?$")
"""How a cell begins that stands to the right."""

LABELS = {
    "simulated_time_s": "Simulated time (s)",
    "time_to_target_s": "Time to target (s)",
    "accuracy": "Accuracy",
    "accuracy_consensus": "Accuracy, consensus prompt",
    "loss": "Loss",
    "loss_consensus": "Loss, consensus prompt",
    "llm_calls": "LLM calls (simulated)",
    "cost": "Cost (simulated)",
    "real_calls": "Calls really sent",
    "real_tokens_in": "Tokens really sent",
    "real_tokens_out": "Tokens really received",
    "real_cost": "Real cost (currency of its prices)",
    "real_answers_kept": "Answers kept from before",
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


SETTINGS = {
    r"workers\.\d+\.slow_down": "Straggler factor (times slower)",
    r"workers\.(\d+)\.count": "Workers of group {}",
    r"attacks\.\d+\.fraction": "Malicious workers (%)",
    r"attacks\.\d+\.kind": "Attack",
    r"algorithm\.wait_for": "Active workers $S$",
    r"algorithm\.tau": "Greatest staleness $\\tau$",
    r"algorithm\.inner_rounds": "Inner rounds $K$",
    r"algorithm\.optimizer\.learning_rate": "Learning rate",
    r"algorithm\.robust\.psi": "Weight $\\psi$",
    r"problem\.dirichlet_alpha": "Dirichlet $\\alpha$",
    r"llm\.requests_per_minute": "Requests per minute",
    r"llm\.tokens_per_minute": "Tokens per minute",
    r"n_workers": "Workers ($R$)",
}
"""How axes of figures write settings that are often varied; others keep their dotted names."""


def spoken(column: str) -> str:
    """Return what an axis of a figure calls a setting.

    >>> spoken("workers.1.slow_down"), spoken("workers.1.count"), spoken("network.delay_s")
    ('Straggler factor (times slower)', 'Workers of group 1', 'network.delay_s')
    """
    for pattern, words in SETTINGS.items():
        if found := re.fullmatch(pattern, column):
            return words.format(*found.groups())
    return label(column)


def axis(column: str, largest: float) -> tuple[float, str, str]:
    """Return how an axis of a figure writes a measurement or a setting with numbers.

    Args:
        column: its name.
        largest: of the values on the axis, by which the unit of times is chosen.

    Returns:
        By what values are divided, the words, and the unit (empty where there is none).

    >>> axis("accuracy", 0.9), axis("time_to_target_s", 9000.0), axis("loss", 1.0)
    ((0.01, 'Accuracy', '%'), (3600.0, 'Time to target', 'h'), (1.0, 'Loss', ''))
    """
    if column.startswith("accuracy") or re.fullmatch(r"attacks\.\d+\.fraction", column):
        return 0.01, spoken(column).removesuffix(" (%)"), "%"
    words = spoken(column)
    if column.endswith("_s") and words.endswith(" (s)"):
        unit_s, symbol = time_unit(largest)
        return unit_s, words.removesuffix(" (s)"), symbol
    return 1.0, words, ""


LESS_IS_BETTER = re.compile(
    r"loss.*|.*_s|(llm_|real_)?calls|(real_|own_.*)?tokens.*|bytes_.*|(real_)?cost|seconds_.*|.*staleness.*|.*_gap"
    r"|h_over_epsilon|fallbacks|drained|worker_updates|server_steps"
)
MORE_IS_BETTER = re.compile(r"accuracy(?!.*_std).*|constraint_met|.*_saving|macro_f1.*")


def sense(column: str) -> int:
    """Return 1 if more of a measurement is better, -1 if less is, and 0 where nobody can say.

    >>> sense("accuracy_sampled"), sense("time_to_target_s"), sense("llm_calls"), sense("n_workers")
    (1, -1, -1, 0)
    """
    if MORE_IS_BETTER.fullmatch(column):
        return 1
    return -1 if LESS_IS_BETTER.fullmatch(column) else 0


def duration(seconds: float) -> str:
    """Return a time in the unit in which a person says it; nothing below a minute, where seconds say it.

    >>> duration(43.0), duration(754.0), duration(5025.0), duration(200000.0), duration(math.nan)
    ('', '12.6 min', '1.4 h', '2.3 d', '')
    """
    if not math.isfinite(seconds) or seconds < 60:
        return ""
    for unit_s, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit_s * (2 if unit == "d" else 1):
            return f"{seconds / unit_s:.1f} {unit}"
    return ""


def number(value: float) -> str:
    """Return a number with four digits that count, or all digits of a larger whole one.

    >>> number(0.81234), number(586.42), number(52000.0), number(1.5e-7), number(math.nan)
    ('0.8123', '586.4', '52,000', '1.5e-07', '-')
    """
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def uncertain(value: float, half_width: float) -> str:
    """Return a number and half the width of its interval, with as many digits as the latter is worth.

    >>> uncertain(482.13, 12.4), uncertain(-15.6, 2.0), uncertain(0.86923, 0.0571), uncertain(5.0, math.nan)
    ('482 ± 12', '-15.6 ± 2.0', '0.869 ± 0.057', '5')
    """
    if not math.isfinite(value) or not math.isfinite(half_width) or half_width <= 0:
        return number(value)
    digits = 1 - math.floor(math.log10(half_width))
    if digits > 6:
        return f"{number(value)} ± {half_width:.2g}"
    return f"{round(value, digits):,.{max(0, digits)}f} ± {round(half_width, digits):,.{max(0, digits)}f}"


def are_numbers(cells: Sequence[str]) -> bool:
    """Whether the cells of a column look like numbers, or are empty, so that they stand to the right.

    >>> are_numbers([">= 93 ± 4 (1.6 min)", "", "-"]), are_numbers(["12", "never in 3"]), are_numbers([""])
    (True, False, False)
    """
    return all(_NUMBER.match(cell) for cell in cells) and any(cells)


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

"""A delay as a scenario has it: rounded, on one line of TOML."""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context
from typing import Any

from fedsim.scenario.toml_text import inline
from fedsim.timing.delays import DELAYS, Delay

DIGITS = 6
"""Significant digits of a parameter. With them the mean and the quantiles keep at least four."""


def rounded(delay: Delay) -> Delay:
    """Return a delay with rounded parameters; a shift is rounded down, so that no delay falls before it.

    Raises:
        ValidationError: a rounded parameter is outside its bounds.
    """
    found = DELAYS.validate(_rounded("", delay.model_dump()))
    assert isinstance(found, Delay)
    return found


def toml_value(delay: Delay) -> str:
    """Return a delay as an inline table of TOML.

    >>> from fedsim.timing.delays.lognormal import Lognormal
    >>> toml_value(Lognormal(median_s=2.0, sigma=0.5))
    '{ kind = "lognormal", median_s = 2.0, sigma = 0.5 }'
    """
    return inline(delay.model_dump())


def _rounded(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(key, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(name, part) for part in value]
    if not isinstance(value, float) or value == 0:
        return value
    # a float that is the nearest to a smaller number is not larger
    rounding = ROUND_FLOOR if name == "shift_s" else ROUND_HALF_EVEN
    return float(Context(prec=DIGITS, rounding=rounding).create_decimal_from_float(value))

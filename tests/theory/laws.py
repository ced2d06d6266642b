"""Laws of time, each with its exact value and what a simulation of a fixed seed found.

A module `test_*_laws.py` lists its laws in `LAWS` and hands each to `check`. The table of all of them in
`docs/timing-model.md` is made again by a test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TOLERANCE = 4.0
"""Standard errors; one law of 16,000 would miss it by chance."""


class Law(NamedTuple):
    """What theory says of a number, and what was measured."""

    name: str
    """What is known, as in "M/M/1: mean wait"."""
    setting: str
    """The numbers it was tried with, units included."""
    source: str
    """Where the law is from."""
    exact: float
    measured: float
    standard_error: float
    """Of the measured value; 0 where both must be equal to rounding."""


def check(law: Callable[[], Law]) -> None:
    """Fail where the measured value is further from the exact one than chance allows, and print both."""
    found = law()
    off = abs(found.measured - found.exact)
    print(f"{found.name} ({found.setting}): exact {found.exact:.6g}, measured {found.measured:.6g}")  # noqa: T201
    assert off <= TOLERANCE * found.standard_error + 1e-9 * abs(found.exact), found

"""Laws of time, each with its exact value and what a simulation of a fixed seed found.

A module `test_*_laws.py` lists its laws in `LAWS` and hands each to `check`, which also looks for its line in
the table of `docs/timing-model.md`: every law is measured once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fedsim_analysis.documents import parts

DOCUMENT = Path(__file__).parents[2] / "docs" / "timing-model.md"
TABLE = "laws"
"""The name of the table in it."""

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

    @property
    def line(self) -> str:
        """Its line of the table; errors are standard errors, `=` where the measured value must be exact."""
        error = f" ± {self.standard_error:.1g}" if self.standard_error else " (=)"
        measured = f"{self.measured:.4g}{error}"
        return f"| {self.name} | {self.setting} | {self.exact:.4g} | {measured} | {self.source} |"


def shown() -> list[str]:
    """Return the lines of the table in the document."""
    _, table, _ = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    return table.splitlines()[2:]


def check(law: Callable[[], Law]) -> None:
    """Fail where the measured value is further from the exact one than chance allows, and print both.

    Fail, too, where the document does not show what was measured.
    """
    found = law()
    off = abs(found.measured - found.exact)
    print(f"{found.name} ({found.setting}): exact {found.exact:.6g}, measured {found.measured:.6g}")  # noqa: T201
    assert off <= TOLERANCE * found.standard_error + 1e-9 * abs(found.exact), found
    assert found.line in shown(), "write it anew: python tests/theory/law_table.py"

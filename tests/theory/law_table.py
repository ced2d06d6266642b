"""The table of all laws in docs/timing-model.md; `python tests/theory/law_table.py` writes it anew."""

from __future__ import annotations

import importlib
from pathlib import Path

from laws import Law

from fedsim_analysis.documents import parts

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "timing-model.md"
TABLE = "laws"
"""The name of the table in it."""


def laws() -> list[Law]:
    """Return every law of the files `test_*_laws.py`, measured anew."""
    modules = [importlib.import_module(file.stem) for file in sorted(HERE.glob("test_*_laws.py"))]
    return [law() for module in modules for law in module.LAWS]


def table() -> str:
    """Return a line per law; errors are one standard error, `=` where the measured value must be exact."""
    lines = ["| law | with | exact | measured | source |", "|---|---|---|---|---|"]
    for law in laws():
        error = f" ± {law.standard_error:.1g}" if law.standard_error else " (=)"
        lines.append(
            f"| {law.name} | {law.setting} | {law.exact:.4g} | {law.measured:.4g}{error} | {law.source} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, after = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    DOCUMENT.write_text(before + table() + after, encoding="utf-8")

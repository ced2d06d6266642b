"""Table 3: all methods on all tasks.

Source: Ma et al., Scientific Reports 16:9381, 2026, Table 3.
"""

from __future__ import annotations

import pandas as pd
from rich.console import Group

from fedsim_analysis.tables import accuracy, accuracy_text, published

ABLATIONS = published.TABLE_4.keys() - published.TABLE_3.keys()
"""What belongs to Table 4 alone."""


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies of all methods but the ablations; see `accuracy.table`."""
    return accuracy.table(runs, published.TABLE_3, lambda method: method not in ABLATIONS)


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal."""
    return accuracy_text.render(rows, "Table 3, test accuracy")

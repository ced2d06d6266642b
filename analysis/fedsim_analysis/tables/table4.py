"""Table 4: accuracy without each part of the prompt.

The paper's numbers are of a single run.

Source: Ma et al., Scientific Reports 16:9381, 2026, Table 4.
"""

from __future__ import annotations

import pandas as pd
from rich.console import Group

from fedsim_analysis.tables import accuracy, accuracy_text, published


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies of cenDBT and its ablations; see `accuracy.table`."""
    return accuracy.table(runs, published.TABLE_4, published.TABLE_4.__contains__)


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal."""
    return accuracy_text.render(rows, "Table 4, ablation")

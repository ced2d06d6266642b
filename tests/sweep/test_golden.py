"""One small run whose numbers are in version control: a change that changes numbers is seen.

After such a change, look at the difference, say "Changes numbers: yes" in the changelog, and write the table
anew with ``python tests/sweep/test_golden.py``.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import fedsim

HERE = Path(__file__).parent
TABLE = HERE / "golden_steps.csv"


def steps() -> pd.DataFrame:
    return fedsim.run(fedsim.load_scenario(HERE / "golden.toml")).steps


def test_the_numbers_are_those_of_the_last_release():
    # To seven digits: the last few depend on the machine's arithmetic.
    pd.testing.assert_frame_equal(steps(), pd.read_csv(TABLE), check_dtype=False, rtol=1e-7)


def test_the_run_has_everything_that_could_change():
    table = steps()
    assert table.staleness_max.max() == 2
    assert table.cut_updates.iloc[-1] == 3
    assert table.drained.iloc[-1] > 0
    assert (table.active > 2).any()
    assert table.cuts.max() > 0
    assert table.loss.nunique() == 7


if __name__ == "__main__":
    steps().to_csv(TABLE, index=False, float_format="%.10g")

"""One small run whose numbers are in version control: a change that changes numbers is seen.

After such a change, look at the difference, say "Changes numbers: yes" in the changelog, and write the table
anew with ``python tests/sweep/test_golden.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

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


@pytest.mark.parametrize(("set_before", "found"), [({}, "AVX2,STRICT"), ({"MKL_CBWR": "AUTO"}, "AUTO")])
def test_sums_do_not_depend_on_the_processor_unless_somebody_wants_it(set_before, found):
    code = "import fedsim, os; print(os.environ['MKL_CBWR'])"
    environment = {key: value for key, value in os.environ.items() if key != "MKL_CBWR"} | set_before
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == found


if __name__ == "__main__":
    steps().to_csv(TABLE, index=False, float_format="%.10g")

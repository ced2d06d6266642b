"""How far `per_round` is from `per_call`: measured anew, held to what the document says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from fedsim_analysis.documents import parts
from fedsim_analysis.studies import service_detail
from fedsim_analysis.studies.service_detail import TABLE, cases, compared, markdown, ranged, special_cases

DOCUMENT = Path(__file__).parents[2] / service_detail.DOCUMENT


@cache
def measured() -> pd.DataFrame:
    return compared([*cases(), *special_cases()])


def test_the_table_in_the_document_is_what_is_measured() -> None:
    _, shown, _ = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    assert shown == markdown(measured()), "write it anew: python -m fedsim_analysis.studies.service_detail"


@pytest.mark.parametrize(
    ("regimes", "calls", "most"),
    [
        ("places|queue, rate", 20, 2.0),
        ("places|queue, rate|reject, rate 0.8", 400, 0.6),
        ("reject, rate 0.4", 20, 7.0),
        ("reject, rate 0.4", 400, 2.5),
    ],
)
def test_a_jobs_length_is_as_right_as_the_document_says(regimes: str, calls: int, most: float) -> None:
    found = measured()
    rows = found[found["regime"].str.match(regimes) & (found["calls"] == calls)]
    assert len(rows) >= 3
    assert rows["job_error"].abs().max() <= most


def test_ranges() -> None:
    assert ranged(pd.Series([1.0, -0.25, 0.5]), "+z.1f") == "-0.2 to +1.0"
    assert ranged(pd.Series([0.04, -0.04]), "+z.1f") == "+0.0"

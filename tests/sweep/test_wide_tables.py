"""Tables wider than the terminal: headings broken between words, columns in parts, or turned."""

from __future__ import annotations

import io
import re
import sys

import pandas as pd
import pytest

from fedsim.cli.wide_tables import show_frame

ROWS = pd.DataFrame(
    {
        "workers.1.slow_down": ["2", "10"],
        "method": ["SDBT", "AsynDBT"],
        "simulated_time_s": ["120.6 (2.0 min)", "485.6 (8.1 min)"],
        "accuracy": ["0.84", "0.87"],
        "llm_too_many_requests": ["12345678901234567890", "1"],
    }
)


class Screen(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    def show(rows: pd.DataFrame, width: int) -> list[str]:
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        show_frame(rows, n_first=2)
        # Without the codes of bold letters.
        lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in screen.getvalue().splitlines()]
        assert max(map(len, lines)) <= width
        return lines

    return show


def test_a_table_that_fits_has_a_line_of_headings(shown):
    heading, first, _ = shown(ROWS, 120)
    assert heading.split() == list(ROWS)
    assert first.split() == ["2", "SDBT", "120.6", "(2.0", "min)", "0.84", "12345678901234567890"]


def test_headings_are_broken_between_words_alone(shown):
    lines = shown(ROWS, 80)
    assert [line.split() for line in lines[:-2]] == [
        ["workers."],
        ["1."],
        ["slow_", "simulated_", "llm_too_many_"],
        ["down", "method", "time_s", "accuracy", "requests"],
    ]


def test_each_part_begins_with_the_first_columns(shown):
    lines = shown(ROWS, 50)
    parts = "\n".join(lines).split("\n\n")
    assert len(parts) == 2
    assert all("SDBT" in part and "AsynDBT" in part and "down  method" in part for part in parts)
    assert ["485.6" in part for part in parts] == [True, False]
    assert ["12345678901234567890" in part for part in parts] == [False, True]


def test_a_single_row_is_turned(shown):
    assert [line.split()[0] for line in shown(ROWS[:1], 50)] == list(ROWS)
    assert len(shown(ROWS[:1], 120)) == 2

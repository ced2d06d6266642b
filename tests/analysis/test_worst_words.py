"""The word on which malicious workers agree in the robustness study."""

from __future__ import annotations

import pandas as pd
import pytest

from fedsim_analysis.studies import worst_words
from fedsim_analysis.studies.robustness import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_the_attack_names_the_worst_word(task):
    found = worst_words.losses(task)
    assert found.index[0] == TASKS[task]
    # Worse than a typical word by more than a typical word is from the best.
    assert found.iloc[0] - found.median() > found.median() - found.iloc[-1]


def test_it_says_what_it_found(capsys, monkeypatch):
    table = pd.Series([0.9, 0.5, 0.1], index=[7, 1, 4])
    monkeypatch.setattr(worst_words, "losses", lambda task: table)
    worst_words.main(["sst2"])
    assert capsys.readouterr().out == "sst2: worst 7 (0.900), median 1 (0.500), best 4 (0.100)\n"

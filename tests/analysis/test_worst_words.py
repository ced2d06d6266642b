"""The word on which malicious workers agree in the robustness study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fedsim.scenario import load_variants
from fedsim_analysis.studies import worst_words
from fedsim_analysis.studies.robustness import TASKS, WORDS

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "poisoning"


@pytest.mark.parametrize("task", TASKS)
def test_the_attack_names_the_worst_word(task):
    (scenario,) = load_variants(SCENARIOS / TASKS[task], only=["none"])
    found = worst_words.losses(scenario.problem)
    assert found.index[0] == WORDS[task] == scenario.attacks[0].word
    assert found.iloc[0] > found.median() > found.iloc[-1]


def test_it_says_what_it_found(capsys, monkeypatch):
    table = pd.Series([0.9, 0.5, 0.1], index=[7, 1, 4])
    monkeypatch.setattr(worst_words, "losses", lambda problem: table)
    file = SCENARIOS / "messages.toml"
    worst_words.main([str(file)])
    assert capsys.readouterr().out == f"{file}: worst 7 (0.900), median 1 (0.500), best 4 (0.100)\n"

"""Shared parameters chosen on all tasks but one."""

from __future__ import annotations

import pandas as pd
import pytest

from fedsim.icl.tasks.calibrated.part import parameters
from fedsim_analysis.studies import leave_one_task_out as study


def grid() -> pd.DataFrame:
    """Two pairs, three tasks, one row: the first pair misses by 1, 1 and 5, the second by 2, 2 and 2."""
    cells = [(0.1, (81, 79, 85)), (0.2, (82, 78, 82))]
    rows = [
        (noise, 0.1, task, "cendbt", 80.0, ours, 0.0, 83.0)
        for noise, line in cells
        for task, ours in zip("abc", line, strict=True)
    ]
    names = [
        "word_noise",
        "demo_noise",
        "task",
        "row",
        "published",
        "closed_form",
        "standard_error",
        "trivial",
    ]
    return pd.DataFrame(rows, columns=names)


def test_what_is_chosen_without_a_task_by_hand():
    found = study.left_out(grid()).set_index("task")
    # Without a: 1 and 5 against 2 and 2. Without c: 1 and 1 against 2 and 2.
    assert found["word_noise"].tolist() == [0.2, 0.2, 0.1]
    assert found["error_of_five"].tolist() == [2, 2, 1]
    assert found["error"].tolist() == [2, 2, 5]
    assert found["error_committed"].tolist() == [1, 1, 5]
    assert found["error_trivial"].tolist() == [3, 3, 3]


def test_only_what_a_shared_parameter_touches_is_fitted_anew(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def demonstrations(name, noise):
        asked.append(("demonstrations", noise))
        return parameters()[name].model_copy(update={"demo_noise": noise, "demo_step": 0.5})

    def word_gain(name, noise):
        asked.append(("words", noise))
        return 0.25

    monkeypatch.setattr(study, "demonstrations", demonstrations)
    monkeypatch.setattr(study, "word_gain", word_gain)
    committed = parameters()["qqp"]
    assert study.refitted("qqp", committed.word_noise, committed.demo_noise) == committed
    assert asked == []
    found = study.refitted("qqp", 0.3, 0.4)
    assert asked == [("demonstrations", 0.4), ("words", 0.3)]
    changed = {"word_noise": 0.3, "word_gain": 0.25, "demo_noise": 0.4, "demo_step": 0.5}
    assert found == committed.model_copy(update=changed)

"""What the command lines of the studies share."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedsim.errors import InputError
from fedsim_analysis.studies import (
    constraint_search,
    fedicl_attack,
    figure1,
    robustness,
    sensitivity,
    speedup,
    systems,
)

STUDIES = [constraint_search, fedicl_attack, figure1, robustness, sensitivity, speedup, systems]


@pytest.mark.parametrize("study", STUDIES, ids=lambda module: module.__name__)
def test_the_scenarios_of_a_study_are_where_it_looks(study, tmp_path, monkeypatch):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "study", asked.append)
    study.main(["--jobs", "3", "--output", "pictures/new"])
    (options,) = asked
    folder = Path(__file__).parents[2] / options.scenarios
    assert list(folder.glob("*.toml"))
    assert (options.jobs, options.replicates) == (3, 5)
    assert (tmp_path / "pictures" / "new").is_dir()


@pytest.mark.parametrize("study", STUDIES, ids=lambda module: module.__name__)
def test_an_error_is_a_sentence(study, tmp_path, monkeypatch, capsys):
    def fails(options):
        raise InputError("found this, expected that")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "study", fails)
    with pytest.raises(SystemExit) as stopped:
        study.main([])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "found this, expected that\n"

"""How words add up on a model: designs, forms by hand, laws that fits recover."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from text_cases import rows, write_jsonl

from fedsim.scenario import load_scenario
from fedsim.streams import Streams
from fedsim_analysis.fragments import forms
from fedsim_analysis.fragments.designs import MIXED_WORDS, PLACES, POSITION_WORDS, Fragment, Sizes, fragments
from fedsim_analysis.fragments.forms import (
    ADDING,
    MEAN,
    Form,
    components,
    counts,
    exponent_intervals,
    exponents,
    held,
    position_intervals,
    predicted_from_fragments,
    predicted_from_single,
    sets_of,
    share,
)
from fedsim_analysis.studies import fragment_effects as study


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(forms, "RESAMPLES", 49)


def asked(n_candidates=40, sizes=None):
    return fragments(n_candidates, n_candidates, sizes or Sizes(random=60, wide=()), np.random.default_rng(0))


def obeying(form, asked, n_candidates=40, recency=0.0, noise=0.0):
    """Return effects, (F, 3), of fragments by a law."""
    generator = np.random.default_rng(1)
    words = generator.normal(size=(n_candidates, 3))
    amounts = np.zeros((len(asked), n_candidates))
    for row, one in enumerate(asked):
        length = len(one.words)
        for place, word in enumerate(one.words):
            at = place / (length - 1) - 0.5 if length > 1 else 0.0
            amounts[row, word] += np.exp(recency * at)
        amounts[row] = amounts[row] ** form.repeat_exponent / max(length, 1) ** form.length_exponent
    return amounts @ words + noise * generator.normal(size=(len(asked), 3))


def test_the_designs_hold_what_they_are_for():
    sizes = Sizes(repeats=(2, 3), lengths=(4,), random=5, mixed=6, positions=2, wide=(60,))
    found = fragments(10, 30, sizes, np.random.default_rng(0))
    assert Counter(one.design for one in found) == {
        "none": 1,
        "single": 10,
        "repeat": 20,
        "random": 5,
        "mixed": 6,
        "position": 2 * POSITION_WORDS * len(PLACES),
        "wide": 5,
    }
    assert {word >= 10 for one in found if one.design != "wide" for word in one.words} == {False}
    assert any(word >= 10 for word in found[-1].words)
    assert all(len(set(one.words)) <= MIXED_WORDS for one in found if one.design == "mixed")
    first, last = (
        next(one for one in found if one.design == "position" and one.place == place)
        for place in (PLACES[0], PLACES[-1])
    )
    assert first.words[1:] == last.words[:-1]
    assert first.words[0] == last.words[-1]


def test_components_by_hand():
    # The second fragment adds 1 and 3 to queries of class 0, 5 and 7 to those of class 1.
    found = components(np.array([[0.0, 1, 2, 3], [1, 4, 7, 10]]), [0, 0, 1, 1])
    assert found["shift"].tolist() == [[0], [4]]
    assert found["separation"].tolist() == [[0], [2]]
    assert found["each"].tolist() == [[0, 0, 0, 0], [1, 3, 5, 7]]


def test_what_a_fragment_holds_by_hand():
    table = counts([Fragment("mixed", (0, 2, 0, 0))], 3)
    assert table.tolist() == [[3, 0, 1]]
    np.testing.assert_allclose(held(table, Form(0.5, 0.5)), [[3**0.5 / 2, 0, 0.5]])
    np.testing.assert_allclose(held(table, MEAN), [[0.75, 0, 0.25]])


@pytest.mark.parametrize("form", [Form(0.5, 0.5), Form(1.0, 1.0), Form(0.2, 0.1)])
def test_exponents_of_a_law_are_found(form):
    some = asked()
    table, effects = counts(some, 40), obeying(form, some)
    sets = sets_of(some, ADDING)
    length_exponent, repeat_exponent, _ = exponents(effects, table, sets)
    # Sizes of sets of 60 fragments have a standard error of 5 %; the slope over factors of 64 less than 0.05.
    assert length_exponent == pytest.approx(form.length_exponent, abs=0.1)
    assert repeat_exponent == pytest.approx(form.repeat_exponent, abs=0.1)
    found = exponent_intervals(effects, table, sets)
    assert found["length_exponent"].value == length_exponent
    assert found["length_exponent"].low < length_exponent < found["length_exponent"].high


def test_recency_of_a_law_is_found():
    some = asked(sizes=Sizes(positions=40))
    found = position_intervals(obeying(Form(0.5, 1.0), some, recency=0.8), some)
    # The same words stand at all places, so that sizes differ by the law alone.
    assert found["recency"].value == pytest.approx(0.8)
    # The middle of eight places is place 4 of 7, not 3.5.
    assert found["middle"].value == pytest.approx(0.8 * (4 / 7 - 0.5))


@pytest.mark.parametrize("predicted", [predicted_from_single, predicted_from_fragments])
def test_the_share_of_a_law_without_noise_is_one_and_less_for_another_form(predicted):
    some, law = asked(20), Form(0.5, 0.5)
    table, effects = counts(some, 20), obeying(law, some, 20)
    sets = sets_of(some, ADDING)
    judged = [one for one in sets if one.design in ("random", "mixed")]
    right, wrong = (share(effects, predicted(effects, table, sets, form), judged) for form in (law, MEAN))
    assert right.value > 0.99
    assert wrong.value < right.low - 0.02


def test_the_share_by_hand():
    effects = np.array([[1.0], [3], [5], [7]])
    sets = sets_of([Fragment("random", (0, 1))] * 4, ("random",))
    # About the mean: -3, -1, 1, 3, so 20 in all; the prediction leaves 1, 1, 0 and 0.
    assert share(effects, np.array([[-2.0], [-2], [1], [3]]), sets).value == pytest.approx(1 - 2 / 20)


def test_noise_is_no_share_of_the_words():
    some = asked(20)
    table = counts(some, 20)
    effects = np.random.default_rng(3).normal(size=(len(some), 3))
    sets = sets_of(some, ADDING)
    judged = [one for one in sets if one.design == "random"]
    assert share(effects, predicted_from_fragments(effects, table, sets, MEAN), judged).value < 0.1


SCENARIO = """
name = "tiny"
algorithm = { kind = "asyndbt", wait_for = 1 }
workers = [{ count = 1, compute = { kind = "constant", value_s = 1.0 } }]
llm = { kind = "independent", latency = { kind = "constant", value_s = 0.5 } }
budget = { server_steps = 1 }
[problem]
kind = "icl"
model = { kind = "fake_model:FakeModel", cache = false }
[problem.task]
kind = "text"
file = "reviews.jsonl"
prompt = "sst2"
n_words = 2
n_candidates = 3
n_demonstrations = 2
train_per_class = 2
validation_per_class = 1
test_counts = [3, 3]
vocabulary = { min_count = 1, pmi_threshold = 100.0 }
"""


@pytest.fixture
def scenario(tmp_path, monkeypatch):
    for name, value in (("N_OFFERED", 6), ("N_CANDIDATES", 4), ("ROWS_PER_CLASS", 8)):
        monkeypatch.setattr(study, name, value)
    few = Sizes(repeats=(2,), lengths=(2,), random=8, mixed=8, positions=3, wide=(4,))
    monkeypatch.setattr(study, "SIZES", (few, few))
    monkeypatch.setattr(forms, "RESAMPLES", 19)
    write_jsonl(tmp_path, rows())
    file = tmp_path / "tiny.toml"
    file.write_text(SCENARIO)
    return file


def test_the_study_from_end_to_end(scenario, tmp_path, capsys):
    out, picture = tmp_path / "results", tmp_path / "figures" / "effects.pdf"
    study.main([str(scenario), "--out", str(out), "--figure", str(picture)])
    assert str(picture) in capsys.readouterr().out
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("effects", "sizes", "exponents", "shares")}
    conditions = tables["sizes"]["condition"].unique()
    assert len(conditions) == 3
    contexts = tables["effects"].groupby("condition")["context"].nunique()
    assert contexts["after the text, demonstrations"] == contexts.max() / 2 == 2
    assert set(tables["exponents"]["quantity"]) == {*study.SHOWN, "word_size"}
    effects = tables["effects"]
    assert (effects.loc[effects["design"] == "none", "effect"] == 0).all()
    assert (effects.groupby(["condition", "fragment"])["label"].mean() == 0.5).all()
    # answers by a hash of the prompt hold no sum over words
    sums = tables["shares"].query("form == 'sublinear' and predicted_from == 'fragments'")
    assert (sums["value"] < 0.5).all()
    drawn = pd.read_csv(picture.with_suffix(".csv"))
    assert set(drawn["panel"]) == {"length", "repeats", "place", "share"}
    assert (drawn["low"] <= drawn["high"]).all()


def test_a_scenario_without_a_language_model_is_a_sentence(tmp_path, small, capsys):
    with pytest.raises(SystemExit) as stop:
        study.main([str(small), "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "the study needs a problem of kind 'icl'" in capsys.readouterr().err


def test_words_that_are_asked_alone_come_first(scenario):
    problem = load_scenario(scenario).problem
    words, contexts = study.material(problem.task, Streams(0))
    assert len(words) == len(set(words)) == 6
    assert [(one.label, one.number) for one in contexts] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all([label for _, label in one.demonstrations] == [0, 1] for one in contexts)
    assert len({one.demonstrations for one in contexts}) == 4

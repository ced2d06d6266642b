"""Scenario files as they come: from pipes, under odd names, nested without end; keys that are no settings."""

from __future__ import annotations

import io
import os
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from fedsim.errors import InputError
from fedsim.scenario import load_scenario, load_variants, toml_text
from fedsim.scenario.files import MOST_FILES, read_file
from fedsim.scenario.names import LONGEST, TIMING_ONLY, wrong_with_name
from fedsim.scenario.toml_text import LONG, read_toml

VARIANTS = "\n[variants.mild]\nseed = 1\n[variants.strong]\nseed = 2\n"


@pytest.fixture
def pipe(tmp_path, small):
    """Return a function that makes a pipe, into which the small scenario is written once."""
    ends: list[int] = []
    writers: list[threading.Thread] = []

    def make(text: str = "") -> Path:
        out, into = os.pipe()
        ends.append(out)

        def write() -> None:
            with os.fdopen(into, "w") as stream:
                stream.write(text or small.read_text())

        writers.append(threading.Thread(target=write, daemon=True))
        writers[-1].start()
        return Path(f"/dev/fd/{out}")

    yield make
    for end in ends:
        os.close(end)
    for writer in writers:
        writer.join(timeout=300)


@pytest.mark.parametrize("words", [("check",), ("run", "--timing-only"), ("prompt",), ("sweep", "--dry-run")])
def test_a_scenario_from_a_pipe_is_read_once(command, small, pipe, words):
    swept = small.read_text() + "[sweep.grid]\nseed = [1, 2]\n" if words[0] in ("sweep", "check") else ""
    answer = command(words[0], pipe(swept), *words[1:])
    if words[0] == "prompt":
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "missing" not in answer.err
    else:
        assert (answer.code, answer.err) == (0, "")


def test_the_standard_input(command, small, monkeypatch, tmp_path):
    def said(text: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return command("check", "-")

    assert said(small.read_text()).out.startswith("small: asyndbt, 3 workers: fine\n")
    # What comes from no folder has its paths where one works.
    other = said(f'extends = "{small.name}"\nname = "other"\n')
    assert other.out.startswith("other: asyndbt, 3 workers: fine\n")
    nameless = said(small.read_text().replace('name = "small"', ""))
    assert nameless == (2, "", "fedsim: -: name: missing; what comes from a pipe has no file's name\n")


def test_a_pipe_extends_and_is_extended(command, small, pipe, tmp_path):
    assert command("check", pipe('extends = "small.toml"\nname = "a"\n')).out.startswith("a: ")
    child = tmp_path / "child.toml"
    child.write_text(f'extends = "{pipe()}"\n')
    assert command("check", child).out.startswith("small: ")


def test_data_from_a_pipe_is_refused_before_anybody_waits_for_it(command, small, tmp_path):
    os.mkfifo(tmp_path / "delays.csv")
    answer = command("check", small, "--set", "llm.latency={kind='empirical', file='delays.csv', column='x'}")
    assert answer.code == 2
    assert answer.err.splitlines()[-1].endswith(
        "llm.latency.file: delays.csv is a pipe or a device, expected a file: it is read more than once"
    )


NO_SETTINGS = [
    "variant=strong",
    "variants.strong.seed=3",
    "extends='x.toml'",
    "sweep.replicates=2",
    "sweep=3",
]
NO_SETTINGS += ["variant.strong=1", "'$schema'=1".replace("'", "")]


@pytest.mark.parametrize("override", NO_SETTINGS)
def test_what_is_no_setting_of_a_run(command, small, override):
    small.write_text(small.read_text() + VARIANTS)
    for words in (("check", small), ("run", small)):
        answer = command(*words, "--set", override)
        key = override.partition("=")[0].partition(".")[0]
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert answer.err.startswith(f"fedsim: --set {override!r}: {key}: no setting of a run: ")
    small.write_text(small.read_text() + f'[[sweep.list]]\n"{key}.x" = 1\n')
    assert f": {key}: no setting of a run: " in command("sweep", small).err


def test_a_variant_is_chosen_by_only(command, small):
    small.write_text(small.read_text() + VARIANTS)
    assert "--only chooses a variant" in command("check", small, "--set", "variant=strong").err
    assert command("check", small, "--only", "strong").out.count("fine") == 1
    small.write_text('variant = "strong"\n' + small.read_text())
    assert "variant: found 'strong', but --only chooses one of the variants" in command("check", small).err
    small.write_text(small.read_text().replace("seed = 2", 'sweep = {}\nextends = "x"'))
    assert "variants.strong." in command("check", small).err


def test_inherited_variants_and_sweeps_are_taken_away(small):
    small.write_text(small.read_text() + VARIANTS + "[sweep.grid]\nseed = [1, 2]\n")
    child = small.with_name("child.toml")

    def read(text: str) -> tuple[list[str], bool]:
        child.write_text('extends = "small.toml"\n' + text)
        file = read_file(child)
        return [scenario.variant for scenario in load_variants(child)], file.sweep is not None

    assert read("") == (["mild", "strong"], True)
    assert read('unset = ["sweep"]') == (["mild", "strong"], False)
    assert read("sweep = { unset = true }") == (["mild", "strong"], False)
    assert read('unset = ["variants", "sweep"]') == ([""], False)
    assert read("[variants]\nunset = ['mild']\n[variants.other]\nseed = 4") == (["strong", "other"], True)
    assert read("[variants]\nunset = true\n") == ([""], True)
    assert read("[variants.mild]\nunset = true\n") == (["strong"], True)
    assert read("[variants.mild]\nunset = true\nseed = 9\n") == (["mild", "strong"], True)
    assert [scenario.seed for scenario in load_variants(child)] == [9, 2]
    for wrong in ("unset = ['mald']", "unset = 1", "unset = false"):
        with pytest.raises(
            InputError, match=r"variants.unset: found .*, expected a list of variants, or true"
        ):
            read(f"[variants]\n{wrong}\n")


BAD_NAMES = [TIMING_ONLY, "Timing-Only", "x.partial", "x.failed.json", "X.PARTIAL", "a" * (LONGEST + 1)]
BAD_NAMES += [
    "a" * 300,
    "a/b",
    "../a",
    ".a",
    "a\n",
    "a\0b",
    "nul",
    "COM1.x",
    "a.",
    "größe",
    "e\u0301",
    "",
    " a",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_cannot_be_folders(small, name):
    with pytest.raises(InputError, match=r"^small: name: found .*, expected "):
        load_scenario(small).replace("name", name)
    if name:
        text = small.read_text() + f"\n[variants.{toml(name)}]\nseed = 3\n"
        small.write_text(text)
        with pytest.raises(InputError, match=r"small.toml: variants: found .*, expected "):
            load_variants(small)


def toml(text: str) -> str:
    """Return a text as a basic string of TOML."""
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'


def test_names_that_can(command, small):
    for name in ("a" * LONGEST, "0.x_-", "partial", "console", "timing-only-2"):
        assert wrong_with_name(name) == ""
        assert command("run", small, "--timing-only", "--set", f"name='{name}'").code == 0
        assert command("results", f"results/{TIMING_ONLY}/{name}").code == 0


def test_a_file_whose_name_cannot_be_the_scenarios(command, small):
    text = small.read_text().replace('name = "small"\n', "")
    for name, possible in (("my file", "my-file"), ("größe (2)", "gr-e-2"), ("nul", "")):
        file = small.with_name(f"{name}.toml")
        file.write_text(text)
        hint = f'; write name = "{possible}" into it' if possible else ""
        answer = command("check", file.name)
        assert answer.code == 2
        assert f"{file.name}: name: missing, and that of the file cannot be the scenario's: " in answer.err
        assert f"found {name!r}, expected" in answer.err
        assert answer.err.endswith(f"{hint}\n")
        assert command("check", file.name, "--set", "name=other").out.startswith("other: ")


def test_two_files_of_one_name(command, small, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s.toml").write_text(
            f'extends = "../small.toml"\nname = "s"\nseed = {len(folder)}\n'
        )
    answer = command("run", "x/s.toml", "y/s.toml", "--timing-only")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("fedsim: x/s.toml and y/s.toml both have the name 's': ")
    assert not (tmp_path / "results").exists()
    assert command("run", "small.toml", "x/s.toml", "x/s.toml", "--timing-only").code == 0
    assert command("run", "small.toml", "x/s.toml", "--set", "name=one").code == 2


DEEP = "[" * 5000 + "]" * 5000
ENDLESS = {
    "brackets": (f"a = {DEEP}", "tables and lists are nested too deeply, expected at most 64"),
    "open brackets": ("a = " + "[" * 100_000, "tables and lists are nested too deeply"),
    "tables": (f"a = {'{a=' * 3000}1{'}' * 3000}", "tables and lists are nested too deeply"),
    "dotted key": (".".join("a" * 900) + " = 1", "tables and lists are nested too deeply"),
    "header": (f"[{'.'.join('a' * 2000)}]", "tables and lists are nested too deeply"),
    "a hundred": ("a = " + "[" * 100 + "]" * 100, "tables and lists are nested too deeply"),
    "digits": ("seed = " + "9" * 5000, "found an integer of too many digits"),
    "hexadecimal": ("seed = 0x" + "f" * 50_000, "found an integer of too many digits"),
    "not closed": ("a = [", "not valid TOML: "),
    "null in a path": (
        'extends = "a\\u0000b"',
        "extends: found 'a\\x00b', expected the path of a scenario file",
    ),
    "long path": (f'extends = "{"a" * 300}"', "extends: found 'aaaa"),
    "long folder": (f'extends = "{"a" * 300}/x.toml"', "extends: found 'aaaa"),
    "a folder": ('extends = "."', ": a folder, expected a scenario file"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_files_that_are_meant_to_do_harm(command, small, name):
    text, sentence = ENDLESS[name]
    file = small.with_name("bad.toml")
    file.write_text(text + "\n" + "")
    answer = command("check", file)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert sentence in answer.err


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=" + "9" * 5000, "an integer of too many digits"),
        ("a=" + DEEP, "tables and lists are nested too deeply"),
        (".".join("a" * 900) + "=1", "found a key of 900 names, expected at most 64"),
        ("workers.²=3", "expected a place from 0 to 0 in the list, got '²'"),
        ("workers.²²²²=3", "expected a place from 0 to 0 in the list, got '²²²²'"),
        ("workers.٣.count=3", "expected a place from 0 to 0 in the list, got '٣'"),
        ("workers." + "1" * 5000 + ".count=3", "expected a place from 0 to 0 in the list"),
        ("workers.-1.count=3", "expected a place from 0 to 0 in the list, got '-1'"),
    ],
    ids=lambda text: text[:20],
)
def test_overrides_that_are_meant_to_do_harm(command, small, override, sentence):
    answer = command("check", small, "--set", override)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert sentence in answer.err
    with pytest.raises(InputError):
        load_scenario(small).replace(override.partition("=")[0], {"x": 1})


BIG = "y" * (LONG + 1)
LONG_TEXTS = [
    f'a = "{BIG}\\n\\\\ \\" z"\n[b]\nc = "{BIG}"',
    f'a = """\nk = "{BIG}"\n"""',
    f"a = '''\nk = \"{BIG}\"\n'''\nz = \"{BIG}\"",
    f'a = "{BIG}\\u0041"',
    f'a = ["{BIG}", "x"]',
    f'a = "{BIG}" # c',
    f'# a = "{BIG}"\nb = 1',
    f'[[w]]\n  d.e = "{BIG}"\n[[w]]\nd = {{f = "{BIG}"}}',
]


@pytest.mark.parametrize("number", range(len(LONG_TEXTS)))
def test_long_texts_are_read_as_by_python(number):
    assert read_toml(LONG_TEXTS[number], "x") == tomllib.loads(LONG_TEXTS[number])


def test_a_file_without_end(command, small, monkeypatch):
    text = small.read_text()
    read: list[int] = []
    loads = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: read.append(len(text)) or loads(text))
    small.write_text(f'description = "{"x" * 1_000_000}"\n{text}')
    assert command("check", small).code == 0
    assert max(read) < len(text) + 1000  # the reader that takes a second for a megabyte has not seen it
    monkeypatch.setattr(toml_text, "MOST_LETTERS", 100_000)
    small.write_text(f'description = """{"x" * 200_000}"""\n{text}')
    assert command("check", small) == (
        2,
        "",
        f"fedsim: {small}: 0 million letters, expected at most 0: data belong into files of their own\n",
    )


def test_files_that_extend_each_other(command, small, tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.toml").write_text(f'extends = "{number + 1}.toml"\n')
    (tmp_path / "200.toml").write_text('extends = "small.toml"\n')
    answer = command("check", "0.toml")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert f"extends: {MOST_FILES} files extend one another, expected fewer" in answer.err
    assert command("check", "190.toml").code == 0
    (tmp_path / "200.toml").write_text('extends = "190.toml"\n')
    assert "leads back to a file that extends this one" in command("check", "195.toml").err

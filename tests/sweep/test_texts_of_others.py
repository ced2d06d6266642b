"""What others wrote reaches the terminal as text: no markup, no control characters, wherever it stands."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

from fedsim import terminal

MARKUP = ("[/x]", "[INST] a [/INST]", "[red]", "[link=file:///x]y", ":smiley:")
ESCAPE = "\x1b[2J\x1b]0;title\x07\u202eabc"
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def toml(text: str) -> str:
    return json.dumps(text)  # its strings are TOML's too


@pytest.mark.parametrize("text", [*MARKUP, ESCAPE, "\x9b31mred"])
def test_a_swept_text_is_told_as_it_is_before_and_after(command, small, text):
    grid = f'[sweep.grid]\n"workers.0.name" = [{toml(text)}, "other"]\n'
    small.write_text(small.read_text() + grid)
    seen = terminal.visible(text)
    planned = command("sweep", small, "--dry-run", "--timing-only")
    # A value stands there as Python writes it, whose codes are the same.
    assert (planned.code, planned.err) == (0, "")
    assert seen in planned.out
    assert command("sweep", small, "--jobs", 1, "--timing-only").code == 0
    told = command("results", "results")
    assert (told.code, told.err) == (0, "")
    assert seen in told.out
    assert not UNSEEN.search(planned.out + told.out)


def test_what_tells_the_runs_of_a_plan_apart_is_not_cut_off(command, small):
    same = "p" * 60
    small.write_text(
        f'{small.read_text()}[sweep.grid]\n"workers.0.name" = ["{same}1{same}", "{same}2{same}"]\n'
    )
    out = "".join(command("sweep", small, "--dry-run", "--timing-only").out.split())
    assert f"{same}1{same}" in out
    assert f"{same}2{same}" in out


def test_a_wide_table_is_not_folded_on_its_way_to_a_file(capsys):
    cells = [f"{number} {'x' * 30}" for number in range(12)]
    table = Table(*cells)
    table.add_row(*cells)
    terminal.show(table)
    lines = [line for line in capsys.readouterr().out.splitlines() if "0 x" in line]
    assert len(lines) == 2
    assert all(cell in line for line in lines for cell in cells)


def test_a_report_and_its_figures_hold_texts_letter_by_letter(command, small):
    text = f"$a$ _b_ <script>alert(1)</script> [/x] {ESCAPE}"
    settings = (
        small.read_text()
        + f'[record]\nspans = true\n[sweep.grid]\n"workers.0.name" = [{toml(text)}, "$b$"]\n'
    )
    small.write_text(f"description = {toml(text)}\n{settings}")
    assert command("sweep", small, "--jobs", 1).code == 0
    for name in ("timeline", "idle"):
        assert command("figure", name, "results", "-o", name).code == 0
    assert command("report", "results", "-o", "r.html").code == 0
    page = Path("r.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not UNSEEN.search(page.partition('<script type="application/json"')[0].replace("\t", ""))


@pytest.mark.parametrize("text", ["o[/x]", "o[red]", "o\x1b[31m", "o\u202ex"])
def test_a_folder_may_have_any_name(command, small, text):
    ran = command("run", small, "--out", text, "--timing-only")
    assert (ran.code, ran.err) == (0, "")
    assert f"results: {terminal.visible(text)}/" in ran.out
    for words in (("verify", text), ("results", text), ("figure", "idle", text, "-o", f"{text}/i")):
        said = command(*words)
        assert (said.code, said.err) == (0, "")
        assert not UNSEEN.search(said.out), words


PLACES = {
    "a key": lambda file: ["check", written(file, f"{toml(ESCAPE)} = 1\n", first=True)],
    "a key of a part": lambda file: ["check", file, "--set", f"llm={{ {toml(ESCAPE)} = 1 }}"],
    "a kind": lambda file: ["check", written(file, f"[network]\nkind = {toml(ESCAPE)}\n")],
    "a variant": lambda file: ["run", written(file, f"[variants.{toml(ESCAPE)}]\nseed = 1\n")],
    "extends": lambda file: ["check", written(file, f"extends = {toml(ESCAPE)}\n", first=True)],
    "a value": lambda file: ["check", file, "--set", f"seed={toml(ESCAPE)}"],
    "a class": lambda file: ["check", file, "--set", f"network.kind={toml(ESCAPE + ':X')}"],
    "a swept key": lambda file: ["check", written(file, f"[sweep.grid]\n{toml(ESCAPE)} = [1]\n")],
    "an override": lambda file: ["check", file, "--set", f"{ESCAPE}=1"],
    "an option": lambda file: ["run", file, "--only", ESCAPE],
    "a file": lambda file: ["check", f"{ESCAPE}.toml"],
    "a file whose name is not UTF-8": lambda file: ["check", f"\udcff{ESCAPE}"],
    "a results folder": lambda file: ["report", ESCAPE],
    "a query": lambda file: ["results", "o", "--where", ESCAPE],
    "a column": lambda file: ["results", "o", "--columns", ESCAPE],
    "a format": lambda file: ["results", "o", "--format", ESCAPE],
    "a table": lambda file: ["table", ESCAPE, "o"],
    "a figure": lambda file: ["figure", ESCAPE, "o"],
    "a figure of one's own": lambda file: ["figure", f"{ESCAPE}:X", "o"],
    "a family": lambda file: ["list", ESCAPE],
    "a run": lambda file: ["report", "o", "--run", ESCAPE],
    "a logger": lambda file: ["run", file, "--log", f"{ESCAPE}:x"],
    "a command": lambda file: [ESCAPE],
    "a trace": lambda file: ["check-trace", ESCAPE],
    "an option's name": lambda file: ["run", file, f"--{ESCAPE}"],
}


def written(file, text: str, first: bool = False):
    file.write_text(text + file.read_text() if first else f"{file.read_text()}\n{text}")
    return file


@pytest.mark.parametrize("place", PLACES)
def test_an_error_shows_control_characters_by_their_codes(command, small, place):
    if "o" in (words := PLACES[place](small)):
        command("run", small, "--out", "o", "--timing-only")
    said = command(*words)
    assert said.code == 2
    assert said.err.startswith("fedsim: ")
    assert "\\x1b" in said.err
    assert not UNSEEN.search(said.err + said.out)


@pytest.mark.parametrize("text", [*MARKUP, ESCAPE, "two\nlines"])
def test_a_progress_bar_shows_texts_as_they_are(text, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console = terminal.aside()
    console.width = 100
    with Progress(terminal.words("{task.description}"), console=console) as progress:
        progress.add_task(text)
    assert terminal.visible(text, one_line=True) in sys.stderr.getvalue()


class Screen(io.StringIO):
    """A standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_what_programs_read_is_not_changed_but_on_a_terminal(command, small, monkeypatch):
    grid = f'[sweep.grid]\n"workers.0.name" = [{toml(ESCAPE)}, "other"]\n'
    small.write_text(small.read_text() + grid)
    command("sweep", small, "--jobs", 1, "--timing-only")
    assert ESCAPE in command("results", "results", "--format", "csv").out
    monkeypatch.setattr(sys, "stdout", Screen())
    terminal.give(ESCAPE)
    assert sys.stdout.getvalue() == terminal.visible(ESCAPE)


def test_an_output_in_ascii_holds_everything(small):
    small.write_text(small.read_text() + '[sweep.grid]\n"workers.0.name" = ["\\u00e9[/x]", "\\u6c34"]\n')
    words = ["sweep", str(small), "--dry-run", "--timing-only"]
    settings = {**os.environ, "PYTHONIOENCODING": "ascii"}
    said = subprocess.run([sys.executable, "-m", "fedsim", *words], capture_output=True, env=settings)
    assert (said.returncode, said.stderr) == (0, b"")
    assert rb"\xe9[/x]" in said.stdout
    assert rb"\u6c34" in said.stdout

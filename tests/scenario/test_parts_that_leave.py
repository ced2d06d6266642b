"""A part that ends Python, wherever its code runs, is one sentence that names it: never silence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

LEAVES = {
    "SystemExit(0)": "SystemExit",
    "SystemExit('bye')": "SystemExit",
    "GeneratorExit": "GeneratorExit",
}


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Return a function that writes a module `leaving` and forgets the one before."""

    def write(text: str) -> None:
        for name in [name for name in sys.modules if name.startswith("leaving")]:
            monkeypatch.delitem(sys.modules, name)
        Path(tmp_path / "leaving.py").write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return write


@pytest.mark.parametrize("leaves", LEAVES)
@pytest.mark.parametrize("words", [("check",), ("run",), ("prompt",)])
def test_while_it_is_imported(command, small, part, words, leaves):
    part(f"raise {leaves}")
    answer = command(*words, small, "--set", "llm.latency={unset=true, kind='leaving:Part'}")
    assert (answer.code, answer.out) == (2, "")
    assert f"llm.latency: cannot import 'leaving:Part': it raised {LEAVES[leaves]}" in answer.err


DELAY = """
from fedsim.timing.delays.base import Delay
class Part(Delay):
    kind: str
    @property
    def mean_value_s(self): return {mean}
    def sample(self, generator, size): {sample}
    def model_post_init(self, context): {made}
"""
PLACES = {
    "made": {"made": "raise {}", "mean": "1.0", "sample": "pass"},
    "sample": {"made": "pass", "mean": "1.0", "sample": "raise {}"},
}


@pytest.mark.parametrize("leaves", LEAVES)
@pytest.mark.parametrize("place", PLACES)
def test_while_it_works(command, small, part, place, leaves):
    part(DELAY.format(**{key: text.format(leaves) for key, text in PLACES[place].items()}))
    answer = command("run", small, "--set", "llm.latency={unset=true, kind='leaving:Part'}")
    assert answer.code != 0
    assert "llm.latency: 'leaving:Part' raised " + LEAVES[leaves] in answer.err
    assert len(answer.err.splitlines()) == 1


def test_in_a_sweep_the_others_go_on(command, small, part):
    part(DELAY.format(made="pass", mean="1.0", sample="raise SystemExit(0)"))
    latencies = '[{ unset = true, kind = "leaving:Part" }, { unset = true, kind = "constant", value_s = 1 }]'
    small.write_text(small.read_text() + f'[sweep.grid]\n"llm.latency" = {latencies}\n')
    answer = command("sweep", small, "--jobs", 1, "--timing-only")
    assert answer.code == 1
    assert "'leaving:Part' raised SystemExit: 0" in answer.err
    assert "small" in command("results", "results").out


def test_a_logger_and_a_figure(command, small, part, tmp_path):
    part("raise SystemExit(0)")
    for words in (
        ("run", small, "--timing-only", "--log", "leaving:Logger:x"),
        ("figure", "leaving:figure", "results"),
    ):
        answer = command(*words)
        assert answer.code == 2
        assert "'leaving:" in answer.err
        assert "SystemExit(0)" in answer.err
        assert command("run", small, "--timing-only").code == 0

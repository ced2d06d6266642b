"""The code of somebody else's part belongs to the address of a run: no old numbers after a change of it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from waiting import LIMIT_S

import fedsim
from fedsim import part_code, results
from fedsim.scenario import load_scenario

ADDRESS = "fcbcbc30835d"
"""Of the small scenario, in whose address there is no code."""

DELAY = """
from typing import Literal

import numpy as np

from {helper} import HALF_S
from fedsim.timing.delays import Delay


class Named(Delay):
    \"""A delay of its own. Source: us.\"""

    kind: Literal["doubled"] = "doubled"

    @property
    def mean_value_s(self):
        return 2 * HALF_S

    def sample(self, generator, size):
        return np.full(size, 2 * HALF_S)
"""


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder of modules; what is imported from there is forgotten."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    # Kept byte code would be taken for that of a file that is as long and was changed within the same second.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget("mine", "helping", "lab", "open", "around")


def forget(*names: str) -> None:
    """As in a new process."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


def written(site: Path, layout: str) -> tuple[str, Path, Path]:
    """Write a part and return its kind, its file, and that of what it needs."""
    folder, inner, place = {
        "beside": (site, ".", "helping"),
        "package": (site / "lab", "parts", "..helping"),
        "open": (site / "open", ".", ".helping"),  # without __init__.py: there may be anything in there
    }[layout]
    part, helper = folder / inner / "mine.py", folder / "helping.py"
    module = ".".join(part.relative_to(site).with_suffix("").parts)
    part.parent.mkdir(parents=True, exist_ok=True)
    if layout == "package":
        for package in (part.parent, helper.parent):
            (package / "__init__.py").touch()
    part.write_text(DELAY.format(helper=place))
    helper.write_text("HALF_S = 0.25\n")
    return f"{module}:Named", part, helper


@pytest.mark.parametrize("layout", ["beside", "package", "open"])
@pytest.mark.parametrize("changed", ["part", "helper"])
def test_one_changed_line_is_another_run(command, small, site, layout, changed):
    kind, part, helper = written(site, layout)
    words = ["run", small, "--timing-only", "--set", f"llm.latency={{ kind = '{kind}' }}", "--json"]
    first = json.loads(command(*words).out)
    assert "(kept)" in command(*words[:-1]).out
    if changed == "part":
        part.write_text(part.read_text().replace("np.full(size, 2 *", "np.full(size, 4 *"))
    else:
        helper.write_text("HALF_S = 0.5\n")
    (part.parent / "notes.txt").write_text("no code")
    forget("mine", "helping", "lab", "open")
    second = json.loads(command(*words).out)
    assert second["simulated_time_s"] > first["simulated_time_s"]
    runs = fedsim.load_results("results")
    assert len(runs) == 2
    # What tells them apart is a setting of the table, so that no figure averages over both.
    assert runs[f"parts.{kind}"].nunique() == 2


def test_what_is_no_code_changes_no_address(small, site):
    kind, part, _ = written(site, "package")
    scenario = load_scenario(small, overrides=[f"llm.latency={{ kind = '{kind}' }}"])
    before = results.run_id(scenario)
    (part.parent / "table.csv").write_text("1, 2")
    (part.parent / "__pycache__").mkdir(exist_ok=True)
    (part.parent / "__pycache__" / "other.py").write_text("")
    forget("lab")
    assert results.run_id(load_scenario(small, overrides=[f"llm.latency={{ kind = '{kind}' }}"])) == before


def test_ours_alone_have_the_address_that_they_always_had(small):
    assert results.run_id(load_scenario(small)) == ADDRESS
    by_place = load_scenario(
        small, overrides=["llm.latency={ kind = 'fedsim.timing.delays:Constant', value_s = 0.5 }"]
    )
    assert results.run_id(by_place) == ADDRESS


def test_a_part_has_one_address_however_it_is_named(small, site, installed, tmp_path):
    written(site, "package")
    (site / "lab" / "__init__.py").write_text("from lab.parts.mine import Named\n")
    installed("their_lab", "delays", doubled="lab.parts.mine:Named")
    names = ["doubled", "lab.parts.mine:Named", "lab:Named"]
    scenarios = [load_scenario(small, overrides=[f"llm.latency={{ kind = '{name}' }}"]) for name in names]
    assert len({results.run_id(scenario) for scenario in scenarios}) == 1
    (code,) = part_code.code_of(scenarios[0]).values()
    assert list(code.modules) == ["lab"]
    assert code.packages == {"their-lab": "1.0"}
    # Another version is another run, even if its code is the same.
    metadata = tmp_path / "site" / "their_lab-1.0.dist-info" / "METADATA"
    before = results.run_id(scenarios[0])
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    forget("lab")
    assert results.run_id(load_scenario(small, overrides=["llm.latency={ kind = 'lab:Named' }"])) != before


def test_a_part_within_a_part_of_somebody_else(small, site):
    kind, _, helper = written(site, "beside")
    (site / "around.py").write_text(
        "from typing import Annotated\n"
        "from fedsim.timing.delays import DELAYS, Delay\n"
        "class Around(Delay):\n"
        "    inner: Annotated[Delay, DELAYS]\n"
        "    @property\n"
        "    def mean_value_s(self):\n        return self.inner.mean_value_s\n"
        "    def sample(self, generator, size):\n        return self.inner.sample(generator, size)\n"
    )
    words = [f"llm.latency={{ kind = 'around:Around', inner = {{ kind = '{kind}' }} }}"]
    scenario = load_scenario(small, overrides=words)
    assert sorted(part_code.code_of(scenario)) == ["around:Around", "mine:Named"]
    before = results.run_id(scenario)
    helper.write_text("HALF_S = 1.0\n")
    forget("around", "mine", "helping")
    assert results.run_id(load_scenario(small, overrides=words)) != before


def test_provenance_says_what_has_run(command, small, site):
    kind, _, _ = written(site, "beside")
    assert command("run", small, "--timing-only", "--set", f"llm.latency={{ kind = '{kind}' }}").code == 0
    (folder,) = results.find_runs(Path("results"))
    origin = results.check_folder(folder)
    assert origin["parts"][kind]["packages"] == {}
    assert sorted(origin["parts"][kind]["modules"]) == ["helping", "mine"]
    assert origin["code"] == part_code.code_of_fedsim()
    assert str(site) not in json.dumps(origin["parts"])


def test_the_code_is_what_is_loaded_until_it_is_loaded_anew(small, site):
    """A notebook: a file that is edited runs only after a reload."""
    kind, part, _ = written(site, "beside")
    scenario = load_scenario(small, overrides=[f"llm.latency={{ kind = '{kind}' }}"])
    before = results.run_id(scenario)
    part.write_text(part.read_text() + "# and more\n")
    assert results.run_id(scenario) == before
    importlib.reload(sys.modules["mine"])
    again = load_scenario(small, overrides=[f"llm.latency={{ kind = '{kind}' }}"])
    assert results.run_id(again) != before


def test_what_was_typed_in_is_never_taken_for_the_same(small, monkeypatch):
    from fedsim.timing.delays import Constant

    kinds = []
    for _ in range(2):
        typed = type("Typed", (Constant,), {"__module__": "__main__", "__annotations__": {"kind": str}})
        kinds.append(typed)
    scenario = load_scenario(small)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    runs = [
        scenario.model_copy(
            update={"llm": scenario.llm.model_copy(update={"latency": kind(kind="typed", value_s=0.5)})}
        )
        for kind in kinds
    ]
    addresses = [results.run_id(run) for run in (*runs, *runs)]
    assert len(set(addresses)) == 2
    assert addresses[:2] == addresses[2:]


SCRIPT = """
import sys
from pathlib import Path
from fedsim import results, sweep
from fedsim.scenario import load_scenario
from fedsim.timing.delays import Delay


class Mine(Delay):
    kind: str = "mine"

    @property
    def mean_value_s(self):
        return 0.5

    def sample(self, generator, size):
        return generator.random(size)


if __name__ == "__main__":
    scenario = load_scenario("small.toml")
    scenario = scenario.model_copy(update={"llm": scenario.llm.model_copy(update={"latency": Mine()})})
    for outcome in sweep.run_all(sweep.replicates([scenario], 2), Path("results"), 2, timing_only=True):
        print(outcome.reused, results.is_finished(outcome.folder))
"""


def test_a_part_of_the_script_that_was_started(small, tmp_path):
    script, answers = tmp_path / "study.py", []
    for text in (SCRIPT, SCRIPT, SCRIPT.replace("random(size)", "random(size) + 1")):
        script.write_text(text)
        words = [sys.executable, script.name]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
        assert done.stderr == ""
        answers.append(done.stdout.split())
    assert answers == [["False", "True"] * 2, ["True", "True"] * 2, ["False", "True"] * 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["-c", SCRIPT],
            "cannot have '__main__:Mine', which was typed in; put it into a file of its own, or use",
        ),
        (
            ["study.py"],
            "no process could be started, for want of memory (try fewer --jobs), or because of the",
        ),
    ],
    ids=["typed", "without the guard"],
)
def test_what_no_other_process_can_have(small, tmp_path, words, said):
    (tmp_path / "study.py").write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    words = [sys.executable, *words]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert said in done.stderr
    assert list(tmp_path.rglob("*.parquet")) == []


def test_a_link_that_leads_back_and_a_packed_module(small, site, monkeypatch):
    kind, part, _ = written(site, "package")
    (part.parent / "again").symlink_to(site / "lab")
    words = [f"llm.latency={{ kind = '{kind}' }}"]
    addresses = [results.run_id(load_scenario(small, overrides=words))]
    for content in ("", "# more"):
        forget("lab")
        packed = site / f"packed{len(content)}.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            for file in (site / "lab").glob("**/*.py"):
                archive.write(file, file.relative_to(site))
            archive.writestr("lab/more.py", content)
        monkeypatch.syspath_prepend(packed)
        addresses += [results.run_id(load_scenario(small, overrides=words)) for _ in range(2)]
    assert [addresses.index(address) for address in addresses] == [0, 1, 1, 3, 3]

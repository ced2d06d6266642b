"""What may import what, read from the syntax trees, lazy ones included; and that the catalog is complete."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import LIMIT_S

import fedsim
import fedsim_analysis
from fedsim.attack import Attack
from fedsim.catalog import Part
from fedsim.scenario.schema import FAMILIES

ROOT = Path(fedsim.__file__).parent
BASE = {"errors", "importing", "streams", "messages", "schedule", "catalog", "attack", "plain_text"}
BASE |= {"answering", "progress", "safety", "secrets", "whole_files"}
COMPUTES = {"algorithms", "learning", "problems", "icl"}
HALVES = {"timing", *COMPUTES}

# Which parts of fedsim each part may import, itself apart.
ALLOWED = {
    "errors": set(),
    "answering": set(),
    "streams": set(),
    "stopping": set(),
    "messages": set(),
    "progress": set(),
    "whole_files": {"errors"},
    "plain_text": {"errors"},
    "secrets": set(),
    "terminal": {"errors", "secrets"},
    "schedule": {"errors", "messages"},
    "safety": {"errors"},
    "importing": {"errors", "safety"},
    "catalog": {"answering", "errors", "importing"},
    "attack": {"catalog", "errors", "streams"},
    "faults": {"catalog", "errors"},
    "part_code": {"catalog"},
    "timing": BASE,
    "learning": BASE,
    "icl": BASE | {"learning"},
    "problems": BASE | {"learning", "icl"},
    "algorithms": BASE | COMPUTES,
    "scenario": BASE | HALVES | {"faults", "loggers"},
    "tables": {"scenario", "timing"},
    "recorder": {"algorithms", "learning", "messages", "scenario", "schedule", "step_rows", "timing"},
    "step_rows": {"schedule", "timing"},
    "simulation": BASE | HALVES | {"faults", "recorder", "scenario", "tables"},
    "results": {"errors", "part_code", "scenario", "secrets", "whole_files"},
    "verify": {"errors", "results", "scenario", "schedule", "timing"},
    "sharing": {
        "__init__",
        "catalog",
        "errors",
        "icl",
        "part_code",
        "results",
        "scenario",
        "secrets",
        "sweep",
    }
    | {"whole_files"},
    "loggers": {"catalog", "errors", "importing", "safety", "secrets", "whole_files"},
    "sweep": {"errors", "faults", "icl", "importing", "loggers", "messages", "part_code", "recorder"}
    | {"results", "safety", "scenario", "schedule", "secrets", "simulation", "stopping", "timing"}
    | {"whole_files"},
    "console": {"progress", "recorder", "scenario", "simulation", "sweep", "terminal", "timing"},
    "cli": {"errors", "problems", "scenario", "simulation", "sweep", "results", "verify", "console"}
    | {"__init__", "faults", "icl", "importing", "loggers", "safety", "secrets", "stopping"}
    | {"sharing", "terminal", "timing"}
    | {"whole_files"},
    "api": {"console", "errors", "results", "scenario", "simulation", "sweep"},
    "__init__": {"api", "recorder", "results", "scenario", "simulation"},
    "__main__": {"cli"},
}
# For types alone: nothing is imported when the program runs.
FOR_TYPES = {
    "tables": {"recorder", "step_rows"},
    "results": {"simulation"},
    "learning": {"problems"},
    "icl": {"problems"},
    "loggers": {"scenario"},
    "cli": {"catalog"},
}
# Other packages that a part must not know, not even for types.
FOREIGN = {
    "timing": {"torch"},
    "learning": {"simpy"},
    "icl": {"simpy"},
    "problems": {"simpy"},
    "algorithms": {"simpy"},
    "scenario": {"torch", "simpy", "scipy", "matplotlib"},
    **{part: {"simpy", "matplotlib"} for part in ("results", "sweep", "verify", "tables", "console", "cli")},
}


def imports(tree: ast.AST, for_types: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the full name of everything imported anywhere, and whether for types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", for_types) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from imports(node, for_types=True)
        else:
            yield from imports(node, for_types)


def part_of(name: str) -> str:
    """Return which part of fedsim a full name belongs to; names of the package itself are `__init__`'s."""
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 and pieces[1] in ALLOWED else "__init__"


def violations(part: str, source: str) -> list[str]:
    """Return what a module of this part of fedsim must not import but does."""
    found = []
    for name, for_types in imports(ast.parse(source)):
        top = name.split(".")[0]
        allowed = ALLOWED[part] | {part} | (FOR_TYPES.get(part, set()) if for_types else set())
        wrong = (
            (top == "fedsim" and part_of(name) not in allowed)
            or (top in ("fedsim_analysis", "scenarios") and part not in ("api", "cli"))
            or top in FOREIGN.get(part, set())
        )
        if wrong:
            found.append(name)
    return found


MODULES = sorted(ROOT.rglob("*.py"))
ANALYSIS = sorted(Path(fedsim_analysis.__file__).parent.rglob("*.py"))


def test_imports_point_one_way():
    assert len(MODULES) > 100
    places = [(file.relative_to(ROOT), file.read_text()) for file in MODULES]
    found = {str(place): violations(place.parts[0].removesuffix(".py"), text) for place, text in places}
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("timing", "import torch"),
        ("timing", "def f():\n    from fedsim.algorithms.dbt.tuner import Tuner"),
        ("timing", "if TYPE_CHECKING:\n    from torch import Tensor"),
        ("learning", "from fedsim.timing import loop"),
        ("learning", "from fedsim import timing"),
        ("learning", "import simpy.events"),
        ("learning", "from fedsim.algorithms.base import Algorithm"),
        ("algorithms", "from fedsim.timing.rule import StepRule"),
        ("timing", "from fedsim.algorithms.base import Learner"),
        ("icl", "from fedsim.scenario import Scenario"),
        ("scenario", "import fedsim.simulation"),
        ("results", "from fedsim.simulation import Run"),
        ("results", "class A:\n    def f(self):\n        import fedsim_analysis.figures"),
        ("streams", "from fedsim.errors import nearest"),
        ("simulation", "from fedsim import load_results"),
    ],
)
def test_a_wrong_import_is_seen(part, source):
    assert len(violations(part, source)) == 1


PRINTS = re.compile(r"(?<![\w.])print\(|typer\.s?echo|\bConsole\(|sys\.std(out|err)\.write")


def test_everything_is_printed_in_one_place():
    def code(file):
        return "\n".join(line for line in file.read_text().splitlines() if ">>>" not in line)

    assert len(MODULES) > 100 < len(ANALYSIS)
    assert [file for file in (*MODULES, *ANALYSIS) if PRINTS.search(code(file))] == [ROOT / "terminal.py"]


@pytest.mark.parametrize(
    "part", ["simulation", "recorder", "scenario", "timing", "verify", "tables", "sweep"]
)
def test_no_algorithm_is_known_by_name(part):
    """Whoever runs algorithms knows the family and the interface, and no member."""
    known = {"fedsim.algorithms", "fedsim.algorithms.base"}
    files = [file for file in MODULES if file.relative_to(ROOT).parts[0].removesuffix(".py") == part]
    assert files
    for file in files:
        names = [name for name, _ in imports(ast.parse(file.read_text())) if "algorithms" in name.split(".")]
        assert {name.rpartition(".")[0] for name in names} <= known, file
        assert not {name for name in names if name.split(".")[2] in ("dbt", "averaging")}, file


def test_only_the_command_line_draws_and_only_when_asked():
    for file in (ROOT / "cli").glob("*.py"):
        tree = ast.parse(file.read_text())
        at_the_top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {name.split(".")[0] for node in at_the_top for name, _ in imports(ast.Module([node], []))}
        assert "fedsim_analysis" not in names


def test_pictures_and_tables_are_functions_of_tables():
    for file in sorted(Path(fedsim_analysis.__file__).parent.rglob("*.py")):
        if file.parent.name in ("figures", "tables"):
            names = {name for name, _ in imports(ast.parse(file.read_text()))}
            ours = {name for name in names if name.split(".")[0] == "fedsim"}
            # Their lists look up what packages offer, and write files; the pictures and tables do neither.
            lists = {"errors", "catalog", "importing", "whole_files"}
            allowed = lists if file.name == "__init__.py" else {"errors"}
            assert {part_of(name) for name in ours} <= allowed, file


@pytest.mark.parametrize("module", ["fedsim", "fedsim.cli", "fedsim.scenario", "fedsim.sweep"])
def test_nothing_heavy_is_imported_early(module):
    heavy = ["torch", "scipy", "pandas", "pyarrow", "matplotlib"]
    light = ["pydantic", "numpy", "simpy", "rich"] if module in ("fedsim", "fedsim.cli") else []
    script = f"import sys, {module}; print(*[name for name in {heavy + light} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.split() == []


def test_help_tells_the_public_names_and_importing_does_not_load_them():
    script = "import sys, fedsim; dir(fedsim); print('pydantic' in sys.modules); help(fedsim)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=LIMIT_S
    )
    assert done.stdout.startswith("False\n")
    for line in ("class Run(", "load_results(", "load_scenario(", "run(scenario: 'Scenario', *, timing_only"):
        assert f"\n    {line}" in done.stdout
    for name in ("load_scenario(path)", "run(scenario)", "load_results(folder)"):
        assert f"- `{name}`" in done.stdout  # in the description, before everything else


def modules(package) -> list:
    """Import all modules of a package."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(info.name) for info in found if not info.name.endswith("__main__")]


def test_every_part_is_in_the_catalog():
    concrete = {
        thing
        for module in modules(fedsim)
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Part) and not inspect.isabstract(thing)
    }
    listed = {part for family in FAMILIES.values() for part in family.builtin.values()}
    assert concrete - {Part, Attack} == listed
    assert len(listed) > 15


def test_no_class_name_is_taken_twice():
    """A class is talked about by its name alone, and the schema's definitions are called by it."""
    places = defaultdict(list)
    for file in (*MODULES, *sorted((ROOT.parent / "analysis").rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{file.relative_to(ROOT.parent)}:{node.lineno}")
    assert len(places) > 350
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    "family",
    ["delays", "optimizers", "aggregators", "preaggregators", "filters", "timing_attacks"],
)
def test_one_part_a_file(family):
    parts = list(FAMILIES[family].builtin.values())
    folder = Path(inspect.getfile(parts[0])).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__", "base"}
    assert files == set(FAMILIES[family].builtin)


def test_every_part_says_what_it_does_and_where_it_is_from():
    for part in (part for family in FAMILIES.values() for part in family.builtin.values()):
        assert part.summary().endswith((".", "`.")), part
        assert len(part.source()) > 20, part
        assert part.__doc__ is not None, part
        assert "Source:" in part.__doc__, part

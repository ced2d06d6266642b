"""fedsim: a discrete-event simulator for federated in-context-learning research.

- `load_scenario(path)` reads a scenario file;
- `run(scenario)` simulates it and returns a `Run`: its `summary` and its tables `steps` and `workers`;
- `run_many(scenarios, jobs=2)` runs several, side by side;
- `save_run` and `load_run` keep a run in a folder of results and bring it back;
- `load_results(folder)` reads what `fedsim run` and `fedsim sweep` have written, one row per run;
- `compare(folder)` says which method and which settings are best, and how sure that is;
- `figure("grid", folder, x=..., y=...)` draws what `fedsim figure` draws.
"""

from __future__ import annotations

import os  # Python has it already, wherever it starts

# Products of matrices then have the same digits on every processor, whatever else is computed with them: MKL,
# which torch uses, would choose by processor, size and place in memory. It asks once, before its first sum.
os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")

TYPE_CHECKING = (
    False  # nothing is imported here: `python -m fedsim` would take it from the folder it starts in
)

if TYPE_CHECKING:
    from typing import Any

    from fedsim.api import compare, figure, load_run, run_many, save_run
    from fedsim.recorder import Progress
    from fedsim.results import load_results
    from fedsim.scenario import Scenario, load_scenario
    from fedsim.simulation import Run, run

    __version__: str

__all__ = [
    "Progress",
    "Run",
    "Scenario",
    "__version__",
    "compare",
    "figure",
    "load_results",
    "load_run",
    "load_scenario",
    "run",
    "run_many",
    "save_run",
]

_HOMES = {
    "Progress": "fedsim.recorder",
    "Run": "fedsim.simulation",
    "Scenario": "fedsim.scenario",
    "compare": "fedsim.api",
    "figure": "fedsim.api",
    "load_results": "fedsim.results",
    "load_run": "fedsim.api",
    "load_scenario": "fedsim.scenario",
    "run": "fedsim.simulation",
    "run_many": "fedsim.api",
    "save_run": "fedsim.api",
}


def __getattr__(name: str) -> Any:
    """Import the public names where they are first used: `import fedsim` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fedsim-icl")
    if name not in _HOMES:
        raise AttributeError(f"module 'fedsim' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Tell the public names before they are first used: `help` and completion ask here."""
    return sorted(__all__)

"""fedsim: a discrete-event simulator for federated in-context-learning research.

- `load_scenario(path)` reads a scenario file;
- `run(scenario)` simulates it and returns a `Run`: its `summary` and its tables `steps` and `workers`;
- `load_results(folder)` reads what `fedsim run` and `fedsim sweep` have written, one row per run.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # nothing is imported here: `python -m fedsim` would take it from the folder it starts in
)

if TYPE_CHECKING:
    from typing import Any

    from fedsim.results import load_results
    from fedsim.scenario import load_scenario
    from fedsim.simulation import Run, run

    __version__: str

__all__ = ["Run", "__version__", "load_results", "load_scenario", "run"]

_HOMES = {"load_results": "results", "load_scenario": "scenario", "Run": "simulation", "run": "simulation"}


def __getattr__(name: str) -> Any:
    """Import the public names where they are first used: `import fedsim` stays fast."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fedsim-icl")
    if name not in _HOMES:
        raise AttributeError(f"module 'fedsim' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fedsim.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Tell the public names before they are first used: `help` and completion ask here."""
    return sorted({*globals(), *__all__})

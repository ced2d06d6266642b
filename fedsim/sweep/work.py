"""The unit of work of a sweep: from a scenario to the files of its run folder.

It may run on another machine: it neither reads nor writes results.
"""

from __future__ import annotations

import pickle
import time
import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from fedsim.errors import FedsimError
from fedsim.scenario import Scenario

PACKAGE = "fedsim-icl"


@dataclass(frozen=True)
class WorkOrder:
    """What is to be done."""

    scenario: bytes
    """Pickled: what cannot be read back is this run's failure, and not its process's."""
    timing_only: bool
    command: str
    fedsim: str
    """The version that the results are for."""


@dataclass(frozen=True)
class Done:
    """A run that came to an end, perhaps a bad one: stalled and diverged runs have results too."""

    files: dict[str, bytes]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """A run that failed without a result."""

    reason: str
    trace: str = ""
    """The stack, as text: the exception itself may not survive being sent back."""
    error: FedsimError | None = None
    """The exception, if it was one of fedsim's."""


@cache
def fedsim_version() -> str:
    """Return the version of what is installed here."""
    return version(PACKAGE)


def order_of(scenario: Scenario, timing_only: bool, command: str) -> WorkOrder:
    """Return the order for a run."""
    return WorkOrder(pickle.dumps(scenario), timing_only, command, fedsim_version())


def work(order: WorkOrder) -> Done | Broken:
    """Run a scenario; whatever goes wrong comes back as a value."""
    if (ours := fedsim_version()) != order.fedsim:
        return Broken(f"a worker has fedsim {ours}, the sweep was started by fedsim {order.fedsim}")
    try:
        return done(pickle.loads(order.scenario), order.timing_only, order.command)
    except FedsimError as error:
        return Broken(str(error), error=error)
    except Exception as error:  # a stranger's part may fail in any way
        return broken_by(error)


def done(scenario: Scenario, timing_only: bool, command: str) -> Done:
    """Run a scenario and return what it has found."""
    from fedsim import results
    from fedsim.simulation import run

    started = time.perf_counter()
    finished = run(scenario, timing_only=timing_only)
    return Done(results.pack(finished, time.perf_counter() - started, command), finished.summary)


def broken_by(error: Exception) -> Broken:
    """Return what is said of an unexpected exception: its last line, and the stack."""
    if isinstance(error, FedsimError):
        return Broken(str(error), error=error)
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return Broken(last, "".join(traceback.format_exception(error)))

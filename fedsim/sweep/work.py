"""The unit of work of a sweep: from a scenario to the files of its run folder.

It may run on another machine: it neither reads nor writes results.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass, field
from typing import Any

from fedsim.errors import STRAY, FedsimError, PartError
from fedsim.faults import names_parts
from fedsim.importing import unpickled
from fedsim.loggers.live import Live, Packed
from fedsim.part_code import code_of
from fedsim.recorder import Progress
from fedsim.scenario import Scenario
from fedsim.secrets import redacted, trace_of
from fedsim.sweep.agreement import CodeBase, UnfitWorkerError, code_base, disagreement, whereabouts


@dataclass(frozen=True)
class WorkOrder:
    """What is to be done."""

    scenario: bytes
    """Pickled: what cannot be read back is this run's failure, and not its process's."""
    timing_only: bool
    command: str
    code: CodeBase
    """What it is to be computed with."""
    loggers: Packed
    """Who is told of each step."""


@dataclass(frozen=True)
class Done:
    """A run that came to an end, perhaps a bad one: stalled and diverged runs have results too."""

    files: dict[str, bytes]
    summary: dict[str, Any]
    complaints: dict[str, str] = field(default_factory=dict)
    """Of loggers that failed."""


@dataclass(frozen=True)
class Broken:
    """A run that failed without a result."""

    reason: str
    trace: str = ""
    """The stack, as text: the exception itself may not survive being sent back."""
    error: FedsimError | None = None
    """The exception, if it was one of fedsim's."""


@names_parts
def order_of(scenario: Scenario, timing_only: bool, command: str, loggers: Packed) -> WorkOrder:
    """Return the order for a run."""
    return WorkOrder(pickle.dumps(scenario), timing_only, command, code_base(code_of(scenario)), loggers)


def work(order: WorkOrder) -> Done | Broken:
    """Run a scenario; whatever goes wrong comes back as a value."""
    try:
        if wrong := disagreement(order.code):
            raise UnfitWorkerError(f"{whereabouts()} {wrong}; finished runs are kept")
        return done(unpickled(order.scenario), order.timing_only, order.command, order.loggers)
    except STRAY as error:  # a stranger's part may fail in any way
        return broken_by(error)


def done(
    scenario: Scenario, timing_only: bool, command: str, loggers: Packed, progress: Progress | None = None
) -> Done:
    """Run a scenario and return what it has found."""
    from fedsim import results
    from fedsim.simulation import run

    live = Live(scenario, results.run_id(scenario, timing_only) if loggers else "", loggers)

    def on_step(row: dict[str, Any]) -> None:
        live.step(row)
        if progress is not None:
            progress(row)

    finished = run(scenario, timing_only=timing_only, progress=on_step if loggers else progress)
    files = results.pack(finished, finished.duration_s, command)
    return Done(files, finished.summary, live.complaints)


def broken_by(error: BaseException) -> Broken:
    """Return what is said of an exception: a sentence, and the stack unless it was raised on purpose."""
    trace = trace_of(error)
    if isinstance(error, FedsimError):
        return Broken(redacted(str(error)), trace if isinstance(error, PartError) else "", error)
    if isinstance(error, MemoryError):
        return Broken("there was not enough memory; try fewer --jobs", trace)
    return Broken(redacted(traceback.format_exception_only(error)[-1].strip().splitlines()[0]), trace)

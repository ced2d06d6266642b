"""How much memory and data a run needs, by the sizes that its scenario states."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedsim.errors import InputError
from fedsim.streams import Streams

if TYPE_CHECKING:
    from fedsim.scenario.model import Scenario

WORKER_BYTES = 5_000
"""What the clock keeps of a worker."""
MOST_WORKERS = 10_000_000


def check_memory(scenario: Scenario) -> None:
    """Check that a run may fit into this machine's memory.

    Raises:
        InputError: it needs more for certain, and which sizes are to blame.
    """
    needs = list(_needs(scenario))
    needed, there = sum(n_bytes for _, n_bytes in needs), memory_bytes()
    if needed <= there:
        return
    what, most = max(needs, key=lambda need: need[1])
    raise InputError(
        f"{scenario.label}: needs at least {spoken_bytes(needed)} of memory, {spoken_bytes(most)} of it for "
        f"{what}; this machine has {spoken_bytes(there)}"
    )


def check_data(scenario: Scenario) -> None:
    """Check that the problem has data enough for all workers.

    Raises:
        InputError: it has not.
    """
    n_machines = scenario.n_machines
    streams = Streams(scenario.seed)
    try:
        scenario.problem.check_data(streams, n_machines, scenario.n_workers // n_machines)
    except InputError as error:
        raise InputError(f"{scenario.label}: {error}") from error


def _needs(scenario: Scenario) -> Iterator[tuple[str, int]]:
    """Yield what takes memory, and how much at least."""
    n_workers = scenario.n_workers
    yield f"the clock of {n_workers:,} workers", WORKER_BYTES * n_workers
    yield from scenario.problem.memory(scenario.n_machines, n_workers // scenario.n_machines).items()


def memory_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def spoken_bytes(number: float) -> str:
    """Return a size as a person says it.

    >>> [spoken_bytes(number) for number in (999, 4_200_000, 7.5e12, 3e25)]
    ['999 B', '4.2 MB', '7.5 TB', '3e+10 PB']
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"

"""Which cells there are, and measuring them one after the other, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.benchmarks.bench.history import ROOT
from tests.benchmarks.bench.workloads import WORKLOADS, Workload

SIZES = (3, 100, 1_000, 10_000, 100_000)
MANY = 10_000
"""Of more workers than these, S = 1 and S = R are measured, unless all are asked for."""
LONGEST_S = 200.0
"""A cell that takes longer is given up."""
SHARE_OF_MEMORY = 0.7
"""A cell that needs more of the machine's memory is not tried."""


class Cell(NamedTuple):
    """One row of the table: a workload at R and S."""

    work: Workload
    n_workers: int
    wait_for: int
    s_name: str
    """S in terms of R."""

    @property
    def name(self) -> str:
        return f"{self.work.name}, R {self.n_workers:,}, S {self.wait_for:,}"


class Effort(NamedTuple):
    """How much is spent on a cell."""

    share: float = 1.0
    """Of the updates of a turn."""
    seconds: float = 3.0
    """No other turn begins after so much time."""
    repeats: int = 5
    """No more turns than these."""


class Row(NamedTuple):
    """What a cell has shown, or why it was left out."""

    cell: Cell
    found: dict[str, Any]
    """As `turns.measured` says; empty where it was left out."""
    left_out: str = ""

    @property
    def us(self) -> float:
        """Processor time of a worker update in the best turn (us)."""
        return float(min(self.found["us"]))

    @property
    def times_yardstick(self) -> float | None:
        """How many times as long as the yardstick it takes, the best turn of each."""
        yard_us = self.found["yard_us"]
        return self.us / min(yard_us) if yard_us else None


def cells(sizes: Sequence[int] = SIZES, only: Sequence[str] = (), every_s: bool = False) -> Iterator[Cell]:
    """Yield the cells.

    Args:
        sizes: the numbers of workers.
        only: of the workloads in whose names one of these is; none: of all.
        every_s: R/10 and R/2 of very many workers as well, where each cell takes a minute.
    """
    for work in WORKLOADS:
        if only and not any(text in work.name for text in only):
            continue
        for n_workers in sizes:
            shares = {"1": 1, "R/10": n_workers // 10, "R/2": n_workers // 2, "R": n_workers}
            # The last name of a number stands: of 3 workers, R/2 is 1.
            kinds = {wait_for: name for name, wait_for in reversed(shares.items()) if wait_for}
            for wait_for in sorted(kinds):
                if n_workers > MANY and not every_s and kinds[wait_for] not in ("1", "R"):
                    continue
                yield Cell(work, n_workers, wait_for, kinds[wait_for])


def memory_mb() -> float:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6


def reason_to_leave_out(cell: Cell, machine_mb: float) -> str:
    """Return why a cell is not tried; empty if it is."""
    if cell.n_workers > cell.work.most_workers:
        return cell.work.too_many
    needed_mb = cell.work.megabytes(cell.n_workers)
    if needed_mb > SHARE_OF_MEMORY * machine_mb:
        return f"needs about {needed_mb / 1000:.0f} GB"
    return ""


def measure(
    wanted: Sequence[Cell], effort: Effort, told: Callable[[Row], None] = lambda row: None
) -> list[Row]:
    """Measure cells; `told` hears of each row when it is there."""
    rows = []
    for cell in wanted:
        rows.append(_row(cell, effort))
        told(rows[-1])
    return rows


def _row(cell: Cell, effort: Effort) -> Row:
    if reason := reason_to_leave_out(cell, memory_mb()):
        return Row(cell, {}, reason)
    numbers = map(str, (cell.n_workers, cell.wait_for, *effort))
    command = [sys.executable, "-m", "tests.benchmarks.bench.turns", cell.work.name, *numbers]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        return Row(cell, {}, f"took longer than {LONGEST_S:.0f} s")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return Row(cell, {}, last[0])
    return Row(cell, json.loads(done.stdout))


def bytes_per_worker(rows: Sequence[Row]) -> dict[str, float]:
    """Return by cell what each worker takes: the growth of the peak from the size before, R from 10,000 on.

    Fewer workers take too little to be told from everything else.
    """
    found = {}
    by_kind: dict[tuple[str, str], Row] = {}
    for row in rows:
        cell = row.cell
        before = by_kind.get((cell.work.name, cell.s_name))
        if not row.found:
            continue
        by_kind[cell.work.name, cell.s_name] = row
        if before is not None and cell.n_workers >= 10_000:
            grown_mib = row.found["peak_mib"] - before.found["peak_mib"]
            found[cell.name] = grown_mib * 2**20 / (cell.n_workers - before.cell.n_workers)
    return found


def figures(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Return what the history keeps."""
    found: dict[str, dict[str, list[float]]] = {"times": {}, "yardsticks": {}, "memory": {}}
    for row in rows:
        if not row.found:
            continue
        name = row.cell.name
        found["times"][name] = row.found["us"]
        found["memory"][name] = [row.found["peak_mib"]]
        if row.found["yard_us"]:
            found["yardsticks"][name] = row.found["yard_us"]
        if row.cell.n_workers >= 10_000:
            found["times"][f"{name}, set-up"] = row.found["setup_s"]
    return found

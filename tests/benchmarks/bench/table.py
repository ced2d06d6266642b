"""The table of the benchmarks, for a terminal, a file or a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.bench.grid import Row, bytes_per_worker
from tests.benchmarks.bench.meter import NAMES
from tests.benchmarks.bench.targets import Verdict

SPEED = ("updates/CPU s", "updates/s", "x yardstick", "set-up s", "peak MiB", "bytes/worker")
HEADER = ("work", "R", "S", *SPEED, *(f"us {name}" for name in NAMES))
NOTES = (
    "updates/CPU s, updates/s: worker updates per second of the processor and of the clock, best turn. "
    "x yardstick: times the processor time of bare SimPy with the same events (clock, timing only), or of "
    "the same arithmetic in a plain loop. set-up s: processor time before the first event. peak MiB: of a "
    "fresh process. bytes/worker: growth of that peak from the size before. us ...: microseconds of an "
    "update in each part."
)
DASH = "-"


def cells_of(rows: Sequence[Row]) -> list[list[str]]:
    """Return the table as texts, without its header."""
    each = bytes_per_worker(rows)
    return [_texts(row, each.get(row.cell.name)) for row in rows]


def _texts(row: Row, bytes_each: float | None) -> list[str]:
    cell, found = row.cell, row.found
    start = [cell.work.name, f"{cell.n_workers:,}", f"{cell.wait_for:,}"]
    if not found:
        return [*start, f"left out: {row.left_out}", *[""] * (len(HEADER) - len(start) - 1)]
    times = row.times_yardstick
    return [
        *start,
        f"{1e6 / row.us:,.0f}",
        f"{1e6 / min(found['wall_us']):,.0f}",
        DASH if times is None else f"{times:.2f}",
        f"{min(found['setup_s']):.2f}",
        f"{found['peak_mib']:,.0f}",
        DASH if bytes_each is None else f"{bytes_each:,.0f}",
        *(_us(found["parts"][name] * row.us) for name in NAMES),
    ]


def _us(value: float) -> str:
    if value == 0:
        return DASH
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def verdict_texts(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Return the block of targets as texts."""
    said = {True: "met", False: "NOT met", None: ""}
    return [[verdict.target, verdict.measured, said[verdict.met]] for verdict in verdicts]


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table for a document."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))


def plain(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table with columns of spaces; a text that says why a cell is left out may run on."""
    whole = [header, *lines]
    runs_on = [bool(line[3:]) and line[3].startswith("left out") for line in whole]
    widths = [
        max(len(line[place]) for line, long in zip(whole, runs_on, strict=True) if not (long and place >= 3))
        for place in range(len(header))
    ]
    return "".join(
        "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        + "\n"
        for line in whole
    )


def show(console: Console, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Draw a table on a terminal."""
    table = Table(*(str(name) for name in header), row_styles=["", "dim"])
    for column in table.columns[1:]:
        column.justify = "right"
    for line in lines:
        table.add_row(*line)
    console.print(table)


def about(machine: dict[str, Any], versions: dict[str, str], commit: str) -> str:
    """Return a sentence on the machine."""
    known = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {known}; fedsim "
        f"{commit}; one thread of torch."
    )

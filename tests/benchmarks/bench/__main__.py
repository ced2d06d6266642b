"""`make bench`: one table of what fedsim costs, its targets, and what has got slower.

`python -m tests.benchmarks.bench --help` lists the options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from tests.benchmarks.bench import growth, history, million, table
from tests.benchmarks.bench.grid import SIZES, Effort, Row, cells, figures, measure
from tests.benchmarks.bench.targets import verdicts

BENCH, QUICK_BENCH = "fedsim", "fedsim, quick"
"""Names in the history: turns of a quick run are shorter, and their figures are others."""
Block = tuple[Sequence[str], list[list[str]]]
"""A table: its header and its lines."""
QUICK = Effort(share=0.2, seconds=0.5, repeats=2)
QUICK_SIZES = (3, 1_000)


def main(words: Sequence[str]) -> int:
    """Measure and print; return 1 if something has got slower."""
    asked = options(words)
    if asked.growth:
        points = list(growth.points(repeats=asked.repeats or 3))
        lines = [growth.texts(point) for point in points]
        return write([(growth.HEADER, lines)], asked.markdown, growth.told(points), growth.checked(points))
    effort = QUICK if asked.quick else Effort()
    effort = effort._replace(repeats=asked.repeats or effort.repeats)
    wanted = list(cells(asked.workers or (QUICK_SIZES if asked.quick else SIZES), asked.only, asked.all))
    if not wanted:
        return say(f"no workload has one of these in its name: {', '.join(asked.only)}", 2)
    rows = measure(wanted, effort, tell)
    found = million.in_a_fresh_process() if asked.million else None
    judged = table.verdict_texts(verdicts(rows, found))
    blocks = [(table.HEADER, table.cells_of(rows)), (("target", "measured", "met"), judged)]
    write(blocks, asked.markdown, table.NOTES)
    bench, kept = QUICK_BENCH if asked.quick else BENCH, figures(rows)
    code = compare(bench, kept) if asked.compare else 0
    if asked.save:
        history.append({"bench": bench, "figures": kept, "million": found})
        say(f"saved in {history.HISTORY.relative_to(history.ROOT)}")
    return code


def options(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("bench", description="Measure fedsim: one table, and its targets.")
    add = parser.add_argument
    add("--only", action="append", default=[], metavar="TEXT", help="workloads with this in their names")
    add("--workers", action="append", default=[], type=int, metavar="R", help="these numbers of workers")
    add("--all", action="store_true", help="every S of 100,000 workers as well")
    add("--quick", action="store_true", help="a minute or two: fewer sizes, short turns")
    add("--repeats", type=int, metavar="N", help="at most so many turns of each cell")
    add("--million", action="store_true", help="a million workers as well")
    add("--growth", action="store_true", help="how cost grows with each setting, instead of the table")
    add("--markdown", action="store_true", help="print the tables for a document")
    add("--save", action="store_true", help="keep the figures in tests/benchmarks/history.jsonl")
    add("--compare", action="store_true", help="say what is slower than the last that was saved here")
    return parser.parse_args(words)


def say(text: str, code: int = 0) -> int:
    """Say something that is not part of the table."""
    sys.stderr.write(text + "\n")
    return code


def tell(row: Row) -> None:
    """Say that a cell is done."""
    done = f"{1e6 / row.us:,.0f} updates/CPU s" if row.found else f"left out: {row.left_out}"
    say(f"{row.cell.name}: {done}")


def write(blocks: Sequence[Block], as_markdown: bool, *notes: str) -> int:
    """Print tables, notes, and what machine this is."""
    notes = (*notes, table.about(history.machine(), history.versions(), history.commit()))
    if sys.stdout.isatty() and not as_markdown:
        console = Console()
        for header, lines in blocks:
            table.show(console, header, lines)
        console.print(*notes, sep="\n")
        return 0
    made = table.markdown if as_markdown else table.plain
    sys.stdout.write("\n".join([*(made(*block) for block in blocks), *notes]) + "\n")
    return 0


def compare(bench: str, kept: dict[str, Any]) -> int:
    """Say what is slower than before; return 1 if something is."""
    before, reason = history.last(bench)
    if before is None:
        return say(f"nothing to compare with: {reason}")
    found = history.compared(kept, before["figures"])
    say(
        f"compared with {before['commit']} of {before['date']}: {found.compared} figures; the yardsticks "
        f"take {found.machine:.2f} times as long now, which is taken off"
    )
    for worse in found.worse:
        say(f"worse: {worse.name}: {worse.times:.2f} times (noise {worse.noise:.0%})")
    return 1 if found.worse else say("nothing is worse beyond its noise")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

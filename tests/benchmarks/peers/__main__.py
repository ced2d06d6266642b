"""The same work in fedsim and its peers, in turns: `make bench-peers`, `python -m tests.benchmarks.peers`.

Each peer is installed in an environment of its own, in `.venv-peers`. One that cannot be installed, or does
not do the work, is named with its reason and left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import cells, data, table
from tests.benchmarks.peers.cells import PeerCell
from tests.benchmarks.peers.simulators import SIMULATORS, PeerError, Simulator


def main() -> None:
    """Install, measure, print."""
    options = _options()
    chosen = [one for one in SIMULATORS if not options.only or one.runner in ("fedsim", *options.only)]
    chosen_cells = [cell for cell in cells.CELLS if cell.clients <= options.most_clients]
    ready, left_out = installed(chosen)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        path = data.write(Path(folder) / "data.npz", max(cell.clients for cell in chosen_cells))
        rows, failed = in_turns(ready, chosen_cells, path, options.repeats, options.limit_s)
    print(table.markdown(rows, left_out + failed))  # noqa: T201, a program that prints a table
    if options.save:
        from tests.benchmarks.bench.history import append

        append({"bench": "peers", "figures": {_name(row): row for row in rows}})


def installed(simulators: Sequence[Simulator]) -> tuple[list[Simulator], list[str]]:
    """Those that are ready to run, and a sentence about each that is not."""
    ready, left_out = [], []
    for simulator in simulators:
        try:
            simulator.install()
            ready.append(simulator)
        except PeerError as error:
            left_out.append(f"{simulator.name} is left out: it {error}")
    return ready, left_out


def in_turns(
    simulators: Sequence[Simulator], chosen: Sequence[PeerCell], path: Path, repeats: int, limit_s: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the table, cell by cell, and a sentence about each simulator that has no row in a cell.

    Who fails in a cell is not asked again there: a turn more would take as long and say the same.
    """
    turns: dict[tuple[PeerCell, Simulator], list[dict[str, Any]]] = {}
    reasons: dict[tuple[PeerCell, Simulator], str] = {}
    for _ in range(repeats):
        for cell in chosen:
            for simulator in simulators:
                if (cell, simulator) in reasons:
                    continue
                try:
                    turns.setdefault((cell, simulator), []).append(
                        cells.measure(simulator, cell, path, limit_s)
                    )
                except PeerError as error:
                    reasons[cell, simulator] = str(error)
    rows = [
        table.best(turns[cell, simulator])
        for cell in chosen
        for simulator in simulators
        if (cell, simulator) not in reasons
    ]
    failed = [
        f"{simulator.name}, {table.WORK[cell.mode]} with {cell.clients:,} clients, is left out: it {reason}"
        for (cell, simulator), reason in reasons.items()
    ]
    return rows, failed


def _name(row: dict[str, Any]) -> str:
    return f"{row['simulator']} {row['mode']} {row['clients']}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="PEER", help="these peers, and fedsim")
    parser.add_argument(
        "--repeats", type=int, default=3, help="turns of each cell (default: 3); the best counts"
    )
    parser.add_argument(
        "--limit-s", type=float, default=120.0, help="seconds that a cell may take (default: 120)"
    )
    parser.add_argument(
        "--most-clients", type=int, default=10_000, help="leave larger cells out (default: 10000)"
    )
    parser.add_argument("--save", action="store_true", help="add the figures to the history")
    return parser.parse_args()


if __name__ == "__main__":
    main()

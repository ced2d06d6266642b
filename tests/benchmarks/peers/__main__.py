"""The same work in fedsim and its peers, in turns: `make bench-peers`, `python -m tests.benchmarks.peers`.

Each peer is installed in an environment of its own, in `.venv-peers`. One that cannot be installed, or does
not do the work, is named with its reason and left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.bench import history
from tests.benchmarks.peers import cells, data, table
from tests.benchmarks.peers.cells import PeerCell
from tests.benchmarks.peers.simulators import SIMULATORS, PeerError, Simulator

BENCH = "peers"


def main() -> None:
    """Install, measure, print."""
    options = _options()
    chosen = [one for one in SIMULATORS if not options.only or one.runner in ("fedsim", *options.only)]
    chosen_cells = [cell for cell in cells.CELLS if cell.clients <= options.most_clients]
    ready, left_out = installed(chosen)
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        path = data.write(Path(folder) / "data.npz", max(cell.clients for cell in chosen_cells))
        turns, failed = in_turns(ready, chosen_cells, path, options.repeats, options.limit_s)
    kept = figures(turns)
    worse, told = comparison(kept) if options.compare else (False, [])
    if options.save:
        history.append({"bench": BENCH, "figures": kept})
    text = table.markdown([table.best(each) for each in turns], left_out + failed)
    print("\n".join([text, *told]))  # noqa: T201, a program that prints a table
    sys.exit(worse)


def comparison(kept: history.Figures) -> tuple[bool, list[str]]:
    """Whether something is worse than when last saved on this machine, and sentences on it."""
    before, why_not = history.last(BENCH)
    if before is None:
        return False, [f"Nothing to compare with: {why_not}."]
    worse = history.compared(kept, before["figures"]).worse
    place = f"in {before['commit']} of {before['date']}"
    told = [f"{one.name}: {one.times:.2f} times as much as {place}, noise {one.noise:.0%}." for one in worse]
    return bool(worse), told or [f"Nothing is worse than {place}."]


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
) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """All turns of each simulator in each cell, and a sentence about each that did not do its work there.

    Who fails in a cell is not asked again there: a turn more would take as long and say the same.
    """
    turns: dict[tuple[PeerCell, Simulator], list[dict[str, Any]]] = {}
    reasons: dict[tuple[PeerCell, Simulator], str] = {}
    for _ in range(repeats):
        for cell in chosen:
            for simulator in simulators:
                if (cell, simulator) in reasons:
                    continue
                # One line for each of some seventy processes: whoever waits sees that it goes on.
                sys.stderr.write(f"{simulator.name}, {table.WORK[cell.mode]}, {cell.clients:,} clients\n")
                try:
                    turns.setdefault((cell, simulator), []).append(
                        cells.measure(simulator, cell, path, limit_s)
                    )
                except PeerError as error:
                    reasons[cell, simulator] = str(error)
    done = [
        turns[cell, simulator]
        for cell in chosen
        for simulator in simulators
        if (cell, simulator) not in reasons
    ]
    failed = [
        f"{simulator.name}, {table.WORK[cell.mode]} with {cell.clients:,} clients, is left out: it {reason}"
        for (cell, simulator), reason in reasons.items()
    ]
    return done, failed


def figures(turns: Sequence[Sequence[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """For the history: microseconds of processors per update, where peers are yardsticks, and our memory."""
    kept: dict[str, dict[str, list[float]]] = {"times": {}, "yardsticks": {}, "memory": {}}
    for each in turns:
        ours = each[0]["simulator"] == "fedsim"
        name = f"{each[0]['simulator']} {each[0]['mode']} {each[0]['clients']}"
        kept["times" if ours else "yardsticks"][name] = [1e6 / table.rate(turn) for turn in each]
        if ours:
            kept["memory"][name] = [turn["peak_mib"] for turn in each]
    return kept


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
    parser.add_argument("--compare", action="store_true", help="say what is worse than when last saved")
    return parser.parse_args()


if __name__ == "__main__":
    main()

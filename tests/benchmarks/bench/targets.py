"""The targets, and whether they are met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.benchmarks.bench.grid import Row, bytes_per_worker

NOT_MEASURED = "not measured"
LEAST_SHARE_OF_BARE = 0.7
LEAST_UPDATES = 20_000
MOST_TIMES_ARITHMETIC = 2.0
MOST_GROWTH = 1.5
"""Of the cost of a step from 1,000 workers to 100,000: what caches no longer hold is allowed."""
MOST_SETUP_S = 1.0
MOST_MILLION_GIB, MOST_MILLION_S = 8.0, 600.0
MOST_BENT = 1.25
"""Memory is linear in R if a worker takes at most so many times as much where there are ten times as many."""


class Verdict(NamedTuple):
    """A target, what was measured, and whether it is met; none: it was not measured."""

    target: str
    measured: str
    met: bool | None


def verdicts(rows: Sequence[Row], million: dict[str, Any] | None = None) -> list[Verdict]:
    """Return all targets; `million`: what the run of a million workers has shown."""
    at = {(row.cell.work.name, row.cell.n_workers, row.cell.s_name): row for row in rows if row.found}
    return [
        *(_speed_of_bare(name, at) for name in ("clock", "timing only")),
        *(_updates(name, at) for name in ("softmax", "quadratic", "quadratic, cuts")),
        *(_arithmetic(name, at) for name in ("paper's sizes", "paper's sizes, cuts")),
        *(
            _growth(name, at)
            for name in ("timing only", "softmax", "quadratic", "quadratic, R1", "small task")
        ),
        *(_memory(name, rows) for name in ("timing only", "softmax", "quadratic", "small task")),
        *(_setup(name, at) for name in ("timing only", "softmax", "quadratic", "small task")),
        _million(million),
    ]


Found = dict[tuple[str, int, str], Row]


def _both(name: str, at: Found, n_workers: int = 1000) -> list[Row]:
    """Return the rows of S = 1 and S = R, if they are there."""
    return [at[name, n_workers, kind] for kind in ("1", "R") if (name, n_workers, kind) in at]


def _speed_of_bare(name: str, at: Found) -> Verdict:
    target = f"{name}: at least {LEAST_SHARE_OF_BARE} of bare SimPy, R = 1,000"
    shares = {row.cell.s_name: 1 / row.times_yardstick for row in _both(name, at) if row.times_yardstick}
    return _judged(target, shares, "{:.2f}", lambda share: share >= LEAST_SHARE_OF_BARE)


def _updates(name: str, at: Found) -> Verdict:
    target = f"{name}: at least {LEAST_UPDATES:,} updates per CPU second, R = 1,000"
    rates = {row.cell.s_name: 1e6 / row.us for row in _both(name, at)}
    return _judged(target, rates, "{:,.0f}", lambda rate: rate >= LEAST_UPDATES)


def _arithmetic(name: str, at: Found) -> Verdict:
    target = f"{name}: at most {MOST_TIMES_ARITHMETIC:g} times the pure arithmetic, R = 100"
    times = {row.cell.s_name: row.times_yardstick for row in _both(name, at, 100) if row.times_yardstick}
    return _judged(target, times, "{:.2f}", lambda value: value <= MOST_TIMES_ARITHMETIC)


def _growth(name: str, at: Found) -> Verdict:
    target = f"{name}: a step costs the same at 100,000 workers as at 1,000 (at most {MOST_GROWTH} times)"
    small, large = (at.get((name, n_workers, "1")) for n_workers in (1_000, 100_000))
    growth = {"1": large.us / small.us} if small and large else {}
    return _judged(target, growth, "{:.2f} times", lambda value: value <= MOST_GROWTH)


def _memory(name: str, rows: Sequence[Row]) -> Verdict:
    target = f"{name}: memory linear in R"
    each = bytes_per_worker(rows)
    of_kind = [row.cell for row in rows if row.cell.work.name == name and row.cell.s_name == "1"]
    slopes = {f"{cell.n_workers:,}": each[cell.name] for cell in of_kind if cell.name in each}
    if len(slopes) < 2:
        return Verdict(target, NOT_MEASURED, None)
    first, *_, last = slopes.values()
    told = ", ".join(f"{value / 1000:.1f} kB a worker up to {size}" for size, value in slopes.items())
    return Verdict(target, told, last <= MOST_BENT * first)


def _setup(name: str, at: Found) -> Verdict:
    target = f"{name}: 10,000 workers set up in under {MOST_SETUP_S:g} s"
    seconds = {row.cell.s_name: min(row.found["setup_s"]) for row in _both(name, at, 10_000)}
    return _judged(target, seconds, "{:.2f} s", lambda value: value < MOST_SETUP_S)


def _million(found: dict[str, Any] | None) -> Verdict:
    target = (
        f"a million workers, timing only, an hour: under {MOST_MILLION_GIB:g} GiB and "
        f"{MOST_MILLION_S / 60:g} minutes"
    )
    if found is None:
        return Verdict(target, NOT_MEASURED, None)
    gib, wall_s = found["peak_mib"] / 1024, found["wall_s"]
    told = f"{gib:.1f} GiB, {wall_s:,.0f} s, {found['updates']:,} updates"
    return Verdict(target, told, gib < MOST_MILLION_GIB and wall_s < MOST_MILLION_S)


def _judged(target: str, values: dict[str, Any], form: str, met: Any) -> Verdict:
    """Return whether all values are good enough; they are told by the S they belong to."""
    if not values:
        return Verdict(target, NOT_MEASURED, None)
    told = ", ".join(f"S = {kind}: {form.format(value)}" for kind, value in values.items())
    return Verdict(target, told, all(met(value) for value in values.values()))

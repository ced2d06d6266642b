"""Which law a scenario should have, or the measured delays themselves, and why: in sentences and a line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedsim.scenario.toml_text import inline
from fedsim_analysis.fitting.latency.compare import LawFit
from fedsim_analysis.fitting.latency.dependence import Dependence, dependence
from fedsim_analysis.fitting.latency.held import MOST_OFF, Miss, measured, misses
from fedsim_analysis.fitting.latency.shapes import ENOUGH, Far, ceiling, fast_minority, humps, stalls
from fedsim_analysis.fitting.latency.single import Floats
from fedsim_analysis.fitting.latency.written import rounded, toml_value

HELD = "the measured mean, p50, p90 and p99"


class Verdict(NamedTuple):
    """What to put into a scenario, and why."""

    fit: LawFit | None
    """The law; none where the measured delays are to be drawn themselves."""
    reason: str
    line: str
    """Of TOML, for a scenario."""
    neighbours: Dependence
    """How alike calls one after the other are."""
    blocks: str = ""
    """The line that draws the measured delays in blocks, where `line` has a law and neighbours are alike."""


def verdict(fits: list[LawFit], delays_s: Floats, file: Path, column: str, unit: str = "s") -> Verdict:
    """Return the first of some fits that is within 10 % of mean, p50, p90 and p99 of the data, or the data.

    Args:
        fits: the best first.
        delays_s: what they were fitted to, in the order of the trace.
        file: the trace.
        column: where in it the delays are.
        unit: of the delays in the file.
    """
    off = [[miss for miss in misses(fit.delay, delays_s) if abs(miss.share) > MOST_OFF] for fit in fits]
    place = next((place for place, missed in enumerate(off) if not missed), None)
    best, neighbours = fits[0].name, dependence(delays_s)
    block = neighbours.block
    if place is None:
        reason = (
            f"no law is within {MOST_OFF:.0%} of {HELD}: {_off(best, off[0])}. The measured delays themselves"
        )
        return Verdict(None, reason, empirical(file, column, block, unit), neighbours)
    found = fits[place]
    why = (
        f"{best} fits best and is within {MOST_OFF:.0%} of {HELD}"
        if place == 0
        else f"{_off(best, off[0])}; {found.name} is within {MOST_OFF:.0%} of {HELD}"
    )
    blocks = empirical(file, column, block, unit) if block > 1 else ""
    return Verdict(found, why, f"latency = {toml_value(rounded(found.delay))}", neighbours, blocks)


def empirical(file: Path, column: str, block: int, unit: str = "s") -> str:
    """Return the line that draws the measured delays themselves; scenarios anywhere find the file."""
    settings: dict[str, Any] = {"kind": "empirical", "file": file.resolve().as_posix(), "column": column}
    settings |= {"unit": unit} if unit != "s" else {}
    return f"latency = {inline(settings | ({'block': block} if block > 1 else {}))}"


def remarks(delays_s: Floats, neighbours: Dependence, line: str = "") -> list[str]:
    """Return a sentence on each thing that a law with one hump, drawn call by call, does not have.

    Args:
        delays_s: in the order of the trace.
        neighbours: how alike they are, one after the other.
        line: draws them in blocks; nothing where it is printed elsewhere.
    """
    found = {
        "a ceiling": _ceiling(delays_s),
        "several humps": _humps(delays_s),
        "stalls": _few("stalls", stalls(delays_s), delays_s, "at least"),
        "a fast minority": _few("a fast minority", fast_minority(delays_s), delays_s, "at most"),
    }
    said = [sentence for sentence in found.values() if sentence]
    absent = [name for name, sentence in found.items() if not sentence and name not in " ".join(said)]
    if absent:
        said.append(f"looked for and not found: {', '.join(absent)}")
    said.append(_alike(neighbours, line))
    if doubt := _doubt(delays_s):
        said.append(doubt)
    return said


def _off(name: str, missed: list[Miss]) -> str:
    return f"{name} fits best, but its {', its '.join(map(_missed, missed))}"


def _missed(miss: Miss) -> str:
    if math.isinf(miss.law_s):
        return f"{miss.landmark} is infinite ({miss.measured_s:.3g} s measured)"
    way = "high" if miss.share > 0 else "low"
    return (
        f"{miss.landmark} is {abs(miss.share):.0%} too {way} ({miss.law_s:.3g} s for {miss.measured_s:.3g} s)"
    )


def _ceiling(delays_s: Floats) -> str | None:
    found = ceiling(delays_s)
    if found is None:
        return None
    return (
        f"a ceiling: {found.n_calls} of {len(delays_s)} calls took as long as the longest, "
        f"{found.largest_s:.3g} s, or at most 1% less, as with a client's time-out; how long they would have "
        "taken is not known"
    )


def _humps(delays_s: Floats) -> str | None:
    found = humps(delays_s)
    large = [hump for hump in found if hump.share >= ENOUGH]
    few = [f"{hump.share:.1%} around {hump.median_s:.3g} s" for hump in found if hump.share < ENOUGH]
    apart = f"; apart from {'these' if len(large) > 1 else 'the others'}, {', '.join(few)}" if few else ""
    if len(large) == 1:
        return f"one hump{apart}" if few else None
    parts = [f"{hump.share:.1%} of the calls around {hump.median_s:.3g} s" for hump in large]
    fast = " (a fast minority, as hits of a cache are)" if large[0].share < 0.5 else ""
    return f"{len(large)} humps: {', '.join(parts)}{fast}{apart}"


def _few(what: str, found: Far | None, delays_s: Floats, side: str) -> str | None:
    if found is None:
        return None
    ratio = found.edge_s / found.median_s
    times = f"{ratio:.3g} times the median" if ratio > 1 else f"a {1 / ratio:.0f}th of the median"
    return (
        f"{what}: {found.n_calls} of {len(delays_s)} calls took {side} {found.edge_s:.3g} s, {times}; "
        f"the mean is {delays_s.mean():.3g} s with them and {found.mean_without_s:.3g} s without"
    )


def _alike(found: Dependence, line: str) -> str:
    numbers = f"lag-1 correlation of ranks {found.lag_1:.2f} (95%: {found.low:.2f} to {found.high:.2f})"
    if found.block == 1:
        return f"neighbouring calls are independent as far as the trace tells: {numbers}"
    blocks = f"neighbouring calls depend on each other: {numbers}; blocks of {found.block} keep that"
    return f"{blocks}, a law does not: {line}" if line else blocks


def _doubt(delays_s: Floats) -> str | None:
    """Say what is known of p99 where that is less than what a law is held to."""
    from scipy import stats

    p99_s = measured(delays_s).p99
    low_s, high_s = map(
        float, np.asarray(stats.quantile_test(delays_s, q=p99_s, p=0.99).confidence_interval())
    )
    if low_s >= (1 - MOST_OFF) * p99_s and high_s <= (1 + MOST_OFF) * p99_s:
        return None
    known = f"between {low_s:.3g} and {high_s:.3g} s" if not math.isnan(high_s) else f"above {low_s:.3g} s"
    return (
        f"{len(delays_s)} calls tell of p99 only that it is {known} (95%): a law that agrees with the "
        "measured one, and these calls drawn again, may both be wrong about rare long calls"
    )

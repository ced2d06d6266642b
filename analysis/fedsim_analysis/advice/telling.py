"""What is said of advice: sentences, tables, and the same for machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fedsim.scenario import Scenario
from fedsim.scenario.toml_text import inline
from fedsim.terminal import plain_table
from fedsim_analysis.advice.halving import WAVES
from fedsim_analysis.advice.learning import Fared
from fedsim_analysis.advice.limits import LIMITS
from fedsim_analysis.advice.search import FRESH, Advice, Gain, Judged
from fedsim_analysis.statistics import Estimate

if TYPE_CHECKING:
    from rich.table import Table

LITTLE = 1.0
"""Percent: what changes the time by less is told in one line."""
TOLD = 0.005
"""Shares of the time that are worth a word."""
OF_WORKERS = {
    "queueing": "queueing at the service",
    "waiting": "waiting for their next job",
    "cutting": "in polyhedron updates",
}
OF_SERVER = {"waiting": "waiting for workers", "cutting": "in polyhedron updates"}
"""Words that say more than the names of the clock's activities."""


def opening(advice: Advice) -> Iterator[str]:
    """Yield what is known before the search: the scenario, the estimate, and what is to be tried."""
    scenario = advice.scenario
    yield f"{scenario.label}: {_workers(scenario)}; {_service(scenario)}; network: {_network(scenario)}"
    work = f"{advice.updates:,} worker updates"
    if advice.own_budget:
        yield f"all runs do the same work, the scenario's budget: {work}"
    else:
        yield f"all runs do the same work: {work}, as many as a run of the scenario as it stands makes"
    yield from _estimate(advice)
    yield from _tried(advice)


def _estimate(advice: Advice) -> Iterator[str]:
    found, measured_s = advice.grid.estimated, advice.measured_s
    clock = f"the clock: {measured_s:,.1f} s (seed {advice.scenario.seed})"
    if found is None:
        yield f"estimate: none ({advice.unestimated}); {clock}"
        return
    error = 100 * (found.total_s / measured_s - 1) if measured_s else math.nan
    yield f"estimate, by closed forms: {found.total_s:,.1f} s a run; {clock}; it is off by {error:+.1f} %"
    yield f"  of that: {_shares(found.shares, {})}"
    for assumption in found.assumptions:
        yield f"  it assumes: {assumption}"


def _tried(advice: Advice) -> Iterator[str]:
    grid = advice.grid
    kinds: dict[str, dict[str, set[Any]]] = {}
    for candidate in grid.candidates:
        settings = candidate.settings
        values = kinds.setdefault(settings["kind"], {})
        for name in ("wait_for", "tau", "participants"):
            if name in settings:
                values.setdefault(name, set()).add(settings[name])
    told = [
        kind + "".join(f", {name} in {_listed(each)}" for name, each in values.items())
        for kind, values in kinds.items()
    ]
    yield f"{len(grid.candidates)} candidates, the scenario as it stands among them: {'; '.join(told)}"
    intervals = [bracket.updates for bracket in grid.brackets if bracket.updates is not None]
    if intervals:
        yield f"  worker updates between two polyhedron updates: {_listed(set(intervals))}"
    if grid.impossible:
        yield f"  {len(grid.impossible)} more are impossible here, for example: {grid.impossible[0]}"


def closing(advice: Advice) -> Iterator[str]:
    """Yield how the search went, the advice in a sentence, and what it rests on."""
    made, kept = advice.runs
    found = f", {kept:,} found finished" if kept else ""
    yield f"{made:,} runs made{found}, in {advice.seconds:.0f} s; {_how_far(advice)}"
    if advice.failed:
        yield f"candidates failed {len(advice.failed)} times, as in: {advice.failed[0]}"
    if advice.best is None:
        yield "there was no time to compare anything: call again to go on, or give more --seconds"


def verdict(advice: Advice) -> Iterator[str]:
    """Yield the advice in sentences."""
    row = advice.best
    if row is None:
        return
    candidate, gain = row.candidate, row.difference
    if candidate.number == 0:
        yield f"advised: leave it as it is ({candidate.words})"
    else:
        yield f"advised: {candidate.words}"
        told = "it saves" if gain.saving.mean >= 0 else "it takes longer, and saves"
        sure = "" if gain.is_sure or advice.chosen else "; no setting was found that is quicker for sure"
        yield (
            f"  {told} {_percent(gain.saving)} % of the time for the same work on average; runs with other "
            f"seeds save between {_one_more(gain, ' and ')} % (95 %, as in the table){sure}"
        )
        if row.learned is not None and row.learned.saving.count:
            saving = row.learned.saving
            chance = ", not told from chance" if saving.low <= 0 <= saving.high else ""
            yield f"  it is at the target {_percent(saving)} % sooner (mean of {saving.count} seeds{chance})"
    count, first = gain.time.count, advice.scenario.seed + FRESH
    yield (
        f"  judged by {count} fresh seeds ({first} to {first + count - 1}), by which nothing was chosen: "
        "those that chose it would make it look too good"
    )
    yield from _about_learning(advice)


def _about_learning(advice: Advice) -> Iterator[str]:
    if advice.unlearned or advice.goal is None:
        yield f"  chosen by time alone: {advice.unlearned}"
        if advice.advised.bracket.updates is not None:
            yield (
                "  S, tau and the cut interval also change what is learned: the cut interval was left as it "
                "is, and what others would save is in the table"
            )
        else:
            yield "  what was chosen here also changes what is learned, which was not looked at"
        return
    seeds = advice.chosen[advice.advised.number].time.runs
    yield f"  chosen by the time to the target, in up to {seeds} learning runs; target: {advice.goal.words}"
    own = advice.chosen[0].time
    for number, told in advice.chosen.items():
        row, time = advice.rows.get(number), told.time
        quicker = row is not None and row.difference.saving.mean > 0
        if row is not None and quicker and time.reached * own.runs < own.reached * time.runs:
            yield (
                f"  quicker, but only {time.reached} of {time.runs} runs reached the target (as it stands "
                f"{own.reached} of {own.runs}): {row.candidate.words}"
            )


def settings_table(advice: Advice) -> Table:
    """Return the best settings with their intervals."""
    rows, learns = advice.in_order, bool(advice.chosen)
    names = list(dict.fromkeys(name for row in rows for name in row.candidate.settings if name != "kind"))
    table = plain_table("", "method")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for name in ("time of a run (s)", "saving (%)", "seeds"):
        table.add_column(name, justify="right")
    if learns:
        table.add_column("time to target (s)", justify="right")
        table.add_column("there", justify="right")
    for row in rows:
        gain, own, settings = row.difference, row.candidate.number == 0, row.candidate.settings
        cells = [_remark(advice, row), settings["kind"]]
        cells += [inline(settings[name]) if name in settings else "" for name in names]
        cells += [
            f"{gain.time.mean:,.1f}",
            "" if own else f"{gain.saving.mean:.1f} ({_one_more(gain, ' to ')})",
        ]
        cells += [str(gain.time.count)]
        if learns:
            cells += _learned_cells(row.learned, advice.chosen.get(row.candidate.number))
        table.add_row(*cells)
    return table


def _learned_cells(fresh: Fared | None, chosen: Fared | None) -> list[str]:
    """Return when runs were at the target, and how many; few runs that chose have no interval."""
    told = fresh or chosen
    if told is None:
        return ["", ""]
    time = told.time
    sure = fresh is not None and not math.isnan(time.mean_low_s)
    interval = f" ({time.mean_low_s:,.0f} to {time.mean_high_s:,.0f})" if sure else ""
    mean = f"{time.mean_s:,.0f}{interval}" if time.reached else "never"
    return [mean, f"{time.reached} of {time.runs}"]


def _remark(advice: Advice, row: Judged) -> str:
    """Return what stands before the settings of a row."""
    candidate = row.candidate
    told = ["advised"] if candidate.number == advice.advised.number else []
    told += ["as it stands"] if candidate.number == 0 else []
    told += [candidate.bracket.extension] if candidate.bracket.extension else []
    return ", ".join([*told, *(["pools all data"] if candidate.pooled else [])])


def limits(advice: Advice) -> Iterator[str]:
    """Yield what the time goes into in the scenario as it stands."""
    if advice.limits:
        yield f"as it stands, workers are {_shares(advice.limits, OF_WORKERS)}"
        yield f"  and the server is {_shares(advice.server_limits, OF_SERVER)}"


def helps_table(advice: Advice) -> Table:
    """Return what would help for sure, the most helpful first."""
    table = plain_table("as it stands, but with")
    table.add_column("time of a run (%)", justify="right")
    for change, gain in advice.helps:
        if _matters(gain):
            table.add_row(change.words, _changed(gain))
    return table


def little_helps(advice: Advice) -> Iterator[str]:
    """Yield what would change next to nothing, or whose effect the seeds do not tell from chance."""
    words = [change.words for change, gain in advice.helps if not _matters(gain)]
    if words:
        yield f"less than {LITTLE:g} %, or not told from chance: {'; '.join(words)}"


def _matters(gain: Gain) -> bool:
    """Whether a change has an effect that is large enough, and sure."""
    return abs(gain.saving.mean) >= LITTLE and not gain.saving.low <= 0 <= gain.saving.high


def as_json(advice: Advice) -> dict[str, Any]:
    """Return all that was found, for another program."""
    estimated, best = advice.grid.estimated, advice.best
    return {
        "scenario": advice.scenario.name,
        "variant": advice.scenario.variant,
        "seed": advice.scenario.seed,
        "worker_updates": advice.updates,
        "estimate": None
        if estimated is None
        else {
            "total_s": estimated.total_s,
            "update_s": estimated.update_s,
            "shares": dict(estimated.shares),
            "assumptions": list(estimated.assumptions),
            "clock_s": advice.measured_s,
        },
        "candidates": len(advice.grid.candidates),
        "runs_made": advice.runs[0],
        "runs_found": advice.runs[1],
        "seconds": round(advice.seconds, 3),
        "waves": advice.waves,
        "complete": advice.complete,
        "advised": None if best is None else _row(advice, best),
        "rows": [_row(advice, row) for row in advice.in_order],
        "target": None
        if advice.goal is None
        else {
            "metric": advice.goal.metric,
            "value": None if advice.goal.stated is None else advice.goal.stated.value,
            "meaning": advice.goal.words,
        },
        "why_not_learned": advice.unlearned,
        "shares_of_workers": advice.limits,
        "shares_of_server": advice.server_limits,
        "would_help": [{"change": change.words, **_difference(gain)} for change, gain in advice.helps],
    }


def _row(advice: Advice, row: Judged) -> dict[str, Any]:
    found = {
        "as_it_stands": row.candidate.number == 0,
        "settings": row.candidate.settings,
        "extension": row.candidate.bracket.extension,
        "pools_data": row.candidate.pooled,
        "updates_between_cuts": row.candidate.bracket.updates,
        **_difference(row.difference),
    }
    chosen = advice.chosen.get(row.candidate.number)
    for name, told in (("choosing", chosen), ("fresh", row.learned)):
        if told is not None:
            found[f"time_to_target_{name}"] = _finite(told.time.columns())
            found[f"saving_to_target_{name}_percent"] = _finite(told.saving.columns("mean"))
    return found


def _difference(gain: Gain) -> dict[str, Any]:
    return _finite(
        {
            **gain.time.columns("time_s"),
            **gain.saving.columns("saving_percent"),
            "one_run_low_percent": gain.low_of_one,
            "one_run_high_percent": gain.high_of_one,
            "fresh_seeds": gain.time.count,
        }
    )


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers for JSON, which knows neither NaN nor infinity."""
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def _how_far(advice: Advice) -> str:
    if advice.complete:
        return "all candidates were looked at"
    if not advice.waves:
        return "the search by time did not get far, so that the best by estimate were taken"
    most = WAVES[advice.waves - 1]
    return (
        f"the search by time looked at the {most} best by estimate of each cut interval (call again to go "
        "on, or give more --seconds)"
    )


def _workers(scenario: Scenario) -> str:
    groups = scenario.workers
    if len(groups) == 1:
        return f"{scenario.n_workers:,} workers"
    return (
        f"{scenario.n_workers:,} workers ({', '.join(f'{group.count:,} {group.name}' for group in groups)})"
    )


def _service(scenario: Scenario) -> str:
    llm = scenario.llm
    if llm is None:
        return "no LLM calls"
    told = [
        f"{limit:,g} {words}"
        for name, words in LIMITS.items()
        if (limit := getattr(llm, name, None)) is not None
    ]
    return f"service: {llm.kind}" + (f", {', '.join(told)}" if told else "")


def _network(scenario: Scenario) -> str:
    return scenario.network.kind


def _shares(shares: Mapping[str, float], words: Mapping[str, str]) -> str:
    order = sorted(shares.items(), key=lambda each: -each[1])
    return ", ".join(f"{share:.0%} {words.get(name, name)}" for name, share in order if share >= TOLD)


def _percent(found: Estimate) -> str:
    if math.isnan(found.low):
        return f"{found.mean:.1f}"
    low, high = bounds(found.low, found.high)
    return f"{found.mean:.{_digits(found.high - found.low)}f} ({low} to {high})"


def bounds(low: float, high: float, sign: str = "") -> tuple[str, str]:
    """Return the ends of an interval, rounded outwards to as many digits as tell them apart.

    >>> bounds(12.34, 14.56), bounds(35.9012, 35.9345), bounds(-2.0, -2.0)
    (('12.3', '14.6'), ('35.90', '35.94'), ('-2.00', '-2.00'))
    """
    digits = _digits(high - low)
    unit = 10**digits
    return (
        f"{math.floor(low * unit) / unit:{sign}.{digits}f}",
        f"{math.ceil(high * unit) / unit:{sign}.{digits}f}",
    )


def _digits(width: float) -> int:
    """Return how many digits after the point a number needs that is known within so much."""
    return 1 if width >= 0.5 else 2


def _changed(gain: Gain) -> str:
    """Return by how much the time changes: the saving with its sign turned round."""
    saving = gain.saving
    if math.isnan(saving.low):
        return f"{-saving.mean:+.1f}"
    low, high = bounds(-saving.high, -saving.low, "+")
    return f"{-saving.mean:+.{_digits(saving.high - saving.low)}f} ({low} to {high})"


def _one_more(gain: Gain, between: str) -> str:
    """Return between what the saving of one more run lies."""
    if math.isnan(gain.low_of_one):
        return "-"
    return between.join(bounds(gain.low_of_one, gain.high_of_one))


def _listed(values: set[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values))

"""What is said of the outlook of a run: a few lines for people, and the same for programs."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from fedsim.scenario.sizes import spoken_bytes
from fedsim.schedule import Rounds
from fedsim.timing.llm_service.shared import Shared
from fedsim_analysis.advice.estimate import BELOW_LIMITS, GENERAL
from fedsim_analysis.outlook.expected import AskedOfRun, Outlook, waits
from fedsim_analysis.words import duration, number

WIDTH = 80
INDENT = 13
UNITS = re.compile(r"(\d) (s|[kMGT]?B|%|million|calls?|tokens|jobs|steps|updates|min|h|d)(?!\w)")
"""Numbers that stay on one line with what they count."""
TOLD = 0.005
"""Shares of a time that are worth a word."""
ERROR, WORST_ERROR = 10, 45
"""Percent: by how much the estimate of time is off on the shipped scenarios, and at worst, where workers come
and go, something fails, or a limit is nearly reached."""
WORDS = {"downlink": "download", "computing": "computing", "calls": "calls", "uplink": "upload"}
WORDS |= {"down": "off"}


def lines(told: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield sentences behind their headings, in lines of at most `WIDTH` letters."""
    for heading, sentence in told:
        lead = f"  {heading:<{INDENT - 2}}"
        tied = UNITS.sub("\\1\N{NO-BREAK SPACE}\\2", sentence)
        wrapped = textwrap.wrap(
            tied, WIDTH, initial_indent=lead, subsequent_indent=" " * INDENT, break_on_hyphens=False
        )
        yield from (line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped)


def told(expected: Outlook) -> Iterator[tuple[str, str]]:
    """Yield what follows a scenario's name: headings and sentences."""
    job, found = expected.job, expected.estimated
    rounds = isinstance(expected.scenario.schedule.rule, Rounds)
    asked = _asked(AskedOfRun(job.calls, job.tokens_in, job.tokens_out, job.bytes_up, job.bytes_down))
    if found is None:
        yield "a job", asked
    else:
        phases = {WORDS[name]: seconds for name, seconds in found.job_s.items()}
        job_s = sum(phases.values())
        parts = [f"{name} {_s(part)}" for name, part in phases.items() if part >= TOLD * job_s and part]
        more = f" ({', '.join(parts)})" if parts else ""
        yield "a job", f"{asked}: {_s(job_s)}{more}, then waits {_s(found.idle_s)}"
    if expected.steps and expected.updates is not None:
        each = f"{number(round(expected.updates / expected.steps, 1))} jobs, {_asked(expected.step)}"
        yield "a round" if rounds else "a step", each + (f": {_s(found.step_s)}" if found is not None else "")
    if found is not None:
        yield "limits", _limits(expected)
        order = sorted(found.shares.items(), key=lambda each: -each[1])
        goes = [f"{name} {_percent(share)}" for name, share in order if share >= TOLD]
        if goes:
            yield "the time", f"goes into {', '.join(goes)}"
    yield "waiting", "; ".join(waits(expected.scenario))
    yield "the run", _run(expected)
    yield "price", _price(expected)
    if expected.real is not None:
        yield "real model", _real(expected)
    if found is not None and expected.unestimated:
        yield "estimate", f"of times: as if all were always on, and so too short; {expected.unestimated}"
    elif found is not None:
        special = [each for each in found.assumptions if each not in (*GENERAL, BELOW_LIMITS)]
        yield (
            "estimate",
            f"of times: mostly within {ERROR} % of the clock, at worst {WORST_ERROR} %"
            + (f"; it assumes that {', that '.join(special)}" if special else ""),
        )
    elif expected.unestimated:
        yield "estimate", expected.unestimated


def _limits(expected: Outlook) -> str:
    found, llm = expected.estimated, expected.scenario.llm
    assert found is not None
    binding = [each for each in found.limits if each.binds]
    told = [f"{each.words} {_percent(each.part)}" for each in found.limits if each.part >= TOLD]
    if not binding:
        return f"none binds; used: {', '.join(told)}" if told else "none binds"
    said = f"{binding[0].words} bind; used: {', '.join(told)}"
    if isinstance(llm, Shared) and llm.over_limit == "reject" and binding[0].share == "rate limit":
        said += "; calls beyond are answered 429 and sent again"
    return said


def _percent(part: float) -> str:
    """Return a part in percent; what is nearly all is not called all.

    >>> _percent(0.714), _percent(0.998), _percent(1.0)
    ('71 %', '99 %', '100 %')
    """
    return f"{math.floor(100 * part) if part < 1 - 1e-6 and part > 0.99 else round(100 * part)} %"


def _run(expected: Outlook) -> str:
    if expected.updates is None or expected.steps is None:
        return "as long as its budget in seconds lasts; nobody can say how many jobs that is"
    how = "at most " if expected.at_most else ("" if expected.exact else "about ")
    said = f"{how}{number(round(expected.steps))} steps, {number(round(expected.updates))} updates, "
    said += _asked(expected.run)
    if (total_s := expected.total_s) is not None:
        said += f": {_s(total_s)}" + (f" ({words})" if (words := duration(total_s)) else "")
    return f"{said}; measured {number(math.ceil(expected.measurements))} times"


def _price(expected: Outlook) -> str:
    if expected.scenario.llm is None:
        return "nothing: no LLM calls"
    if not expected.price:
        return "simulated 0: no llm.price_per_million_tokens_in and _out"
    return f"simulated {number(expected.price)}, in the currency of llm's prices; measuring costs nothing"


def _real(expected: Outlook) -> str:
    real = expected.real
    assert real is not None
    said = real_words(real.jobs + real.evaluation, real.price, real.has_prices)
    said += f" ({round(real.jobs):,} by jobs, {round(real.evaluation):,} by measuring; "
    said += f"{_big(real.tokens_in)} tokens in, {_big(real.tokens_out)} out)"
    if real.stops:
        said += f"; stopped before by {' and '.join(real.stops)}"
    return said


def real_words(calls: float, price: float | None, has_prices: bool = True) -> str:
    """Say how often a real model is asked, and for how much."""
    said = f"at most {count(calls, 'call')}, as equal or kept answers are not asked again"
    if price is not None:
        return f"at most {number(price)} to pay: {said.removeprefix('at most ')}"
    return f"{said}; price unknown (problem.model.price_per_million_tokens_in, _out)" if has_prices else said


def _asked(amounts: AskedOfRun) -> str:
    """Say how much is asked and sent."""
    said = []
    if amounts.calls:
        said.append(f"{count(amounts.calls, 'call')}, {_big(amounts.tokens)} tokens")
    if amounts.bytes_up or amounts.bytes_down:
        said.append(f"{spoken_bytes(amounts.bytes_up)} up, {spoken_bytes(amounts.bytes_down)} down")
    return ", ".join(said) or "no calls, nothing sent"


def count(value: float, what: str) -> str:
    """Return a number of things.

    >>> count(1, "call"), count(29200.4, "call")
    ('1 call', '29,200 calls')
    """
    shown = f"{round(value):,}" if value >= 10 or value == round(value) else f"{value:.1f}"
    return f"{shown} {what}{'s' if shown != '1' else ''}"


def _big(value: float) -> str:
    """Return a large number with three digits that count.

    >>> _big(950), _big(17_900), _big(5_197_600)
    ('950', '17,900', '5.2 million')
    """
    if value >= 1e6:
        return f"{value / 1e6:,.3g} million" if value < 1e9 else f"{value / 1e6:,.0f} million"
    return f"{float(f'{value:.3g}'):,.0f}"


def _s(seconds: float) -> str:
    """Return seconds with two or three digits that count.

    >>> _s(0.02312), _s(14.406), _s(1682.37)
    ('0.023 s', '14.4 s', '1,682 s')
    """
    digits = 3 if seconds >= 1 else 2
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.{digits}g} s"


def as_json(expected: Outlook, notes: list[str]) -> dict[str, Any]:
    """Return all of it for another program; what nobody can say is None."""
    scenario, found, real = expected.scenario, expected.estimated, expected.real
    job = expected.job
    return {
        "scenario": scenario.name,
        "variant": scenario.variant,
        "algorithm": scenario.algorithm.kind,
        "n_workers": scenario.n_workers,
        "job": {
            "llm_calls": job.calls,
            "tokens_in": job.tokens_in,
            "tokens_out": job.tokens_out,
            "bytes_up": job.bytes_up,
            "bytes_down": job.bytes_down,
            "seconds": None if found is None else dict(found.job_s),
            "waits_s": None if found is None else found.idle_s,
        },
        "step": {**_amounts(expected.step), "seconds": None if found is None else _finite(found.step_s)},
        "run": {
            "server_steps": expected.steps,
            "worker_updates": expected.updates,
            **_amounts(expected.run),
            "simulated_time_s": expected.total_s,
            "measurements": expected.measurements,
            "cost": expected.price,
            "exact": expected.exact,
            "at_most": expected.at_most,
        },
        "limits": []
        if found is None
        else [{"limit": each.words, "used": each.part, "binds": each.binds} for each in found.limits],
        "shares": None if found is None else dict(found.shares),
        "real_model": None if real is None else real._asdict() | {"stops": list(real.stops)},
        "waits": list(waits(scenario)),
        "assumptions": [] if found is None else list(found.assumptions),
        "why_no_estimate": expected.unestimated,
        "error_percent": {"usual": ERROR, "worst": WORST_ERROR},
        "notes": notes,
    }


def _amounts(amounts: AskedOfRun) -> dict[str, float]:
    found = amounts._asdict()
    return {"llm_calls": found.pop("calls"), **found}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

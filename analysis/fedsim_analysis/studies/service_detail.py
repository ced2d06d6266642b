"""What `per_round` gets wrong, and how much faster it is: both details of the shared LLM service at once.

Run as ``python -m fedsim_analysis.studies.service_detail``; it writes its table into ``docs/timing-model.md``
and prints the speeds. Workers bring jobs to one service, with a pause in between, once with every call an
event and once all calls of a job at a time, both with the same draws.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pandas as pd

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.terminal import give
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service import Calls
from fedsim.timing.llm_service.background import Background
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.outages import Outage
from fedsim_analysis.documents import parts

if TYPE_CHECKING:
    import simpy

LATENCY = Lognormal(median_s=0.3444, sigma=0.2925)
"""The latency of three hosted endpoints, as in scenarios/common/paper.toml."""
LANES, PAUSE_S = 5, 1.0
CALLS_PER_WORKER = {20: 400, 400: 2400}
"""How many calls a worker makes altogether, by the calls of a job."""
WORKERS = (3, 10, 30)

DOCUMENT = Path("docs/timing-model.md")
TABLE = "per_round"
"""The name of the table in it."""


class Case(NamedTuple):
    """A service and those who use it."""

    regime: str
    workers: int
    calls: int
    """Calls of each job."""
    limits: dict[str, Any]
    together: bool = False
    """All workers begin their jobs together, each time when the last of them has ended."""

    @property
    def jobs(self) -> int:
        """How many jobs each worker brings."""
        return CALLS_PER_WORKER[self.calls] // self.calls


class Measured(NamedTuple):
    """What became of a case."""

    job_s: float
    """How long a job takes on average."""
    calls_per_s: float
    """All calls over the time until all have been answered."""
    queueing_s: float
    """For how long, of a job, all open calls wait."""
    too_many_requests: int
    cpu_s: float


def alone_s(calls: int) -> float:
    """Return how long a job takes alone (s), about."""
    return calls / LANES * LATENCY.mean_value_s


def cases(workers: Iterable[int] = WORKERS) -> list[Case]:
    """Return all cases: how busy the places are, or how much less than they would make calls may be made."""
    found = []
    for count, calls in itertools.product(workers, CALLS_PER_WORKER):
        free_per_s = count * calls / (alone_s(calls) + PAUSE_S)
        for load in (0.3, 0.9, 1.2, 2.0):
            places = max(round(free_per_s * LATENCY.mean_value_s / load), 1)
            found.append(Case(f"places, load {load:g}", count, calls, {"concurrency": places}))
        for over_limit, share in itertools.product(("queue", "reject"), (0.8, 0.4)):
            rate = {"requests_per_minute": 60 * share * free_per_s, "burst_s": 5.0, "over_limit": over_limit}
            found.append(Case(f"{over_limit}, rate {share:g}", count, calls, rate))
    return found


def special_cases(workers: int = 10) -> list[Case]:
    """Return cases of everything else: what is known to be difficult."""
    found = []
    for calls in CALLS_PER_WORKER:
        lanes = workers * LANES
        few = {"concurrency": round(lanes / 1.5)}
        others = Background(requests_per_minute=60 * 0.5 * lanes / LATENCY.mean_value_s, tokens_out=0)
        asked_per_s = lanes / LATENCY.mean_value_s
        rate = {"requests_per_minute": 60 * 0.5 * asked_per_s, "burst_s": 5.0}
        outage = Outage(start_s=10.0, stop_s=30.0)
        found += [
            Case("all together, places, load 1.2", workers, calls, {"concurrency": round(lanes / 1.2)}, True),
            Case("all together, reject, rate 0.5", workers, calls, rate, True),
            Case("errors 10 %", workers, calls, few | {"server_error_probability": 0.1}),
            Case("outage of 20 s", workers, calls, few | {"outages": (outage,)}),
            Case("background on half", workers, calls, {"concurrency": lanes, "background": others}),
            Case("queue_limit 1", workers, calls, few | {"queue_limit": 1}),
        ]
    return found


def measure(case: Case, detail: Literal["per_call", "per_round"], seed: int = 0) -> Measured:
    """Simulate a case."""
    import simpy

    env, streams, clock = simpy.Environment(), Streams(seed), ActivityClock(case.workers)
    settings = Shared.model_validate({"detail": detail, "ttft": LATENCY} | case.limits)
    service = settings.open(env, streams, clock, [0] * case.workers, False)
    cost = JobCost(case.calls, 0, 0, 0, 0)
    took_s: list[float] = []

    def job(worker: int, number: int) -> Generator[simpy.Event, object, None]:
        begun_s = env.now
        yield from service.serve(Calls(worker, number, cost, LANES, 1.0, True))
        took_s.append(env.now - begun_s)
        clock.switch(worker, Activity.WAITING, env.now)
        ends_s[worker] = env.now

    def work(worker: int) -> Generator[simpy.Event, object, None]:
        pauses_s = streams.generator(Stream.COMPUTE, worker).exponential(PAUSE_S, case.jobs)
        for number, pause_s in enumerate(pauses_s.tolist()):
            yield env.timeout(pause_s)
            yield from job(worker, number)

    def in_step() -> Generator[simpy.Event, object, None]:
        for number in range(case.jobs):
            yield env.all_of([env.process(job(worker, number)) for worker in range(case.workers)])

    ends_s = [0.0] * case.workers
    for process in [in_step()] if case.together else [work(worker) for worker in range(case.workers)]:
        env.process(process)
    started = process_time()
    env.run()
    cpu_s = process_time() - started
    jobs = case.workers * case.jobs
    queueing_s = sum(clock.seconds[Activity.QUEUEING]) / jobs
    refused = service.served().too_many_requests
    return Measured(sum(took_s) / jobs, jobs * case.calls / max(ends_s), queueing_s, refused, cpu_s)


def compared(found: Sequence[Case]) -> pd.DataFrame:
    """Return one row per case: errors of `per_round` in %, queueing in both (% of a job), and speeds."""
    rows = []
    for case in found:
        exact, ours = measure(case, "per_call"), measure(case, "per_round")
        calls = case.workers * case.jobs * case.calls
        rows.append(
            {
                "regime": case.regime,
                "workers": case.workers,
                "calls": case.calls,
                "job_s": exact.job_s,
                "job_error": 100 * (ours.job_s / exact.job_s - 1),
                "throughput_error": 100 * (ours.calls_per_s / exact.calls_per_s - 1),
                "queueing": 100 * exact.queueing_s / exact.job_s,
                "queueing_per_round": 100 * ours.queueing_s / ours.job_s,
                "refused": exact.too_many_requests / calls,
                "refused_per_round": ours.too_many_requests / calls,
                "calls_a_cpu_s": calls / exact.cpu_s,
                "calls_a_cpu_s_per_round": calls / ours.cpu_s,
            }
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """Return the errors for people: one line per regime, ranges over the numbers of workers."""
    titles = (
        *("regime", "calls per job", "error of a job's length (%)", "of the throughput (%)"),
        *("queueing, `per_call` (% of a job)", "`per_round`", "429 per call, `per_call`", "`per_round`"),
    )
    lines = [titles, ("---", *["---:"] * (len(titles) - 1))]
    for (regime, calls), rows in table.groupby(["regime", "calls"], sort=False):
        cells = [ranged(rows[name], form) for name, form in FORMS.items()]
        lines.append((str(regime), str(calls), *cells))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


FORMS = {
    "job_error": "+z.1f",
    "throughput_error": "+z.1f",
    "queueing": ".1f",
    "queueing_per_round": ".1f",
    "refused": ".2f",
    "refused_per_round": ".2f",
}
"""The columns of `compared` that are the same each time, and how they are written."""


def ranged(values: pd.Series[float], form: str) -> str:
    """Return the least and the largest value, once if they are alike."""
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def speeds(table: pd.DataFrame) -> str:
    """Return calls per second of processor time at both levels of detail, medians over the regimes."""
    lines = []
    for calls, rows in table.groupby("calls"):
        exact, ours = rows["calls_a_cpu_s"].median(), rows["calls_a_cpu_s_per_round"].median()
        lines.append(f"{calls} calls per job: per_call {exact:,.0f}/s, per_round {ours:,.0f}/s\n")
    return "".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Write the table anew."""
    argparse.ArgumentParser(description=__doc__).parse_args(words)
    found = compared([*cases(), *special_cases()])
    before, _, after = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    DOCUMENT.write_text(before + markdown(found) + after, encoding="utf-8")
    give(speeds(found))


if __name__ == "__main__":
    main()

"""The runs of a search: each is made once, by address, by as many processes as wanted, until time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from fedsim import results, sweep
from fedsim.scenario import Scenario
from fedsim.stopping import undisturbed
from fedsim.sweep import Outcome
from fedsim.sweep.engines import LocalPool


class RunOf(NamedTuple):
    """A run that is wanted."""

    candidate: int
    """The number of whose settings it has."""
    seed: int
    timing_only: bool


class Runs:
    """Makes runs in the order in which they are asked for, and remembers them.

    They lie in a folder of results like those of a sweep: what is finished is found again. Once the time is
    up no further run begins; processes of our own that are in the middle of one are stopped in the end, and
    leave nothing.

    Args:
        out: the folder of results.
        jobs: processes; one: this one.
        seconds: of the wall clock, counted from now.
    """

    def __init__(self, out: Path, jobs: int, seconds: float) -> None:
        self._out = out
        self._seconds = seconds
        self._began_s = time.monotonic()
        self._pool = LocalPool(jobs) if jobs > 1 else None
        self._found: dict[RunOf, Outcome] = {}
        self.made = 0
        """Runs made now."""
        self.tell: Callable[[float, int], None] = _nothing
        """Is told after each run how much time has passed (s), and how many runs there are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            with undisturbed():
                self._pool.stop()

    def warm_up(self) -> None:
        """Let the processes load now what learning takes, while there is nothing else for them to do."""
        if self._pool is not None:
            self._pool.warm_up("torch")

    @property
    def passed_s(self) -> float:
        """How much time has passed (s)."""
        return time.monotonic() - self._began_s

    @property
    def kept(self) -> int:
        """Runs that were found finished."""
        return len(self._found) - self.made

    def are_over(self, share: float) -> bool:
        """Whether this share of the seconds has passed."""
        return self.passed_s >= share * self._seconds

    def get(self, order: RunOf) -> Outcome | None:
        """Return a run that has been made or found."""
        return self._found.get(order)

    def make(self, wanted: Sequence[tuple[RunOf, Scenario]], share: float) -> bool:
        """Make the runs that are not there yet; whether all of them are there in the end.

        Args:
            wanted: each with the scenario of its candidate, whatever its seed.
            share: once this share of the seconds has passed, no further run begins; what is there is found.

        Raises:
            InputError: results cannot be written.
        """
        for timing_only in (True, False):
            missing = [
                (order, scenario)
                for order, scenario in dict(wanted).items()
                if order not in self._found and order.timing_only == timing_only
            ]
            if missing:
                self._make(missing, timing_only, share)
        return all(order in self._found for order, _ in wanted)

    def _make(self, missing: list[tuple[RunOf, Scenario]], timing_only: bool, share: float) -> None:
        places: dict[str, RunOf] = {}

        def begun() -> Iterator[Scenario]:
            for order, scenario in missing:
                seeded = sweep.with_seed(scenario, order.seed)
                if self.are_over(share) and not self._is_there(seeded, timing_only):
                    continue
                places[seeded.model_dump_json()] = order
                yield seeded

        for outcome in self._outcomes(begun(), timing_only):
            self._found[places[outcome.scenario.model_dump_json()]] = outcome
            self.made += not outcome.reused
            self.tell(self.passed_s, len(self._found))
            if self.are_over(1.0) and not outcome.reused:
                return  # what the processes still have in hand is left to them

    def _is_there(self, scenario: Scenario, timing_only: bool) -> bool:
        """Whether a run was finished before: to find it takes no time."""
        return results.is_finished(sweep.folder_of(scenario, self._out, timing_only))

    def _outcomes(self, scenarios: Iterable[Scenario], timing_only: bool) -> Iterator[Outcome]:
        running = sweep.run_all(
            scenarios, self._out, 1, timing_only, executor=self._pool, keep_going=True, retry_failed=True
        )
        with closing(running):
            yield from running


def _nothing(passed_s: float, n_runs: int) -> None:
    """Show nothing."""

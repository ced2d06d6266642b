"""The settings that are tried: a bounded grid of methods, S, tau and cut intervals around a scenario."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from fedsim.algorithms import ALGORITHMS
from fedsim.algorithms.averaging.base import Averaging
from fedsim.algorithms.base import Algorithm
from fedsim.algorithms.dbt.settings import CommonRules, Cuts
from fedsim.errors import InputError
from fedsim.scenario import Scenario
from fedsim.scenario.toml_text import inline
from fedsim.scenario.unread import stated
from fedsim.schedule import Steps
from fedsim_analysis.advice.estimate import TimeEstimate

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""S, as parts of the workers; 1 and 2 and what the scenario has are tried as well."""
CYCLES = (2, 8)
"""tau, as multiples of R / S steps, in which each worker reports once; what the scenario has is tried too."""
INTERVALS = (0.5, 1, 2, 4)
"""Worker updates between two polyhedron updates, as multiples of what the scenario has."""


@dataclass(frozen=True)
class Bracket:
    """Candidates that time may choose among: what they learn from a worker update is much alike.

    Of two cut intervals the longer one always takes less time, whatever becomes of what is learned. So no
    candidate is ever dropped in favour of one of another bracket.
    """

    updates: int | None = None
    """Worker updates between two polyhedron updates; none: there are no such updates."""
    extension: str = ""
    """What of ours is not in the paper."""

    def __str__(self) -> str:
        often = "" if self.updates is None else f"a polyhedron update every {self.updates} worker updates"
        return ", ".join(part for part in (often, self.extension) if part)


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings that a scenario might have."""

    number: int
    """Its place in the grid; 0 is the scenario as it stands."""
    bracket: Bracket
    table: Mapping[str, Any]
    """What a file lays over the scenario."""
    scenario: Scenario
    estimated_s: float = math.inf
    """How long the work takes by estimate (s); of the same S and tau where polyhedron updates come as often
    as in the scenario as it stands. Infinite: unknown."""

    @property
    def pooled(self) -> bool:
        """Whether one machine holds the data of all workers, so that nothing is federated any more."""
        return self.scenario.schedule.machine is not None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that are chosen here, by their dotted names within the algorithm."""
        return _settings(self.scenario.algorithm)

    @property
    def words(self) -> str:
        """The same as a person writes them."""
        told = ", ".join(f"{key} = {inline(value)}" for key, value in self.settings.items() if key != "kind")
        return f"{self.scenario.algorithm.kind}: {told}" if told else self.scenario.algorithm.kind


class Grid:
    """All candidates of a scenario.

    Args:
        scenario: as it stands, with a budget of so much work.
        updates: worker updates that a run makes.
        look: gives an estimate of a scenario; none where there is none.
        extensions: whether to try what is not in the papers.

    Raises:
        InputError: the method has no step rule to choose.
    """

    def __init__(
        self,
        scenario: Scenario,
        updates: int,
        look: Callable[[Scenario], TimeEstimate | None],
        extensions: bool = False,
    ) -> None:
        self._scenario = scenario
        self._updates = updates
        self._look = look
        self._extensions = extensions
        self.impossible: list[str] = []
        """Why each candidate that the scenario refuses was left out."""
        self.estimated = look(scenario)
        """Of the scenario as it stands."""
        self._found: dict[str, Candidate] = {}
        self._fill()

    @property
    def candidates(self) -> list[Candidate]:
        """All of them, by number."""
        return list(self._found.values())

    @property
    def brackets(self) -> dict[Bracket, list[Candidate]]:
        """The candidates that may be advised, by bracket."""
        found: dict[Bracket, list[Candidate]] = {}
        for candidate in self.candidates:
            if not candidate.pooled or candidate.number == 0:
                found.setdefault(candidate.bracket, []).append(candidate)
        return found

    def _fill(self) -> None:
        own = self._scenario.algorithm
        if isinstance(own, Averaging):
            self._add(Bracket(), {}, self.estimated)
            self._fill_averaging(own)
        elif isinstance(own, CommonRules):
            self._fill_tuning()
        else:
            raise InputError(
                f"{self._scenario.label}: algorithm.kind: found {own.kind!r}, in which there is no step rule "
                "to choose; expected a method of the family of asyndbt (asyndbt, sdbt, cendbt) or of fedbdpl"
            )

    def _add(self, bracket: Bracket, table: dict[str, Any], estimated: TimeEstimate | None) -> None:
        """Add a candidate, unless it is one already."""
        if (scenario := self._laid(table)) is None:
            return
        total_s = math.inf if estimated is None else float(estimated.total_s)
        # two candidates that run alike share this
        mark = scenario.algorithm.model_dump_json()
        self._found.setdefault(mark, Candidate(len(self._found), bracket, table, scenario, total_s))

    def _laid(self, table: dict[str, Any]) -> Scenario | None:
        """Return the scenario with a table laid over it; none where it is impossible."""
        try:
            return self._scenario.replace(table) if table else self._scenario
        except InputError as error:
            self.impossible.append(str(error).splitlines()[0])
            return None

    def _fill_averaging(self, own: Averaging) -> None:
        """Add numbers of participants; where the method waits for S already, S and tau."""
        n_workers = self._scenario.n_workers
        waits: int | None = getattr(own, "wait_for", None)
        tables: list[tuple[Bracket, dict[str, Any]]] = []
        if waits is None:
            some = _some(n_workers, own.participants or n_workers, n_workers)
            tables += [(Bracket(), {"algorithm": {"participants": number}}) for number in some]
        if waits is not None or (self._extensions and "wait_for" in type(own).model_fields):
            gone = {"unset": ["participants"]} if own.participants is not None else {}
            bracket = Bracket() if waits is not None else Bracket(extension=UNSYNCHRONISED)
            for wait_for, tau in self._rules(waits, getattr(own, "tau", None)):
                tables.append((bracket, {"algorithm": {"wait_for": wait_for, "tau": tau} | gone}))
        for bracket, table in tables:
            scenario = self._laid(table)
            self._add(bracket, table, None if scenario is None else self._look(scenario))

    def _fill_tuning(self) -> None:
        own = self._scenario.algorithm
        rule, n_workers = self._scenario.schedule.rule, self._scenario.n_workers
        assert isinstance(rule, Steps)
        alone = self._scenario.schedule.machine is not None
        common = self._interval(n_workers if alone else rule.wait_for)
        self._add(Bracket(common), {}, self.estimated)
        times = [common and max(1, round(common * factor)) for factor in INTERVALS]
        intervals = [each for each in times if each in (common, None) or each < self._updates]
        waits = own.kind == "asyndbt"
        rules = self._rules(rule.wait_for if waits else None, rule.tau if waits else None)
        for wait_for, tau in [(n_workers, 1), *rules]:
            synchronous = wait_for == n_workers
            kind = "sdbt" if synchronous else "asyndbt"
            values = {} if synchronous else {"wait_for": wait_for, "tau": tau}
            each_step = max(wait_for, n_workers / tau)
            estimated = None
            if (scenario := self._laid(self._table(kind, values, common, wait_for, each_step))) is not None:
                estimated = self._look(scenario)
                each_step = _each_step(estimated, wait_for) or each_step
            for interval in dict.fromkeys(intervals):
                table = self._table(kind, values, interval, wait_for, each_step)
                self._add(Bracket(interval), table, estimated)
                for name in () if synchronous else self._tried(interval, wait_for):
                    table = self._table(kind, values, interval, wait_for, each_step, name)
                    self._add(Bracket(interval, name), table, estimated)
        self._add(Bracket(common), self._table("cendbt", {}, common, n_workers, n_workers), None)

    def _tried(self, interval: int | None, wait_for: int) -> Iterator[str]:
        """Yield the extensions that are tried beside the method as it is."""
        if self._extensions and interval is not None:
            yield from (COUNTED, ROLLING)
        if self._extensions and wait_for == min(2, self._scenario.n_workers - 1):
            yield ADAPTED  # whatever S is at the start

    def _interval(self, wait_for: int) -> int | None:
        """Return how many worker updates lie between two polyhedron updates of the scenario."""
        between, n_workers = self._scenario.schedule.interlude, self._scenario.n_workers
        if between is None:
            return None
        if between.every_updates is not None:
            return between.every_updates
        each_step = _each_step(self.estimated, wait_for) if wait_for < n_workers else None
        drained = _drained(n_workers, wait_for, between.participation == "all")
        return round(between.every * (each_step or wait_for)) + drained

    def _rules(self, wait_for: int | None, tau: int | None) -> Iterator[tuple[int, int]]:
        """Yield S and tau; S of all workers is the synchronous form, which stands for itself."""
        n_workers = self._scenario.n_workers
        for few in _some(n_workers, wait_for, n_workers - 1):
            cycle = ceil(n_workers / few)
            bounds = {*(cycle * times + 1 for times in CYCLES)} | ({tau} if tau is not None else set())
            yield from ((few, bound) for bound in sorted(bounds))

    def _table(
        self,
        kind: str,
        values: dict[str, Any],
        interval: int | None,
        wait_for: int,
        each_step: float,
        extension: str = "",
    ) -> dict[str, Any]:
        """Return what makes the scenario's method another one, with so many updates between cuts.

        Args:
            kind: the method.
            values: its S and tau.
            interval: worker updates between two polyhedron updates; none: there are no such updates.
            wait_for: S.
            each_step: how many worker updates a step takes on average, those that come to barriers apart.
            extension: what is not in the paper.
        """
        own, part = self._scenario.algorithm, ALGORITHMS[kind]
        table: dict[str, Any] = {"kind": kind} | values
        if kind == "cendbt":
            table["machine"] = self._fastest()
        if extension == ADAPTED:
            table["adapt"] = {}
        whole: dict[str, Any] = {"algorithm": table}
        if kind != own.kind:
            new = _common(own, part, table)
            places = [f"algorithm.{name}" for name in own.model_fields_set - part.model_fields.keys()]
            places += new.unread(self._scenario.trusted_copy({"algorithm": new}))
            for place in sorted(places):
                if stated(self._scenario, place):
                    _take_away(whole, place)
        if interval is not None:
            table["cuts"] = table.get("cuts", {}) | self._cuts(interval, wait_for, each_step, extension)
            gone = {"every", "every_updates"} - table["cuts"].keys()
            gone |= {"restart"} if extension == ROLLING else set()
            for key in sorted(gone):
                if stated(self._scenario, f"algorithm.cuts.{key}"):
                    _take_away(whole, f"algorithm.cuts.{key}")
        return whole

    def _cuts(self, interval: int, wait_for: int, each_step: float, extension: str) -> dict[str, Any]:
        """Return when polyhedron updates come, so that so many worker updates lie between them."""
        own = self._scenario.schedule.interlude
        assert own is not None
        rolling: dict[str, Any] = {"participation": ROLLING_KIND} if extension == ROLLING else {}
        if extension == COUNTED or own.every_updates is not None:
            return rolling | {"every_updates": interval}
        all_come = own.participation == "all" and not rolling
        drained = _drained(self._scenario.n_workers, wait_for, all_come)
        return rolling | {"every": max(1, round((interval - drained) / each_step))}

    def _fastest(self) -> str:
        """Return the group whose machine does all work where one does."""
        return min(self._scenario.workers, key=lambda group: group.slow_down / group.compute_speed).name


UNSYNCHRONISED = "asynchronous (ours)"
COUNTED = "counted in worker updates (ours)"
ROLLING = "cuts without a barrier (ours)"
ROLLING_KIND = "rolling"
ADAPTED = "S adapted (ours)"
"""What is not in the papers, and is tried where that is wanted."""


def _some(n_workers: int, own: int | None, most: int) -> list[int]:
    """Return some numbers of workers.

    >>> _some(10, None, 9), _some(3, 2, 3), _some(100, 25, 100)
    ([1, 2, 3, 5, 7, 9], [1, 2, 3], [1, 2, 10, 20, 25, 30, 50, 70, 90])
    """
    found = {1, 2, own or 1, *(round(share * n_workers) for share in SHARES)}
    return sorted(number for number in found if 1 <= number <= most)


def _each_step(estimated: TimeEstimate | None, wait_for: int) -> float | None:
    """Return how many worker updates a step takes by estimate, those that come to barriers apart."""
    if estimated is None or not estimated.steps:
        return None
    return max(wait_for, (estimated.updates - estimated.drained) / estimated.steps)


def _drained(n_workers: int, wait_for: int, all_come: bool) -> int:
    """Return how many worker updates come to a barrier beside those of the step before it."""
    return n_workers - wait_for if all_come else 0


def _common(own: Algorithm, part: type[Any], table: Mapping[str, Any]) -> Algorithm:
    """Return a method with what it shares with another one."""
    shared = {name: getattr(own, name) for name in own.model_fields_set & part.model_fields.keys()}
    rest = {key: value for key, value in table.items() if key not in ("kind", "cuts")}
    found: Algorithm = part(**{key: value for key, value in shared.items() if key != "kind"} | rest)
    return found


def _take_away(table: dict[str, Any], place: str) -> None:
    """State in a table that what stands at a dotted place goes."""
    *steps, last = place.split(".")
    for step in steps:
        table = table.setdefault(step, {})
    table.setdefault("unset", []).append(last)


def _settings(algorithm: Algorithm) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": algorithm.kind}
    for name in ("wait_for", "tau", "participants"):
        value = getattr(algorithm, name, None)
        if value is not None:
            found[name] = value
    if (adapt := getattr(algorithm, "adapt", None)) is not None:
        found["adapt"] = adapt.model_dump(mode="json", exclude_unset=True)
    cuts = getattr(algorithm, "cuts", None)
    if isinstance(cuts, Cuts):
        every = "every" if cuts.every_updates is None else "every_updates"
        found[f"cuts.{every}"] = getattr(cuts, every)
        if cuts.participation != "all":
            found["cuts.participation"] = cuts.participation
    elif cuts is False:
        found["cuts"] = False
    return found

"""The runs that a sweep file states."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fedsim.errors import InputError, nearest
from fedsim.part_code import PartCode, code_of
from fedsim.scenario import Scenario
from fedsim.scenario.explain import explain, is_known, known_keys, shown
from fedsim.scenario.files import ScenarioFile, read_file, without_idle_attacks
from fedsim.scenario.overrides import UNSET, by_numbers, overridden, read_override, with_setting
from fedsim.scenario.sizes import check_memory
from fedsim.scenario.sweep_table import OwnSweep, Sweep, SweepFile, flat_axes
from fedsim.sweep.sampling import random_points
from fedsim.sweep.seeds import own_seed, with_seed

VARIANT = "variant"
SWEEP = "sweep"
"""How the key of an override of the sweep's own settings begins."""


class Point(NamedTuple):
    """A variant of the file, and the settings laid over it."""

    number: int
    variant: str
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """How this point differs from the others, in words for people."""
        varied = ({VARIANT: self.variant} if self.variant else {}) | self.settings
        return ", ".join(f"{key} = {shown(value)}" for key, value in varied.items())


class Planned(NamedTuple):
    """A run of a sweep, and the point that it belongs to."""

    scenario: Scenario
    point: Point


class Survey(NamedTuple):
    """What a plan asks for."""

    n_runs: int
    parts: dict[str, PartCode]
    """The code of parts that are not ours, by ``module:Class``."""


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, made when they are asked for: there may be more than fit in memory."""

    file: ScenarioFile
    sweep: Sweep
    overrides: tuple[str, ...] = ()
    """``dotted.key=value`` settings that go over those of the points."""
    only: tuple[str, ...] = ()
    """Variants to keep; none: all of them."""
    own_sweeps: Mapping[str, OwnSweep] = field(default_factory=dict)
    """What variants vary for themselves, by name."""

    @property
    def keys(self) -> list[str]:
        """The dotted keys that vary, the variant apart."""
        sweeps = (self.sweep, *(self.own_sweeps[name] for name in self._variants if name in self.own_sweeps))
        return [key for key in dict.fromkeys(key for one in sweeps for key in one.keys) if key != VARIANT]

    @property
    def _variants(self) -> list[str]:
        return self.file.chosen(self.only)

    @property
    def name(self) -> str:
        """The name of the scenario."""
        return self.file.name

    @property
    def varies_variant(self) -> bool:
        """Whether points differ in the variant of the file."""
        return bool(self.file.variants)

    def points(self) -> Iterator[Point]:
        """Yield the points: variants first, what one of them varies alone last."""
        numbers = count()
        axes = _axes(self.sweep)
        if VARIANT not in self.sweep.keys:
            axes.insert(0, [{VARIANT: variant} for variant in self._variants])
        for parts in product(*axes):
            settings = {key: value for part in parts for key, value in part.items()}
            variant = settings.pop(VARIANT, "")
            own = self.own_sweeps.get(variant) if isinstance(variant, str) else None
            for more in product(*_axes(own)) if own else [()]:
                number = next(numbers)
                if not self.only or variant in self.only:
                    yield Point(
                        number, variant, {**settings, **{k: v for part in more for k, v in part.items()}}
                    )

    def scenario(self, point: Point) -> Scenario:
        """Return the scenario of a point.

        Raises:
            InputError: its settings are impossible.
        """
        place, table, where_known = self._place(point), self._table(point), self.sweep.only_where_known
        for override in self.overrides:
            key, _ = read_override(override)
            if key not in where_known or is_known(key, table):
                table = overridden(table, override)
        try:
            return self.file.parsed(table, place)
        except InputError as error:
            keys = (*point.settings, *(read_override(override)[0] for override in self.overrides))
            unknown = [key for key in dict.fromkeys(keys) if f": {key}: " in str(error)]
            unknown = [key for key in unknown if not is_known(key, table)]
            others = self.file.who_knows(point.variant, table, unknown)
            if not others and (not unknown or " it is a setting of " not in str(error)):
                raise
            listed = ", ".join(f'"{key}"' for key in unknown)
            raise InputError(
                f"{error}{others and '; '}{others}\n{self.file.path}: sweep.only_where_known = [{listed}] "
                "leaves it out where it is missing; [variants.NAME.sweep.grid] varies it for one variant"
            ) from error

    def _place(self, point: Point) -> str:
        """Return how an error about a point begins."""
        return f"{self.file.path}, point {point.label}" if point.label else str(self.file.path)

    def _table(self, point: Point) -> dict[str, Any]:
        """Return the settings of a point, without overrides."""
        place = self._place(point)
        if not isinstance(point.variant, str):
            raise InputError(f"{place}: found {shown(point.variant)}, expected the name of a variant")
        if point.variant or self.file.variants:
            self.file.check_variant(point.variant)
        table, where_known = self.file.settings(point.variant), self.sweep.only_where_known
        # These come last: which of them there are may depend on a kind that the point chooses.
        for key, value in sorted(point.settings.items(), key=lambda item: item[0] in where_known):
            if key in where_known and not is_known(key, table):
                continue
            try:  # what is said of a change of kind is the same for all points, and said once
                table = with_setting(table, key, value, f"{self.file.path}: {key}")
            except InputError as error:
                raise InputError(f"{place}{str(error).removeprefix(str(self.file.path))}") from error
        return table

    def check_keys(self) -> None:
        """Make sure that each key which varies is said once, and that what may be left out exists somewhere.

        Raises:
            InputError: two keys mean one setting, or `only_where_known` has a key that no run has.
        """
        known = dict[str, str]()
        for key in self.keys:
            number = _by_numbers(key, self.file)
            if (other := known.setdefault(number, key)) != key:
                raise InputError(
                    f"{self.file.path}: sweep: found {other} and {key}, which are one setting, expected it "
                    "once"
                )
        everyone = replace(self, only=())
        for key in self.sweep.only_where_known:
            if not any(is_known(key, self._table(point)) for point in everyone.points()):
                place = tuple(key.split(".")[:-1])
                names = [
                    ".".join((*place, name))
                    for variant in self.file.chosen()
                    for name in known_keys(place, self.file.settings(variant))
                ]
                raise InputError(
                    f"{self.file.path}: sweep.only_where_known: found {key!r}, which no run has"
                    f"{nearest(key, dict.fromkeys(names))}"
                )

    def runs(self) -> Iterator[Planned]:
        """Yield every run once, the replicates of a point one after the other.

        Raises:
            InputError: the settings of a point are impossible.
        """
        known: set[bytes] = set()
        first = None
        for point in self.points():
            scenario = self.scenario(point)
            first = scenario.seed if first is None else first
            if not self.sweep.paired and scenario.seed != first:
                raise InputError(
                    f"{self.file.path}: sweep.paired: found false, expected true where points or variants "
                    "have seeds of their own"
                )
            for replicate in range(self.sweep.replicates):
                alike = scenario.seed + replicate
                seed = alike if self.sweep.paired else own_seed(first, point.number, replicate)
                planned = Planned(with_seed(scenario, seed), point)
                mark = _mark(planned.scenario)
                if mark not in known:
                    known.add(mark)
                    yield planned

    def survey(self, here: bool = True) -> Survey:
        """Return how many runs there are and what code they need; all of them are checked on the way.

        Args:
            here: whether they are to be run on this machine, whose memory they must fit into.

        Raises:
            InputError: the settings of a point are impossible.
        """
        n_runs, parts = 0, {}
        for planned in self.runs():
            n_runs += 1
            if here:
                check_memory(planned.scenario)
            parts.update(code_of(planned.scenario))
        if not n_runs:
            raise InputError(f"{self.file.path}: no run is left: no point has the variant {self.only[0]!r}")
        return Survey(n_runs, parts)

    def count(self) -> int:
        """Return the number of runs, all of which are checked on the way.

        Raises:
            InputError: the settings of a point are impossible.
        """
        return self.survey().n_runs


def read_plan(path: Path | ScenarioFile, overrides: Iterable[str] = (), only: Iterable[str] = ()) -> Plan:
    """Read a scenario file with a table ``[sweep]``.

    Args:
        path: the TOML file, or what was read from it.
        overrides: ``dotted.key=value`` settings that go over those of all points; those that begin with
            ``sweep.`` change the sweep itself, as in ``sweep.replicates=2``.
        only: variants to keep.

    Raises:
        InputError: the file is missing or broken, states no sweep, or an impossible one.
    """
    file = path if isinstance(path, ScenarioFile) else read_file(path)
    overrides, only = list(overrides), tuple(only)
    for variant in only:
        file.check_variant(variant)
    table: dict[str, Any] = {"sweep": file.sweep} if file.sweep is not None else {}
    own = {name: {"sweep": one} for name, one in file.own_sweeps.items()}
    rest: list[str] = []
    for override in overrides:
        key, value = read_override(override)
        steps, place = key.split("."), f"--set {override!r}"
        if steps[0] == "variants" and steps[2:3] == [SWEEP]:
            file.check_variant(steps[1])
            own[steps[1]] = _with_axis(own.get(steps[1], {}), ".".join(steps[2:]), value, place, file)
        elif steps[0] == SWEEP:
            table = _with_axis(table, key, value, place, file)
        else:
            rest.append(override)
    if own:
        table = {SWEEP: {}} | table
    if not table:
        raise InputError(f"{file.path}: no table [sweep]; `fedsim run` runs a scenario without one")
    table |= {"variants": own} if own else {}
    try:
        found = SweepFile.model_validate(table)
    except ValidationError as error:
        raise InputError(explain(error, str(file.path), table, SweepFile)) from error
    plan = Plan(
        file, found.sweep, tuple(rest), only, {name: one.sweep for name, one in found.variants.items()}
    )
    set_keys = [read_override(override)[0] for override in rest]
    varied = replace(plan, only=()).keys
    if idle := [key for key in found.sweep.only_where_known if key not in (*varied, *set_keys)]:
        raise InputError(
            f"{file.path}: sweep.only_where_known: found {idle[0]!r}, expected a key that the sweep varies"
            f"{nearest(idle[0], varied)}"
        )
    plan.check_keys()
    return plan


def _by_numbers(key: str, file: ScenarioFile) -> str:
    """Return a key with the number of a group in place of its name; as it is where there is no such group."""
    try:
        return by_numbers(key, file.settings(file.chosen()[0]))
    except InputError:
        return key


def _with_axis(table: dict[str, Any], key: str, value: Any, place: str, file: ScenarioFile) -> dict[str, Any]:
    """Return the table of a sweep with one setting; what stands behind `grid` or `zip` is the key of an axis.

    An empty table clears, as nothing could be laid over by it.
    """
    _, _, inside = key.partition(".")
    home, _, axis = inside.partition(".")
    if not home and value in ({}, {UNSET: True}):
        return {**table, SWEEP: {}}
    if home not in ("grid", "zip"):
        whole = table.get(SWEEP, {})
        if value in ({}, {UNSET: True}) and inside in whole:
            return {**table, SWEEP: {name: one for name, one in whole.items() if name != inside}}
        return with_setting(table, key, value, place, SweepFile)
    old = flat_axes(table.get(SWEEP, {}).get(home, {}))
    number = _by_numbers(axis, file)
    axis = next((name for name in old if _by_numbers(name, file) == number), axis)
    if not axis:
        given = {} if not isinstance(value, dict) or value.get(UNSET) is True or not value else old
        new = (
            flat_axes({name: one for name, one in value.items() if name != UNSET})
            if isinstance(value, dict)
            else value
        )
        axes = given | new if isinstance(new, dict) else new
    elif value == {UNSET: True}:
        if axis not in old:
            raise InputError(f"{place}: {axis!r} is no axis of {SWEEP}.{home}{nearest(axis, old)}")
        axes = {name: one for name, one in old.items() if name != axis}
    else:
        axes = old | {axis: value}
    return {**table, SWEEP: {**table.get(SWEEP, {}), home: axes}}


def _axes(sweep: OwnSweep) -> list[list[dict[str, Any]]]:
    """Return what is combined: of each axis its values, as settings that go together."""
    axes: list[list[dict[str, Any]]] = [
        [{key: value} for value in values] for key, values in sweep.grid.items()
    ]
    if sweep.zip:
        rows = zip(*sweep.zip.values(), strict=True)
        axes.append([dict(zip(sweep.zip, row, strict=True)) for row in rows])
    if sweep.list:
        axes.append(list(sweep.list))
    if sweep.random:
        axes.append(random_points(sweep.random))
    return axes


def _mark(scenario: Scenario) -> bytes:
    """Return a short mark by which scenarios are known that give one run."""
    told = without_idle_attacks(scenario).model_dump_json(exclude={"description"})
    return hashlib.blake2b(told.encode(), digest_size=16).digest()

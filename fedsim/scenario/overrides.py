"""Settings laid over a scenario table, one dotted key at a time, and what is taken away again."""

from __future__ import annotations

import json
import re
import tomllib
import warnings
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticCustomError

from fedsim.catalog import Family, Part
from fedsim.errors import InputError, LeftOutWarning, nearest
from fedsim.scenario.model import Scenario
from fedsim.scenario.spots import Spot
from fedsim.scenario.toml_text import DEEPEST, read_toml
from fedsim.secrets import found_in

Table = dict[str, Any]
UNSET = "unset"
"""The key of a table, in a file or an override, that takes away keys of the table below it, or all."""

QUOTED = re.compile(r"""(?<![^.])(?:"([^"]+)"|'([^']+)')(?![^.])""")
"""A part of a dotted key in quotes."""

ELSEWHERE = {
    "variant": "no setting of a run: --only chooses a variant, and in a sweep the key `variant`",
    "variants": "no setting of a run: files state variants, and --only chooses among them "
    "(`fedsim sweep` takes variants.NAME.sweep)",
    "extends": "no setting of a run: a file says at its top which one it extends",
    "sweep": "no setting of a run: `fedsim sweep` reads it, of a file that states a sweep",
    "$schema": "no setting of a run: it is for editors",
}
"""Keys at the top of a file, and who reads them."""

WHOLE = Spot(root=Scenario)


@dataclass(frozen=True)
class Gone:
    """Stands in a table for a key that was taken away, until nothing more is laid over it."""

    sentence: str
    """What to say if there is no such key at all."""
    was_there: bool


def merged(base: Table, over: Table, place: str = "", spot: Spot = WHOLE) -> Table:
    """Lay one table over another.

    Tables are merged key by key; anything else is replaced. A part whose kind changes keeps the settings that
    both kinds have from a common base, and loses the others, of which a `LeftOutWarning` tells. Settings
    without a kind are for whichever kind is chosen. ``unset = ["key", ...]`` takes keys of the base away,
    ``unset = true`` all of them, and ``key = { unset = true }`` that key.

    Args:
        base: stays as it is, and so does `over`.
        over: what goes over it.
        place: how an error begins, for example ``scenario.toml: algorithm.``.
        spot: what the table is.

    Raises:
        InputError: ``unset`` is neither a list of names nor true.
    """
    names = over.get(UNSET, [])
    if names is True:
        result: Table = {}
    else:
        gone = _taken_away(base, names, place)
        result = _kept(base, over, place, spot) | gone
    whole = result | over
    for key, value in over.items():
        if key != UNSET:
            result[key] = _laid_over(result.get(key), value, f"{place}{key}.", spot.inside(key, whole))
    return result


def _laid_over(old: Any, value: Any, place: str, spot: Spot) -> Any:
    """Return a value that goes over another one, or over none; a list replaces what was there."""
    if isinstance(value, dict):
        if value.get(UNSET) is True and len(value) == 1:
            return Gone(f"{place}{UNSET}: found nothing that could be taken away", old is not None)
        return merged(old if isinstance(old, dict) else {}, value, place, spot)
    if isinstance(value, list):
        return [
            _laid_over(None, part, f"{place}{number}.", spot.inside(number, value))
            for number, part in enumerate(value)
        ]
    return value


def _taken_away(base: Table, names: Any, place: str) -> Table:
    """Return what stands for the settings of these names, which a table no longer has."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{place}{UNSET}: found {names!r}, expected a list of names, or true")
    known = [name for name, value in base.items() if not isinstance(value, Gone)]
    return {
        name: Gone(
            f"{place}{UNSET}: found {name!r}, expected a key that is set{nearest(name, known)}", name in base
        )
        for name in names
    }


def _kept(old: Table, over: Table, place: str, spot: Spot) -> Table:
    """Return what is left of a table when its part becomes one of another kind."""
    former, kind, family = old.get("kind"), over.get("kind"), spot.family
    if family is None or not isinstance(former, str) or not isinstance(kind, str) or kind == former:
        return old
    parts = _resolved(family, former), _resolved(family, kind)
    common = _common(parts[0], parts[1]) if parts[0] is not None and parts[1] is not None else frozenset()
    kept = {key: value for key, value in old.items() if key in common}
    stated = {*kept, *over, *_names(over.get(UNSET)), "kind"}
    lost = [key for key, value in old.items() if key not in stated and not isinstance(value, Gone)]
    if lost and parts[1] is not None and (told := _left_out(parts[1], former, kind, lost, stated)):
        warnings.warn(f"{place}kind: {told}", LeftOutWarning, stacklevel=2)
    return kept


def _left_out(part: type[Part], former: str, kind: str, lost: list[str], stated: set[str]) -> str:
    """Say what a change of kind leaves out; nothing where the new part was stated as a whole."""
    again = [key for key in lost if key in part.model_fields]
    rest = [field for name, field in part.model_fields.items() if name not in stated]
    defaults = [field.get_default(call_default_factory=True) for field in rest if not field.is_required()]
    if not again and all(default in (None, (), "") for default in defaults):
        return ""
    hint = f"; {kind!r} has {' and '.join(again)} too, which must be set again" if again else ""
    meant = f"{UNSET} = [{', '.join(map(json.dumps, lost))}]"
    return (
        f"{kind!r} takes the place of {former!r}, which leaves out {', '.join(lost)}{hint}; "
        f"{meant} says that this is meant"
    )


def _names(unset: Any) -> list[Any]:
    return unset if isinstance(unset, list) else []


def _resolved(family: Family, kind: str) -> type[Part] | None:
    """Return the part of a kind; none: what is wrong with it will be told by whoever needs it."""
    try:
        return family.resolve(kind)
    except PydanticCustomError:
        return None


def _common(one: type[Part], other: type[Part]) -> frozenset[str]:
    """Return the settings that two parts have from one and the same base class."""
    fields = one.model_fields.keys() & other.model_fields.keys()
    return frozenset(name for name in fields if _home(one, name) is _home(other, name))


def _home(part: type, name: str) -> type:
    """Return the class that declares a setting."""
    return next(one for one in part.__mro__ if name in vars(one).get("__annotations__", {}))


def with_setting(table: Table, key: str, value: Any, place: str, root: type[BaseModel] = Scenario) -> Table:
    """Return a table with one dotted key set; numbers in the key are places in a list.

    Args:
        table: stays as it is.
        key: as in ``workers.1.slow_down``.
        value: of any type that a scenario file can hold.
        place: what to name in an error, for example ``--set 'workers.1.slow_down=2'``.
        root: what the table is.

    Raises:
        InputError: a step of the key is no place in the list that it leads into.
    """
    steps = key.split(".")
    if not all(steps):
        raise InputError(f"{place}: found the key {key!r}, expected names with dots between them")
    if len(steps) > DEEPEST:
        raise InputError(f"{place}: found a key of {len(steps)} names, expected at most {DEEPEST}")
    if root is Scenario and steps[0] in ELSEWHERE:
        raise InputError(f"{place}: {steps[0]}: {ELSEWHERE[steps[0]]}")
    result = _with(table, steps, value, place, "", Spot(root=root))
    return {} if isinstance(result, Gone) else result


def read_override(override: str) -> tuple[str, Any]:
    """Read ``dotted.key=value``; names in the key may stand in quotes, as in a file.

    Raises:
        InputError: it is something else.
    """
    key, equals, text = override.partition("=")
    key = QUOTED.sub(lambda found: found[1] or found[2], key.strip())
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {override!r}: expected dotted.key=value")
    value = _value(text.strip(), override)
    if secret := found_in({key: value}):
        raise InputError("\n".join(f"--set {sentence}" for sentence in secret))
    return key, value


def overridden(table: Table, override: str) -> Table:
    """Lay one ``dotted.key=value`` over a table."""
    key, value = read_override(override)
    return with_setting(table, key, value, f"--set {override!r}")


def _value(text: str, override: str) -> Any:
    """Read a value as TOML; a bare word, as in ``algorithm.kind=sdbt``, is a text."""
    place = f"--set {override if len(override) <= 200 else override[:197] + '...'!r}"
    try:
        parsed = read_toml(f"value = {text}", place)
    except InputError as error:
        if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
            raise
        if text.startswith(("{", "[", '"', "'")):
            raise InputError(f"{place}: not a value of TOML") from error
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _with(old: Any, steps: list[str], value: Any, place: str, inside: str, spot: Spot) -> Any:
    """Return what `old`, the value at the dotted place `inside`, is with one setting in it."""
    if not steps:
        return _laid_over(old, value, f"{place}: {inside}", spot)
    step, rest = steps[0], steps[1:]
    within = f"{inside}{step}."
    if isinstance(old, list):
        chosen = place_in(old, step, place)
        return [
            _with(part, rest, value, place, within, spot.inside(number, old)) if number == chosen else part
            for number, part in enumerate(old)
        ]
    if not rest:
        return _laid_over(old, {step: value}, f"{place}: {inside}", spot)
    table = old if isinstance(old, dict) else {}
    return table | {step: _with(table.get(step), rest, value, place, within, spot.inside(step, table))}


def place_in(parts: list[Any], step: str, place: str) -> int:
    """Return the place in a list that a step of a key means: its number, or the name of what stands there.

    Raises:
        InputError: there is no such place, or several have the name.
    """
    if _is_number(step):
        if int(step) < len(parts):
            return int(step)
        raise InputError(f"{place}: expected a place from 0 to {len(parts) - 1} in the list, got {step!r}")
    names = [part.get("name") if isinstance(part, dict) else None for part in parts]
    if names.count(step) == 1:
        return names.index(step)
    if names.count(step) > 1:
        raise InputError(f"{place}: {step!r} is the name of {names.count(step)} places; expected a number")
    known = [name for name in names if isinstance(name, str)]
    hint = nearest(step, known) or (f" (names: {', '.join(known)})" if known else "")
    or_name = ", or a name," if known else ""
    raise InputError(
        f"{place}: expected a place from 0 to {len(parts) - 1}{or_name} in the list, got {step!r}{hint}"
    )


def by_numbers(key: str, table: Table) -> str:
    """Return a dotted key with the numbers of places in lists, where it has their names.

    Raises:
        InputError: there is no such place, or several have the name.
    """
    value: Any = table
    steps = key.split(".")
    for n, step in enumerate(steps):
        if isinstance(value, list):
            number = place_in(value, step, key)
            steps[n], value = str(number), value[number]
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return ".".join(steps)


def _is_number(step: str) -> bool:
    """Whether a step of a key is a place in a list: short, and not in digits of other scripts."""
    return step.isascii() and step.isdecimal() and len(step) < 10

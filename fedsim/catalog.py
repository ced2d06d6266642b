"""Interchangeable parts: the configuration is the component.

A *part* is a frozen pydantic model with a literal ``kind``; its fields are its settings and its methods are
pure. A *family* is a readable list of parts (delays, algorithms, optimizers, ...). A stranger's part joins
through a Python entry point of the group ``fedsim.<family>``, or is named in a scenario file as
``kind = "package.module:ClassName"``. Tables of a scenario that are no parts derive from `Strict` as well.
Figures are no parts, and join in the same two ways.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    PydanticUserError,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined, core_schema

from fedsim.answering import AnswerError, guard
from fedsim.errors import InputError, nearest
from fedsim.importing import imported

FAMILY_MARK = "x-fedsim-family"


@dataclass(frozen=True)
class PathMark:
    """Marks a setting as the path of a file or folder: a scenario file states it relative to itself."""

    names: tuple[str, ...] = ()
    """Values that are no paths but names."""
    needed: bool = True
    """Whether a scenario that states the hash of its content cannot be checked without it."""


StatedPath = Annotated[str, PathMark()]
"""The type of such a setting: ``file: StatedPath``.

Beside a setting `sha256` that tells the content, the path is no part of a run's address.
"""


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of somebody else's settings as TOML and JSON can hold it."""
    return {key: _plain_value(value, key) for key, value in table.items()}


def _plain_value(value: Any, place: str) -> Any:
    if isinstance(value, list | tuple):
        return [_plain_value(part, f"{place}.{number}") for number, part in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain_value(part, f"{place}.{key}") for key, part in value.items()}
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{place}: found {value!r}, expected what TOML and JSON can hold")


FreeTable = Annotated[dict[str, Any], AfterValidator(_plain)]
"""The type of a setting that holds a table of somebody else's settings: any that TOML and JSON can hold."""


def what_raised(error: BaseException) -> str:
    """Return what somebody has raised, as it follows the name of who did: ``raised KeyError: 'x'``."""
    why = str(error).strip().partition("\n")[0]
    if isinstance(error, AnswerError):
        return why
    return f"raised {type(error).__name__}" + (f": {why}" if why else "")


class Strict(BaseModel):
    """What every table of a scenario is: frozen, no unknown keys, no NaN or infinity.

    Types are taken literally: a string or a boolean is no number. Only a whole number may stand for a float.
    """

    # Inputs are shown in our own sentences only: one may be a secret.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, table: Any) -> Any:
        """Read arrays as tuples: TOML has the former, frozen settings hold the latter."""
        if not isinstance(table, dict):
            return table
        return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}

    def idle(self) -> Mapping[str, str]:
        """Return the settings that do nothing beside the others, by dotted name, each with the reason.

        Stating one of them in a scenario is an error, and a resolved scenario leaves them out.
        """
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other settings, checked like a new one.

        Raises:
            InputError: there is no such setting, or it cannot be what it is to be.
        """
        if not update:
            return self.trusted_copy({}, deep)
        known = type(self).model_fields
        if unknown := [key for key in update if key not in known]:
            hint = nearest(unknown[0], known)
            raise InputError(f"{type(self).__name__} has no setting {unknown[0]!r}{hint}")
        settings = {name: getattr(self, name) for name in self.model_fields_set} | dict(update)
        own = known["kind"].get_default() if "kind" in known else None
        renamed = isinstance(own, str) and "kind" not in update
        try:
            copied = type(self).model_validate(settings | {"kind": own} if renamed else settings)
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join([type(self).__name__, *map(str, wrong["loc"])])
            raise InputError(f"{place}: {wrong['msg'].removeprefix('Value error, ')}") from error
        # Of a part that a file names by its place, the name goes along.
        return copied.trusted_copy({"kind": settings["kind"]} if renamed and "kind" in settings else {}, deep)

    def copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # type: ignore[override]  # the older name, with its checks left out
        """Do as `model_copy` does."""
        return self.model_copy(update=update, deep=deep)

    def trusted_copy(self, update: Mapping[str, Any], deep: bool = False) -> Self:
        """Return a copy whose settings are known to be right; what was worked out from the old ones stays."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]  # a cached property
        return copied


class Part(Strict):
    """A component of a scenario, named by its kind."""

    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        super().__pydantic_init_subclass__(**keywords)
        guard(cls)

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring; nothing where there is none."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @classmethod
    def source(cls) -> str:
        """Return what the docstring states after ``Source:``, on one line."""
        _, found, rest = (cls.__doc__ or "").partition("Source:")
        return " ".join(rest.split("\n\n")[0].split()) if found else ""


class Family:
    """A named list of parts, and the pydantic type of a field that takes any one of them.

    What an installed package offers is loaded when a scenario names it: a broken part disturbs nobody who
    does without it, and `broken` tells of it. A built-in kind cannot be taken over, an entry point is called
    as the kind of its class, and of two packages that offer the same name neither is taken.

    Args:
        name: parts may be offered in the group ``fedsim.<name>``.
        base: what each of them is a subclass of.
        parts: the built-in ones.
        including: families whose parts are what this one has. One of theirs may be offered in the group of
            either.
    """

    def __init__(
        self, name: str, base: type[Part], *parts: type[Part], including: Sequence[Family] = ()
    ) -> None:
        self.name = name
        self.base = base
        self.builtin: dict[str, type[Part]] = {}
        self._bases = tuple(family.base for family in including) or (base,)
        self._groups = [f"fedsim.{family.name}" for family in (self, *including)]
        self._shared: list[str] = []
        """Groups of families that include this one: what is no part of this one is passed over there."""
        self.add(*parts)
        for family in including:
            self.add(*family.builtin.values())
            family._shared.append(self._groups[0])

    def add(self, *parts: type[Part]) -> None:
        """Add built-in parts; needed only by a family whose parts hold parts of the same family."""
        for part in parts:
            kind = part.model_fields["kind"].default
            if kind in self.builtin:
                raise ValueError(f"two parts of the family {self.name!r} have the kind {kind!r}")
            self.builtin[kind] = part

    def __iter__(self) -> Iterator[tuple[str, type[Part]]]:
        return iter((self.builtin | self._installed[0]).items())

    def __getitem__(self, kind: str) -> type[Part]:
        return self.resolve(kind)

    @property
    def broken(self) -> list[str]:
        """A sentence for each part that a package offers and that cannot be used."""
        return self._installed[1]

    def offered_by(self, kind: str) -> str:
        """Return which packages offer a part that is not built in."""
        names = sorted({repr(point.dist.name) for point in self._offers[kind] if point.dist})
        return f"package{'s' * (len(names) > 1)} {' and '.join(names) or 'of unknown name'}"

    @cached_property
    def _offers(self) -> dict[str, list[EntryPoint]]:
        """What packages offer, by entry-point name, not loaded: more than one where they disagree."""
        offers: dict[str, list[EntryPoint]] = {}
        for group in (*self._groups, *self._shared):
            for point in entry_points(group=group):
                same = offers.setdefault(point.name, [])
                if point.value not in [other.value for other in same]:
                    same.append(point)
        return offers

    @cached_property
    def _installed(self) -> tuple[dict[str, type[Part]], list[str]]:
        """The parts that packages offer, by kind, and a sentence for each of the others."""
        sound: dict[str, type[Part]] = {}
        broken = []
        for kind, points in self._offers.items():
            try:
                part = self._offered(kind)
                part.model_json_schema()
                sound[kind] = part
            except (PydanticCustomError, PydanticUserError) as error:
                if any(point.group in self._groups for point in points):
                    broken.append(str(error).splitlines()[0])
        return sound, broken

    def resolve(self, kind: str) -> type[Part]:
        """Return the class behind a kind.

        Raises:
            PydanticCustomError: the kind is unknown, and the message names the nearest known one; or whoever
                offers it has made a mistake, and the message names the package.
        """
        if kind in self.builtin:
            return self.builtin[kind]
        if kind in self._offers:
            return self._offered(kind)
        if ":" in kind:
            return self._imported(kind)
        known = self._known
        raise _bad(f"unknown kind {kind!r}{nearest(kind, known)} (known: {', '.join(known)})")

    @property
    def _known(self) -> list[str]:
        return list(dict.fromkeys([*self.builtin, *self._offers]))

    def _offered(self, kind: str) -> type[Part]:
        point, *others = self._offers[kind]
        offer = f"{self.offered_by(kind)} offer{'' if others else 's'} {kind!r} ({point.group})"
        if kind in self.builtin:
            raise _bad(f"{offer}, but it is built in; name the part by its place: kind = {point.value!r}")
        if others:
            places = " or ".join(repr(one.value) for one in (point, *others))
            raise _bad(f"{offer}, each its own; name the part by its place: kind = {places}")
        try:
            part = self._imported(point.value, installed=True)
        except PydanticCustomError as error:
            raise _bad(f"{offer}, but {error}") from error
        own = part.model_fields["kind"].get_default()
        if own not in (kind, PydanticUndefined):
            raise _bad(
                f"{offer}, but {point.value!r} is of kind {own!r}, which its entry point is to be called"
            )
        return part

    def _imported(self, place: str, installed: bool = False) -> type[Part]:
        try:
            found = imported(place, installed)
        except InputError as error:
            raise _bad(str(error)) from error
        if not (isinstance(found, type) and issubclass(found, self._bases)):
            bases = " or ".join(f"{base.__module__}.{base.__name__}" for base in self._bases)
            raise _bad(f"{place!r} is not a subclass of {bases}")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise _bad(f"{place!r} does not define {', '.join(missing)}")
        return found

    def validate(self, value: Any) -> Part:
        """Turn a table of a scenario file into a part."""
        if isinstance(value, self.base):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise _bad(f'expected a table with kind = "..." (known: {", ".join(self._known)})')
        named = value["kind"]
        part = self.resolve(named)
        own = part.model_fields["kind"].get_default()
        if own in (named, PydanticUndefined):
            return part.model_validate(value)
        # A stranger's part may have a literal of its own; the name in the file is the one that is kept.
        return part.model_validate(value | {"kind": own}).trusted_copy({"kind": named})

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # A mark, not the parts themselves: a part may hold parts of its own family. `schema.py` resolves it.
        return {FAMILY_MARK: self.name}


def _bad(sentence: str) -> PydanticCustomError:
    # As an argument, not as the template: a name may hold braces.
    return PydanticCustomError("bad_part", "{sentence}", {"sentence": sentence})

"""Interchangeable parts: the configuration is the component.

A *part* is a frozen pydantic model with a literal ``kind``; its fields are its settings and its methods are
pure. A *family* is a readable list of parts (delays, algorithms, optimizers, ...). A stranger's part joins
through a Python entry point of the group ``fedsim.<family>``, or is named in a scenario file as
``kind = "package.module:ClassName"``. Tables of a scenario that are no parts derive from `Strict` as well.
Figures are no parts, and join in the same two ways.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined, core_schema

from fedsim.errors import InputError, nearest

FAMILY_MARK = "x-fedsim-family"

T = TypeVar("T")


def offered(
    family: str, taken: Container[str], check: Callable[[Any, str], T], name: str | None = None
) -> dict[str, T]:
    """Return what installed packages offer to a family, by the names of their entry points.

    Args:
        family: the group of the entry points is ``fedsim.<family>``.
        taken: the names of what is built in.
        check: returns what was found at a place, or raises an error that says what is wrong with it.
        name: the only one that is asked for; the others are not imported.

    Raises:
        InputError: one of them cannot be imported, is not what it should be, or has a name that is taken.
    """
    found: dict[str, T] = {}
    for point in entry_points(group=f"fedsim.{family}"):
        if name not in (None, point.name):
            continue
        try:
            if point.name in taken or point.name in found:
                raise InputError(f"the name {point.name!r} is taken")
            found[point.name] = check(point.load(), point.value)
        except Exception as error:  # a stranger's module may fail in any way
            package = point.dist.name if point.dist else point.module
            why = _first_line(error)
            raise InputError(
                f"the installed package {package!r} offers a broken part (fedsim.{family}): {why}"
            ) from error
    return found


def imported(place: str) -> Any:
    """Return what lies at a place: ``package.module:name``, or ``package.module:``, the module itself.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return resolve_name(place)
    except Exception as error:  # a stranger's module may fail in any way
        raise InputError(f"cannot import {place!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class Strict(BaseModel):
    """What every table of a scenario is: frozen, no unknown keys, no NaN or infinity.

    Types are taken literally: a string or a boolean is no number. Only a whole number may stand for a float.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

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
        """Return a copy with other settings; nothing that was worked out from the old ones goes along."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]  # a cached property
        return copied


class OrFalse:
    """Marks a field that holds a table, or false: then what the table is about is switched off."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        table = next(one for one in get_args(source) if isinstance(one, type))
        return core_schema.no_info_wrap_validator_function(
            lambda value, inner: value if value is False else inner(value),
            handler.generate_schema(table),
            serialization=core_schema.wrap_serializer_function_ser_schema(
                lambda value, inner: value if value is False else inner(value)
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"const": False}]}


class Part(Strict):
    """A component of a scenario, named by its kind."""

    kind: str

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    @classmethod
    def source(cls) -> str:
        """Return what the docstring states after ``Source:``, on one line."""
        _, found, rest = (cls.__doc__ or "").partition("Source:")
        return " ".join(rest.split("\n\n")[0].split()) if found else ""


class Family:
    """A named list of parts, and the pydantic type of a field that takes any one of them."""

    def __init__(self, name: str, base: type[Part], *parts: type[Part]) -> None:
        self.name = name
        self.base = base
        self.builtin: dict[str, type[Part]] = {}
        self.add(*parts)

    def add(self, *parts: type[Part]) -> None:
        """Add built-in parts; needed only by a family whose parts hold parts of the same family."""
        for part in parts:
            kind = part.model_fields["kind"].default
            if kind in self.builtin:
                raise ValueError(f"two parts of the family {self.name!r} have the kind {kind!r}")
            self.builtin[kind] = part

    def __iter__(self) -> Iterator[tuple[str, type[Part]]]:
        return iter((self.builtin | self.installed).items())

    def __getitem__(self, kind: str) -> type[Part]:
        return self.resolve(kind)

    @cached_property
    def installed(self) -> dict[str, type[Part]]:
        """The parts that installed packages offer, by entry-point name.

        Raises:
            InputError: one of them cannot be imported, is no part of this family, or has a taken name.
        """
        return offered(self.name, self.builtin, self._checked)

    def resolve(self, kind: str) -> type[Part]:
        """Return the class behind a kind.

        Raises:
            PydanticCustomError: the kind is unknown; the message names the nearest known one.
        """
        if kind in self.builtin:
            return self.builtin[kind]
        if kind in self.installed:
            return self.installed[kind]
        if ":" in kind:
            try:
                return self._checked(imported(kind), kind)
            except InputError as error:
                raise _bad(str(error)) from error
        known = [*self.builtin, *self.installed]
        raise _bad(f"unknown kind {kind!r}{nearest(kind, known)} (known: {', '.join(known)})")

    def _checked(self, found: Any, kind: str) -> type[Part]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise _bad(f"{kind!r} is not a subclass of {self.base.__module__}.{self.base.__name__}")
        if missing := sorted(getattr(found, "__abstractmethods__", ())):
            raise _bad(f"{kind!r} does not define {', '.join(missing)}")
        return found

    def validate(self, value: Any) -> Part:
        """Turn a table of a scenario file into a part."""
        if isinstance(value, self.base):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise _bad(f'expected a table with kind = "..." (known: {", ".join(kind for kind, _ in self)})')
        named = value["kind"]
        part = self.resolve(named)
        own = part.model_fields["kind"].get_default()
        if own in (named, PydanticUndefined):
            return part.model_validate(value)
        # A stranger's part may have a literal of its own; the name in the file is the one that is kept.
        return part.model_validate(value | {"kind": own}).model_copy(update={"kind": named})

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

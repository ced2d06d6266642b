"""Interchangeable parts: the configuration is the component.

A *part* is a frozen pydantic model with a literal ``kind``; its fields are its settings and its methods are
pure. A *family* is a readable list of parts (delays, algorithms, optimizers, ...). A stranger's part joins
through a Python entry point of the group ``fedsim.<family>``, or is named in a scenario file as
``kind = "package.module:ClassName"``. Tables of a scenario that are no parts derive from `Strict` as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticUndefined, core_schema

from fedsim.errors import InputError, nearest

FAMILY_MARK = "x-fedsim-family"


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
        """The parts that other distributions offer, by entry-point name.

        Raises:
            InputError: one of them cannot be imported or is no part of this family.
        """
        group = f"fedsim.{self.name}"
        try:
            return {
                point.name: self._checked(point.load(), point.value) for point in entry_points(group=group)
            }
        except Exception as error:  # a stranger's module may fail in any way
            raise InputError(f"an installed package offers a broken part ({group}): {error}") from error

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
            return self._imported(kind)
        known = [*self.builtin, *self.installed]
        raise _bad(f"unknown kind {kind!r}{nearest(kind, known)} (known: {', '.join(known)})")

    def _imported(self, kind: str) -> type[Part]:
        module, _, name = kind.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except Exception as error:  # a stranger's module may fail in any way
            why = (str(error) or type(error).__name__).splitlines()[0]
            raise _bad(f"cannot import {kind!r}: {why}") from error
        return self._checked(found, kind)

    def _checked(self, found: Any, kind: str) -> type[Part]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise _bad(f"{kind!r} is not a subclass of {self.base.__module__}.{self.base.__name__}")
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

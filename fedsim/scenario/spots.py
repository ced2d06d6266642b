"""Which settings may stand at a place of a scenario's table, as far as the chosen kinds tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fedsim.catalog import Family, PathMark


@dataclass(frozen=True)
class Spot:
    """One place of a table."""

    field: FieldInfo | None = None
    """The setting that holds what stands here, alone or among others; none: the whole, or unknown."""
    root: type[BaseModel] | None = None
    """What the table is, where this is the whole of it."""
    free: bool = False
    """Whether a table of names that somebody has chosen stands here."""

    @property
    def known(self) -> bool:
        """Whether any setting is at this place."""
        return self.field is not None or self.root is not None

    @property
    def family(self) -> Family | None:
        """The parts that may stand here; none: no part."""
        return next((mark for mark in self._marks if isinstance(mark, Family)), None)

    @property
    def path(self) -> PathMark | None:
        """Whether a path stands here; none: it does not."""
        return next((mark for mark in self._marks if isinstance(mark, PathMark)), None)

    @property
    def is_kept(self) -> bool:
        """Whether a resolved scenario states the setting."""
        return self.field is not None and not self.field.exclude

    @property
    def may_be_none(self) -> bool:
        """Whether the setting may be without a value."""
        return self.field is not None and type(None) in get_args(self.field.annotation)

    @property
    def none_if_left_out(self) -> bool:
        """Whether leaving the setting out makes it none."""
        field = self.field
        return (
            field is not None
            and not field.is_required()
            and field.get_default(call_default_factory=True) is None
        )

    def model(self, value: Any) -> type[BaseModel] | None:
        """Return what the table that stands here is; none: nobody knows, or its keys are free."""
        if self.root is not None or self.free:
            return self.root
        if (family := self.family) is not None:
            try:
                return family.resolve(value["kind"])
            except (KeyError, TypeError, PydanticCustomError):
                return None
        models = [one for one in self._marks if isinstance(one, type) and issubclass(one, BaseModel)]
        return models[0] if models else None

    def inside(self, step: int | str, value: Any) -> Spot:
        """Return the place one step further in.

        Args:
            step: a key, or a number in a list.
            value: what stands here: its kind tells which settings there are.
        """
        # A number is a place in the list that the field holds, and a free name one in its table.
        if isinstance(step, int) or self.free:
            return Spot(self.field)
        model = self.model(value)
        field = model.model_fields.get(step) if model else None
        return Spot(field, free=field is not None and _is_free(field.annotation))

    @property
    def _marks(self) -> list[Any]:
        """What the field's annotation is made of, its marks included."""
        return [] if self.field is None else [*self.field.metadata, *_leaves(self.field.annotation)]


def _is_free(annotation: Any) -> bool:
    """Whether an annotation is that of a table with free names."""
    return get_origin(annotation) is dict or any(get_origin(one) is dict for one in get_args(annotation))


def _leaves(annotation: Any) -> list[Any]:
    """Return what an annotation is made of: ``tuple[Annotated[X, mark], ...] | None`` gives X, mark, ..."""
    inner = get_args(annotation)
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [annotation]

"""Times at which something is down: an LLM service, a link."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from fedsim.catalog import Strict


class Outage(Strict):
    """A stretch of time, [`start_s`, `stop_s`), in which something is down."""

    start_s: float = Field(ge=0)
    stop_s: float = Field(gt=0)

    @field_validator("stop_s")
    @classmethod
    def _in_order(cls, stop_s: float, info: ValidationInfo) -> float:
        start_s = info.data.get("start_s", 0.0)
        if stop_s <= start_s:
            raise ValueError(f"found {stop_s:g}, expected more than start_s = {start_s:g}")
        return stop_s


def _one_after_the_other(outages: tuple[Outage, ...]) -> tuple[Outage, ...]:
    for number, (before, after) in enumerate(pairwise(outages), start=1):
        if after.start_s < before.stop_s:
            raise ValueError(
                f"found start_s = {after.start_s:g} in outage {number}, expected at least "
                f"{before.stop_s:g}, when the one before it ends"
            )
    return outages


Outages = Annotated[tuple[Outage, ...], AfterValidator(_one_after_the_other)]
"""In order of time, none of them overlapping; one may begin where the one before it ends."""

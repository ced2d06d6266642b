"""Black boxes, one a file: who answers a prompt."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.models.base import BlackBox
from fedsim.icl.models.surrogate import Surrogate

MODELS = Family("models", BlackBox, Surrogate)
AnyModel = Annotated[BlackBox, MODELS]

__all__ = ["MODELS", "AnyModel", "BlackBox"]

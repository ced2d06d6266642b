"""Poisoned demonstrations, one kind a file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.poison.base import Poison
from fedsim.icl.poison.flipped_labels import FlippedLabels
from fedsim.icl.poison.injected_instruction import InjectedInstruction
from fedsim.icl.poison.off_topic import OffTopic

POISONS = Family("poisons", Poison, FlippedLabels, OffTopic, InjectedInstruction)
AnyPoison = Annotated[Poison, POISONS]

__all__ = ["POISONS", "AnyPoison", "Poison"]

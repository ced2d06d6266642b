"""Optimizers of the worker's variables, one per file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.optimizers.sgd import Sgd

OPTIMIZERS = Family("optimizers", Optimizer, Sgd, Adam)
AnyOptimizer = Annotated[Optimizer, OPTIMIZERS]

__all__ = ["OPTIMIZERS", "AnyOptimizer", "Optimizer"]

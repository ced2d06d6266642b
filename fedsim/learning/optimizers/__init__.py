"""Optimizers of the worker's variables, one per file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family, Strict
from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.optimizers.adamw import AdamW
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.optimizers.sgd import Sgd

OPTIMIZERS = Family("optimizers", Optimizer, Sgd, Adam, AdamW)
AnyOptimizer = Annotated[Optimizer, OPTIMIZERS]


class Optimized(Strict):
    """What algorithms share whose workers step their p and q along gradients."""

    optimizer: AnyOptimizer = Adam(learning_rate=2e-3)
    """How workers step their p and q, before the projection. The AsynDBT paper's text says Adam with 1e-4,
    which in 500 updates leaves the distributions close to uniform."""


__all__ = ["OPTIMIZERS", "AnyOptimizer", "Optimized", "Optimizer"]

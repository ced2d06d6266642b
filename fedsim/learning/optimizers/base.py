"""The interface of an optimizer: from a gradient to the step that is subtracted from the variables."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fedsim.answering import answers, count, number, refuse, tensor
from fedsim.catalog import Part

if TYPE_CHECKING:
    from torch import Tensor


def _step(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    found: Tensor = tensor(name, answer, tuple(given[0].shape), finite=False)
    if found.isnan().any() and not given[0].isnan().any():
        refuse(name, math.nan, "numbers")
    return found


class Optimizer(Part):
    """A rule that turns gradients into steps, for many jobs at once.

    The memory of a job between its steps is `n_moments` tables shaped like its variables, zero at the start,
    which the caller keeps and passes along.
    """

    learning_rate: float = Field(gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest Euclidean norm of a job's whole gradient table; a longer one is scaled back to it (BDPL: 3)."""

    @property
    @abstractmethod
    @answers(count())
    def n_moments(self) -> int:
        """How many moment tables a job needs."""

    @property
    @answers(number(0.0, 1.0))
    def shrinks(self) -> float:
        """The part of the variables that is taken away before a step is subtracted: 0, or a weight decay."""
        return 0.0

    @abstractmethod
    @answers(_step, copies=False)
    def step(self, gradient: Tensor, moments: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the step for a gradient that is clipped already; otherwise as `update`."""

    @answers(_step, copies=False)
    def update(self, gradient: Tensor, moments: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return what to subtract from the variables, (J, ...).

        The result may live in the memory of `gradient`, which must not be used afterwards.

        Args:
            gradient: (J, ...), one table per job.
            moments: `n_moments` tensors (J, ...), updated in place.
            count: (J,), the number of this step in its job's own history, from 1.
        """
        if self.clip_norm is not None:
            norms = gradient.flatten(1).norm(dim=1)
            gradient.mul_(per_job((self.clip_norm / norms).clamp_max_(1), gradient))
        return self.step(gradient, moments, count)


def shrunk(values: Tensor, optimizer: Optimizer) -> Tensor:
    """Return the variables from which an optimizer subtracts its step: a new table where it shrinks them."""
    return values * (1 - optimizer.shrinks) if optimizer.shrinks else values


def per_job(values: Tensor, table: Tensor) -> Tensor:
    """Return `values`, (J,), shaped to act on `table`, (J, ...), job by job."""
    return values.reshape(-1, *[1] * (table.dim() - 1))

"""Arithmetic that attacks on messages share; rows are (n, d), and everything is computed in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.errors import InputError
from fedsim.learning.device import from_numpy
from fedsim.learning.ties import sign


def colluding(row: Tensor, own: Tensor) -> Tensor:
    """Return the same row for each of the k workers, (k, d), of the type of `own`."""
    return row.to(own.dtype).repeat(len(own), 1)


def drawn(
    own: Tensor,
    draws: Sequence[np.random.Generator],
    sample: Callable[[np.random.Generator], NDArray[Any]],
) -> Tensor:
    """Return d numbers for each of the k workers, (k, d) float64, each row from the worker's own generator.

    Raises:
        InputError: there is not one generator for each worker.
    """
    if len(draws) != len(own):
        raise InputError(f"expected a random generator for each of the {len(own)} messages, got {len(draws)}")
    rows = np.empty(own.shape)
    for row, generator in zip(rows, draws, strict=True):
        row[:] = sample(generator).ravel()
    return from_numpy(rows)


def words(d: int, options: int | None) -> tuple[int, int]:
    """Return (M, N) of a flattened table of d = M N entries; without `options` it is one distribution.

    Raises:
        InputError: no M fits.
    """
    n_options = d if options is None else options
    if n_options < 1 or d % n_options:
        raise InputError(
            f"expected messages of whole distributions over {n_options} options, found {d} entries"
        )
    return d // n_options, n_options


def centred(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (d,) and what each row differs from it, (n, d)."""
    rows = rows.double()
    mean = rows.mean(0)
    return mean, rows - mean


def spread(differences: Tensor) -> Tensor:
    """Return the standard deviation of each coordinate, (d,), of n rows divided by n; 0 for a single row."""
    return differences.square().mean(0).sqrt()


def away(
    perturbation: Literal["std", "unit", "sign"], mean: Tensor, differences: Tensor, previous: Tensor
) -> Tensor:
    """Return the direction of a perturbation, (d,), of length 1, or zeros where it has none.

    Args:
        perturbation: against the spread of the rows, against their mean update, or against its signs.
        mean: of the rows, (d,).
        differences: of the rows from it, (n, d).
        previous: what the updates start from, (d,).
    """
    update = mean - previous
    against = {"std": spread(differences), "unit": update, "sign": sign(update)}[perturbation]
    return -torch.nn.functional.normalize(against, dim=0, eps=torch.finfo(against.dtype).tiny)

"""Noisy signs, as workers send them for privacy: the two mechanisms of `DpRsa`, which has the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedsim.learning.device import from_numpy
from fedsim.learning.ties import sign


def flipped(difference: Tensor, probability: float, draws: Sequence[np.random.Generator]) -> Tensor:
    """Return the signs, each turned round with the probability; that of 0 is a fair draw: (n, d) to (n, d).

    Args:
        difference: what the signs are of, (n, d).
        probability: of turning a sign round.
        draws: a generator of random numbers for each row.
    """
    d = difference.shape[1]
    uniforms = from_numpy(np.stack([draw.random(d) for draw in draws]))
    # The chance of +1: that of a turned -1, of an even toss, or of a +1 that is kept.
    chance = 0.5 + (0.5 - probability) * sign(difference).double()
    return torch.where(uniforms < chance, 1, -1).to(difference.dtype)


def noised(difference: Tensor, least_std: float, draws: Sequence[np.random.Generator]) -> Tensor:
    """Return the signs of the differences plus normal draws: (n, d) to (n, d).

    Args:
        difference: what the signs are of, (n, d).
        least_std: the standard deviation is the larger of this and two thirds of the difference.
        draws: a generator of random numbers for each row.
    """
    normals = from_numpy(np.stack([draw.standard_normal(difference.shape[1]) for draw in draws]))
    wide = difference.double()
    std = (wide.abs() * 2 / 3).clamp(min=least_std)
    return torch.where(wide + std * normals > 0, 1, -1).to(difference.dtype)

"""Min-max: no farther from any honest message than honest messages are from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class MinMax(MessageAttack):
    """All send one message, no farther from any known one than the largest distance between two of these.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and
    defenses for federated learning", NDSS 2021, the Min-Max attack: m = mean + gamma p with the largest gamma
    such that max_i |m - x_i| <= max_ij |x_i - x_j|. The paper (Algorithm 1) and its copies halve steps until
    gamma moves by less than a tolerance; here it is exact, the least of the larger roots of n quadratic
    equations. The paper perturbs gradients, which are updates: distances and std of models are the same, and
    the mean in its p is here that of the updates. Blades knows std alone, and gamma up to 5.
    """

    kind: Literal["min_max"] = "min_max"
    perturbation: Literal["std", "unit", "sign"] = "std"
    """The direction p: against the standard deviation of each coordinate, against the mean update, or against
    its signs."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        import torch

        from fedsim.learning.forging import away, centred, colluding

        mean, differences = centred(self.known(own, honest))
        direction = away(self.perturbation, mean, differences, previous)
        # |mean + t u - x_i|^2 = t^2 - 2 t u'c_i + |c_i|^2 with c_i = x_i - mean and |u| = 1
        along = differences @ direction
        widest = torch.cdist(differences, differences).max()
        room = (along.square() + widest.square() - differences.square().sum(1)).clamp(min=0)
        return colluding(mean + (along + room.sqrt()).min() * direction, own)

"""Min-sum: no larger a sum of squared distances to honest messages than an honest message has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class MinSum(MessageAttack):
    """All send one message, whose sum of squared distances is the largest that a known message has.

    Source: Shejwalkar and Houmansadr, "Manipulating the Byzantine: optimizing model poisoning attacks and
    defenses for federated learning", NDSS 2021, the Min-Sum attack: m = mean + gamma p with the largest gamma
    such that sum_i |m - x_i|^2 <= max_i sum_j |x_i - x_j|^2. The paper (Algorithm 1) and its copies halve
    steps until gamma moves by less than a tolerance; here it is exact: the sum is n |m - mean|^2 plus what
    does not depend on m, so gamma |p| is the largest distance of a known message from the mean. The paper
    perturbs gradients, which are updates: distances and std of models are the same, and the mean in its p is
    here that of the updates.
    """

    kind: Literal["min_sum"] = "min_sum"
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
        from fedsim.learning.forging import away, centred, colluding

        mean, differences = centred(self.known(own, honest))
        direction = away(self.perturbation, mean, differences, previous)
        return colluding(mean + differences.norm(dim=1).max() * direction, own)

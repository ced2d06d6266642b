"""A little is enough (ALIE): forged messages inside the spread of honest ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Alie(MessageAttack):
    """All send the mean of known messages less some standard deviations: a little is enough.

    Where k of the k + n rows of a step are forged, s = floor((k + n) / 2 + 1) - k honest ones would make
    a majority with them, and z_max is where the normal distribution function reaches (n - s) / n: about s
    honest rows are still farther out. For few malicious workers that is below 0; they send the mean. A
    malicious majority needs nobody; we then count one supporter, since the formula has no bound there.

    Source: Baruch, Baruch and Goldberg, "A little is enough: circumventing defenses for distributed
    learning", NeurIPS 2019, Algorithm 3, but less the deviations, as implementations do for gradients. The
    paper's messages are gradients; the mean and deviation of models are those of the updates, moved by the
    consensus. The deviation divides by the number of rows, so one row has 0; ByzFL and Blades divide by one
    less. ByzFL adds a fixed 1.5 deviations, Blades adds z_max of them; some take (k + n - s) / (k + n). The
    paper's attackers know their own data only.
    """

    kind: Literal["alie"] = "alie"
    z_max: float | None = Field(default=None, ge=0)
    """How many standard deviations; None: by the quantile, from k and the n that `forge` is given. Set it
    where the server combines more rows than those: with ``knowledge = "own"`` they are the step's alone."""

    def deviations(self, k: int, n: int) -> float:
        """Return z_max for k forged and n honest rows."""
        if self.z_max is not None:
            return self.z_max
        supporters = max(1, (k + n) // 2 + 1 - k)
        return NormalDist().inv_cdf((n - supporters) / n) if n > 2 * supporters else 0.0

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        from fedsim.learning.forging import centred, colluding, spread

        mean, differences = centred(self.known(own, honest))
        return colluding(mean - self.deviations(len(own), len(honest)) * spread(differences), own)

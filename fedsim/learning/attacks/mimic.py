"""Copies of one honest message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TIE = 1e-9
"""Projections with a smaller relative difference are equal: two rows, for example, are always equally far."""


class Mimic(MessageAttack):
    """All send a copy of one honest message, which then weighs more than others: no check can find it.

    They copy the message that is farthest out, to either side of the mean, in the direction in which known
    messages vary most; of several such messages, the first.

    Source: Karimireddy, He and Jaggi, "Byzantine-robust learning on heterogeneous datasets via bucketing",
    ICLR 2022, the mimic attack: i* of largest projection on the direction z of largest variance. There z is
    learned over a warm-up by Oja's rule, and then i* is kept; here both are found in each step, exactly,
    because steps need not bring the same workers. Their code does not centre projections, and looks to one
    side. ByzFL's `Mimic` copies a row of fixed number. The paper's attackers know all: ``knowledge = "all"``.
    """

    kind: Literal["mimic"] = "mimic"
    row: int | None = Field(default=None, ge=0)
    """Copy instead the known message of this number, from 0 in order of arrival, counted round where there
    are fewer."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        from fedsim.learning.forging import colluding

        known = self.known(own, honest)
        row = farthest_out(known) if self.row is None else self.row % len(known)
        return colluding(known[row], own)


def farthest_out(rows: Tensor) -> int:
    """Return the number of the row with the largest projection, (n, d) to 0 ... n - 1."""
    import torch

    from fedsim.learning.forging import centred

    _, differences = centred(rows)
    largest = float(differences.abs().max())
    if not 0 < largest < float("inf"):  # equal rows, or what another attack has made senseless
        return 0
    differences /= largest
    # With differences C = U S V', the projections C v on the first of V are the first of U, stretched.
    projections = torch.linalg.eigh(differences @ differences.T).eigenvectors[:, -1].abs()
    return int((projections >= (1 - TIE) * projections.max()).nonzero()[0])

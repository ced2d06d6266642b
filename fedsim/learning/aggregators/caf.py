"""The covariance-bound-agnostic filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor


SMALL = 100
"""Rows up to which all eigenvectors are computed; beyond, the top one alone, by Lanczos' method."""
TOLERANCE = 1e-4
"""The relative error of the top eigenvalue then: a direction of nearly the largest variance does as well."""


class Caf(Tolerant):
    """A weighted mean: rows lose weight as they stick out in the direction in which rows vary most.

    All rows start with weight 1. Each round takes the weighted mean mu and the top eigenvector v of the
    weighted covariance, and multiplies weights by ``1 - tau_i / tau_max``, ``tau_i = ((x_i - mu) . v)^2``,
    until at most m - 2f of their sum is left. The result is the mean of the round in which the top eigenvalue
    was least. With f = 0 that is the plain mean. The maximum is over rows that still have weight, so each
    round takes out one row at least; over all rows, one that is out already and far away would leave the
    others' weights as they are, and the filter would hardly move. Where each Byzantine row is far out in a
    direction of its own, it takes one round for each.

    Source: Allouah, Guerraoui, Stephan, "Towards trustworthy federated learning with untrusted participants",
    ICML 2025, Algorithm 2 (CAF). ByzFL's takes the maximum over all rows, makes one step of the power method
    from a random start in place of the eigenvector, so that two calls differ, and returns nothing for f = 0.
    """

    kind: Literal["caf"] = "caf"

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        from fedsim.learning.distances import framed, inner_products

        products = inner_products(framed(rows).points)  # all that is needed of the d coordinates
        m, c = len(rows), products.new_ones(len(rows))
        least, chosen = torch.inf, c / m
        while c.sum() > m - 2 * self.f and least > 0:  # at 0, the rows that have weight are equal
            share = c / c.sum()
            with_mean = products @ share
            # (x_i - mu) . (x_j - mu)
            centred = products - with_mean.unsqueeze(1) - with_mean + share @ with_mean
            top, root_tau = _along_the_top(centred, share)
            if top < least:
                least, chosen = top, share
            c = c * (1 - (root_tau / root_tau.max()) ** 2)
        return chosen @ rows.double()


def _along_the_top(centred: Tensor, share: Tensor) -> tuple[float, Tensor]:
    """Return the top eigenvalue of the weighted covariance, and the square root of tau up to a factor, (m,),
    0 for rows without weight.

    The covariance, ``Y^T Y`` with rows ``y_i = sqrt(share_i) (x_i - mu)``, is (d, d). ``Y Y^T``, (m, m), has
    the same eigenvalues, and an eigenvector u of it gives ``v = Y^T u`` up to its length.

    Args:
        centred: the products ``(x_i - mu) . (x_j - mu)``, (m, m).
        share: the weights, (m,), of sum 1.
    """
    root = share.sqrt()
    value, u = _top_eigenpair(root.unsqueeze(1) * centred * root)
    return value, (centred @ (root * u)).abs() * (share > 0)


def _top_eigenpair(matrix: Tensor) -> tuple[float, Tensor]:
    """Return the top eigenvalue and eigenvector, (m,), of a symmetric matrix, (m, m)."""
    import numpy as np
    import torch
    from scipy.sparse.linalg import LinearOperator, eigsh

    from fedsim.learning.device import from_numpy, to_numpy

    if len(matrix) <= SMALL:
        values, vectors = torch.linalg.eigh(matrix)
        return float(values[-1]), vectors[:, -1]
    # Without a start of ours, ARPACK would draw one at random.
    start = np.cos(np.arange(len(matrix)))
    product = LinearOperator(
        matrix.shape, lambda u: to_numpy(matrix @ from_numpy(u).view(-1)), dtype=np.float64
    )
    top, found = eigsh(product, k=1, v0=start, tol=TOLERANCE)
    return float(top[0]), from_numpy(found[:, 0])

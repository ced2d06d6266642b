"""The lower-level problem as cutting planes, one polyhedron a word position.

Cut l of word i says ``sum_v a_il^(v) . p_i^(v) + b_il . z_i + c_il <= 0`` (AsynDBT paper, (15)). Cuts are
kept in columns: column l holds the cuts that one update made, at most one a word; `alive` tells for which
words it holds one. The cuts of other words in that column are zero and their multipliers stay zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fedsim.algorithms.dbt.settings import PolyhedronSettings
from fedsim.learning.chunks import chunks
from fedsim.learning.ties import sign


@dataclass(frozen=True)
class Polyhedron:
    """Cuts in L columns for R workers, M words and N candidates; never changed once made."""

    a: Tensor
    """(R, M, L, N); whole numbers in int8 for the l1 norm."""
    b: Tensor
    """(M, L, N)"""
    c: Tensor
    """(M, L)"""
    alive: Tensor
    """(M, L) bool"""

    @classmethod
    def empty(cls, n_workers: int, m_words: int, n_vocab: int, norm: str) -> Polyhedron:
        """Return no cuts at all: the whole space."""
        kind = torch.int8 if norm == "l1" else torch.float64
        return cls(
            torch.zeros(n_workers, m_words, 0, n_vocab, dtype=kind),
            torch.zeros(m_words, 0, n_vocab, dtype=torch.float64),
            torch.zeros(m_words, 0, dtype=torch.float64),
            torch.zeros(m_words, 0, dtype=torch.bool),
        )

    @cached_property
    def columns(self) -> int:
        """L, the number of columns."""
        return self.c.shape[1]

    @cached_property
    def b_by_candidate(self) -> Tensor:
        """b as (M, N, L): a view."""
        return self.b.transpose(1, 2)

    def count(self) -> int:
        """Return the number of cuts."""
        return int(self.alive.sum())

    def pull(self, rows: Tensor, multipliers: Tensor) -> Tensor:
        """Return ``sum_l lambda_il a_il^(v)`` of (23) for J workers: (J, M, L) multipliers to (J, M, N)."""
        pulls = [
            torch.matmul(multipliers[part].unsqueeze(2), self._floats(rows[part]))
            for part in chunks(len(rows), self.a[0].numel())
        ]
        return torch.cat(pulls).squeeze(2)

    def weights(self, rows: Tensor, change: Tensor) -> Tensor:
        """Return ``a_il^(v) . change_i^(v)`` for J workers: (J, M, N) to (J, M, L)."""
        products = [
            # A row times a matrix: four times faster here than the matrix times a column.
            torch.matmul(change[part].unsqueeze(2), self._floats(rows[part]).transpose(2, 3))
            for part in chunks(len(rows), self.a[0].numel())
        ]
        return torch.cat(products).squeeze(2)

    def along(self, rows: Tensor, change: Tensor) -> Tensor:
        """Return ``sum_v a_il^(v) . change_i^(v)``: (J, M, N) to (M, L)."""
        return self.weights(rows, change).sum(0)

    def _floats(self, rows: Tensor) -> Tensor:
        """Return the coefficients of some workers, (J, M, L, N) float64."""
        # index_select copies whole rows; indexing a table of int8 by a tensor goes number by number.
        return self.a.index_select(0, rows).to(self.b.dtype)


def gap(p: Tensor, z: Tensor, phi_p: Tensor, phi_z: Tensor, norm: str, consensus: bool) -> Tensor:
    """Return h_i of (5) for every word: (n, M, N) and (M, N) to (M,).

    Args:
        p: the participants' variables.
        z: their consensus.
        phi_p: the estimate of the lower solution for the participants.
        phi_z: and for the consensus.
        norm: ``"l1"`` or ``"squared_l2"``.
        consensus: whether z counts; it does not in the centralised form.
    """
    power = 1 if norm == "l1" else 2
    h = (p - phi_p).abs().pow(power).sum((0, 2))
    return h + (z - phi_z).abs().pow(power).sum(1) if consensus else h


def subgradient(x: Tensor, phi: Tensor, norm: str) -> Tensor:
    """Return a subgradient of h at x, (31) and (32)."""
    difference = x - phi
    if norm == "squared_l2":
        return 2 * difference
    return sign(difference)


@dataclass(frozen=True)
class NewCuts:
    """The cuts one update makes: one column."""

    a: Tensor
    """(n, M, N), for the participants"""
    b: Tensor
    """(M, N)"""
    c: Tensor
    """(M,)"""
    alive: Tensor
    """(M,) bool: the words that get a cut"""
    h: Tensor
    """(M,), the gap"""


def new_cuts(
    p: Tensor, z: Tensor, phi_p: Tensor, phi_z: Tensor, settings: PolyhedronSettings, consensus: bool = True
) -> NewCuts:
    """Make the cuts (31)-(33) at the point (p, z), from the estimate phi of the lower solution."""
    h = gap(p, z, phi_p, phi_z, settings.norm, consensus)
    a = subgradient(p, phi_p, settings.norm)
    b = subgradient(z, phi_z, settings.norm) if consensus else torch.zeros_like(z)
    tolerance = settings.epsilon if settings.epsilon_in_cut else 0.0
    c = h - tolerance - (a * p).sum((0, 2)) - (b * z).sum(1)
    alive = h > settings.epsilon if settings.only_if_violated else torch.ones_like(h, dtype=torch.bool)
    return NewCuts(a * alive[:, None], b * alive[:, None], c * alive, alive, h)


def without(polyhedron: Polyhedron, dropped: Tensor) -> tuple[Polyhedron, Tensor]:
    """Drop cuts, (M, L) bool; return the rest and the columns kept, (L',) long.

    A column in which no word has a cut any more is taken out; in the others the dropped cuts become zero.
    """
    alive = polyhedron.alive & ~dropped
    kept = alive.any(0).nonzero().squeeze(1)
    alive = alive[:, kept]
    zero = alive[..., None]
    a = polyhedron.a[:, :, kept] * zero
    return Polyhedron(a, polyhedron.b[:, kept] * zero, polyhedron.c[:, kept] * alive, alive), kept


def extended(polyhedron: Polyhedron, new: NewCuts, rows: Tensor) -> Polyhedron:
    """Return the polyhedron with one more column; workers not in `rows` take no part in its cuts."""
    n_workers, m_words, _, n_vocab = polyhedron.a.shape
    a = torch.zeros(n_workers, m_words, 1, n_vocab, dtype=polyhedron.a.dtype)
    a[rows, :, 0] = new.a.to(a.dtype)
    return Polyhedron(
        torch.cat([polyhedron.a, a], 2),
        torch.cat([polyhedron.b, new.b[:, None]], 1),
        torch.cat([polyhedron.c, new.c[:, None]], 1),
        torch.cat([polyhedron.alive, new.alive[:, None]], 1),
    )

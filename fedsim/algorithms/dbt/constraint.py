"""How a run fares with its constraint, h <= epsilon (14): whether the cuts have constrained anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsim.algorithms.dbt.lagrangian import Multipliers
from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.algorithms.dbt.settings import MOST
from fedsim.learning.ties import TIE


@dataclass(frozen=True)
class Constraint:
    """What became of h <= epsilon so far, word by word.

    A small h alone proves nothing: where the inner loop hardly moves, phi is where the variables are, and h
    is small from the start. A word has *met* the constraint if its h was above epsilon, a multiplier of its
    cuts then left 0, and its h is within epsilon at the last polyhedron update.
    """

    epsilon: float
    h: Tensor
    """(M,), at the last polyhedron update; NaN before the first."""
    above: Tensor
    """(M,) bool: h has been above epsilon."""
    worked: Tensor
    """(M,) bool: after that a multiplier was above 0."""
    open: bool = False
    """Whether there is a word that has been above epsilon and whose multipliers have stayed at 0."""

    @classmethod
    def at_start(cls, m_words: int, epsilon: float) -> Constraint:
        """Return that of a run without a polyhedron update yet."""
        nothing = torch.zeros(m_words, dtype=torch.bool)
        return cls(epsilon, torch.full((m_words,), math.nan, dtype=torch.float64), nothing, nothing)

    def updated(self, h: Tensor) -> Constraint:
        """Return it after a polyhedron update that found these gaps, (M,)."""
        above = self.above | (h > self.epsilon)
        return replace(self, h=h, above=above, open=bool((above & ~self.worked).any()))

    def stepped(self, multipliers: Tensor) -> Constraint:
        """Return it after a step of the multipliers, which are now these, (M, L)."""
        if not self.open:
            return self
        worked = self.worked | (self.above & (multipliers > TIE).any(1))
        return replace(self, worked=worked, open=bool((self.above & ~worked).any()))

    def measured(self, polyhedron: Polyhedron, multipliers: Multipliers) -> dict[str, float]:
        """Return the measurements of a run with cuts.

        ``h_over_epsilon``: mean over the words of h / epsilon at the last polyhedron update (NaN: epsilon is
        0). ``words_within_epsilon``: the share of the words with h <= epsilon there. Both are NaN before the
        first update. ``multipliers_above_0``: the share of the multipliers above 0; NaN where there is no
        cut. ``multiplier_max``: the largest one, 0 where there is no cut. ``constraint_met``: 1 if most words
        have met the constraint, else 0.
        """
        within = (self.h <= self.epsilon).double()
        count = polyhedron.count()
        above = float((multipliers.now > 0).sum())
        return {
            "h_over_epsilon": float(self.h.mean()) / self.epsilon if self.epsilon else math.nan,
            "words_within_epsilon": math.nan if self.h.isnan().any() else float(within.mean()),
            "multipliers_above_0": above / count if count else math.nan,
            "multiplier_max": float(multipliers.now.max()) if count else 0.0,
            "constraint_met": float((within * self.worked).mean() > MOST),
        }

"""The synchronous algorithm a second time, from the equations, in plain NumPy and one word at a time.

Source: Ma et al., AsynDBT, Scientific Reports 16:9381 (2026), (7)-(33) with S = R, plain gradient steps and
epsilon inside c; equation numbers below are the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Cut:
    """One cut of one word: ``sum_v a[v] . p[v] + b . z + c <= 0``."""

    a: Array
    b: Array
    c: float
    multiplier: float = 0.0
    before: float = np.inf

    def value(self, p: Array, z: Array) -> float:
        return sum(float(self.a[v] @ p[v]) for v in range(len(p))) + float(self.b @ z) + self.c


@dataclass
class Reference:
    """State and step of R workers; P is (R, M, N), Q (R, U, V), z (M, N)."""

    grad_f: Callable[[int, Array, Array], tuple[Array, Array]]
    grad_g: Callable[[int, Array, Array], Array]
    project: Callable[[Array], Array]
    P: Array
    Q: Array
    z: Array
    rate: float
    z_rate: float
    rate_multiplier: float
    c1: float
    inner_rate: float
    mu: float
    norm: str
    epsilon: float
    psi: float = 0.0
    below: float = 1e-10
    cuts: list[list[Cut]] = field(default_factory=list)
    dropped: int = 0

    def __post_init__(self) -> None:
        self.cuts = [[] for _ in self.z]

    def step(self) -> None:
        """(19)-(22): every worker, then z, then the multipliers."""
        R, M = len(self.P), len(self.z)
        new_P, new_Q = self.P.copy(), self.Q.copy()
        for v in range(R):
            by_p, by_q = self.grad_f(v, self.P[v], self.Q[v])
            for i in range(M):
                gradient = by_p[i].copy()
                for cut in self.cuts[i]:
                    gradient += cut.multiplier * cut.a[v]  # (23)
                gradient += self.psi * np.sign(self.P[v, i] - self.z[i])
                new_P[v, i] = self.project(self.P[v, i] - self.rate * gradient)  # (19)
            for u in range(len(by_q)):
                new_Q[v, u] = self.project(self.Q[v, u] - self.rate * by_q[u])  # (20)
        self.P, self.Q = new_P, new_Q
        for i in range(M):
            gradient = np.zeros_like(self.z[i])
            for cut in self.cuts[i]:
                gradient += cut.multiplier * cut.b  # (25)
            for v in range(R):
                gradient += self.psi * np.sign(self.z[i] - self.P[v, i])
            self.z[i] = self.project(self.z[i] - self.z_rate * gradient)  # (21)
            for cut in self.cuts[i]:
                slope = cut.value(self.P[:, i], self.z[i]) - self.c1 * cut.multiplier  # (26)
                cut.before = cut.multiplier
                cut.multiplier = max(0.0, cut.multiplier + self.rate_multiplier * slope)  # (22)

    def update_polyhedron(self, realised: Array, rounds: int) -> None:
        """Drop idle cuts, estimate phi by (8)-(13), and add cuts (28)-(33)."""
        R, M = len(self.P), len(self.z)
        p, z, rho = self.P.copy(), self.z.copy(), np.zeros_like(self.P)
        for _ in range(rounds):
            new_p = p.copy()
            for v in range(R):
                by_p = self.grad_g(v, p[v], realised[v])
                for i in range(M):
                    gradient = by_p[i] + rho[v, i] + self.mu * (p[v, i] - z[i])  # (11)
                    gradient += self.psi * np.sign(p[v, i] - z[i])
                    new_p[v, i] = self.project(p[v, i] - self.inner_rate * gradient)  # (8)
            p = new_p
            for i in range(M):
                gradient = np.zeros_like(z[i])
                for v in range(R):
                    part = -rho[v, i] + self.mu * (z[i] - p[v, i])  # (12)
                    gradient += np.clip(part, -self.psi, self.psi) if self.psi else part
                z[i] = self.project(z[i] - self.inner_rate * gradient)  # (9)
                for v in range(R):
                    rho[v, i] += self.inner_rate * (p[v, i] - z[i])  # (10), (13)
                    if self.psi:
                        rho[v, i] = np.clip(rho[v, i], -self.psi, self.psi)
        for i in range(M):
            kept = [c for c in self.cuts[i] if not (c.multiplier < self.below and c.before < self.below)]
            self.dropped += len(self.cuts[i]) - len(kept)
            self.cuts[i] = kept
            self._cut(i, p[:, i], z[i])

    def _cut(self, i: int, phi_p: Array, phi_z: Array) -> None:
        apart = [*(self.P[:, i] - phi_p), self.z[i] - phi_z]
        if self.norm == "l1":
            h = sum(np.abs(d).sum() for d in apart)  # (5)
            slopes = [np.where(np.abs(d) < 1e-12, 0.0, np.sign(d)) for d in apart]  # (31), (32)
        else:
            h = sum((d**2).sum() for d in apart)
            slopes = [2 * d for d in apart]
        if h > self.epsilon:
            a, b = np.array(slopes[:-1]), slopes[-1]
            c = h - self.epsilon - (a * self.P[:, i]).sum() - b @ self.z[i]  # (33) with (30)
            self.cuts[i].append(Cut(a, b, float(c)))


def project_row(y: Array) -> Array:
    """Return the projection on the simplex, by sorting (Held, Wolfe and Crowder, 1974)."""
    falling = np.sort(y)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(y) + 1)
    tau = excess[np.nonzero(falling > excess)[0][-1]]
    return np.maximum(y - tau, 0)

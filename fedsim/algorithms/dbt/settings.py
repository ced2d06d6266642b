"""The settings of the DBT family's update rules, free of torch so that scenarios load fast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators import AnyAggregator
from fedsim.learning.optimizers import Optimized
from fedsim.problems.base import RealisationRule


class Cuts(Strict):
    """When the polyhedron is updated, and who takes part."""

    every: int = Field(50, ge=1)
    """A barrier after step t (from 0) whenever t is a multiple of this."""
    every_updates: int | None = Field(None, ge=1)
    """In the place of `every`, an extension: a barrier after step 0, and after each step in which the worker
    updates since then, those that came to a barrier included, have come to a multiple of this or passed it.
    Synchronous steps of R workers have their barriers where `every` has them with this over R."""
    rounds: int = Field(5, ge=1, le=1_000_000)
    """K, inner rounds in each update."""
    stop_after: int | None = Field(None, ge=0)
    """T_1: no update from this step on; none: never stops."""
    participation: Literal["all", "active", "rolling"] = "all"
    """All workers (the paper's barrier), or only the active set: an extension that spares the barrier. With
    "rolling", another extension, nobody is stopped: steps go on, each round waits for S workers, and its jobs
    go to the next that ask for one. A worker then has a part in about K S / R of the rounds: choose fewer
    rounds and larger inner steps of p than behind a barrier."""
    restart: Literal["after", "before"] = "after"
    """When the active workers get their next job: after the update, as in the paper's Algorithm 1, or before
    its barrier (ADBO's code), which then waits for these jobs as well."""

    def idle(self) -> Mapping[str, str]:
        found = {"every": "worker updates are counted (every_updates)"} if self.every_updates else {}
        if self.participation != "all":
            found["restart"] = f'there is no barrier (participation = "{self.participation}")'
        return found


class PolyhedronSettings(Strict):
    """How cuts are made and dropped."""

    norm: Literal["l1", "squared_l2"] = "l1"
    """Norm of the gap h: l1 as printed in (5), or ADBO's squared l2."""
    epsilon: float = Field(0.05, ge=0)
    """Tolerance of the relaxation (14), of which the measurements say whether it was met."""
    epsilon_in_cut: bool = True
    """Whether c holds -epsilon, as (30) demands, or not, as (33) is printed."""
    only_if_violated: bool = True
    """Add a cut only where h > epsilon (the paper), or at every update (ADBO's code)."""
    drop: Literal["twice", "once", "never"] = "twice"
    """Drop a cut whose multiplier was below `drop_below` before and after the last step (the paper), after it
    (ADBO's code), or never."""
    drop_below: float = Field(1e-10, ge=0)

    def idle(self) -> Mapping[str, str]:
        return {"drop_below": 'no cut is dropped (drop = "never")'} if self.drop == "never" else {}


PenaltyNorm = Literal["l1", "l2", "linf"]
"""Which norm of p - z the penalty of RSA is made of."""


class RobustSettings(Strict):
    """The weight psi and where it acts. Without this table there is no robust term anywhere.

    psi weighs the penalty ``psi sum_v ||p^(v) - z||`` of RSA. Its slope s(p - z) pulls each worker's p
    towards z, and ``sum_v s(z - p^(v))`` pulls z towards the messages: what one message says, however large,
    moves z no further than one slope does.
    """

    psi: float = Field(0.1, gt=0)
    """Weight of the penalty. One message moves z in a step by at most (rate of z) x psi: in every coordinate
    for l1, in Euclidean length for l2, in the sum over coordinates for linf."""
    norm: PenaltyNorm = "l1"
    """The norm of the penalty, over all M N numbers of a message: RSA's p = 1, 2 or infinity. The slope is
    the signs of p - z for l1, p - z made of length 1 for l2, and the sign of the largest coordinate for linf
    (of all that are equally large, each with its share)."""
    outer: Literal["R0", "R1"] = "R1"
    """R0: no psi in (19) and (21), cuts alone tie p and z; R1: RSA's pull in both."""
    inner: Literal["R2", "R3", "R4"] = "R3"
    """z step of the inner loop. R2: (9) as printed, quadratic and dual terms of all messages beside the pull,
    not robust; R3: each message's quadratic and dual term clipped to +-psi a coordinate whatever the norm,
    rho as well, and no pull beside them; R4: the pull alone. Workers feel the pull in (8) in all three."""
    worker_sign: Literal["rsa", "printed"] = "rsa"
    """Sign of psi at the workers: towards z as in RSA, or away from it as (8) is printed."""
    project_messages: bool = True
    """Project every received p on the simplex: a legitimate message is a distribution."""


class InnerSettings(Strict):
    """Step sizes and penalty of the inner loop."""

    p_rate: float = Field(0.02, gt=0)
    z_rate: float = Field(0.02, ge=0)
    rho_rate: float = Field(0.02, ge=0)
    mu: float = Field(1.0, ge=0)
    start: Literal["current", "uniform", "consensus"] = "current"
    """Where the loop starts: at the current iterates (ADBO's code), at the starting point of the run, or with
    every p at z."""
    realisation: RealisationRule = "modal"
    """The demonstrations that the lower problem holds fixed."""


class MultiplierSettings(Strict):
    """The dual ascent on the cuts' multipliers lambda."""

    rate: float = Field(0.1, gt=0)
    c1: float = Field(0.4, gt=0)
    """The dual regulariser c_1; with a schedule, its floor. It damps the multipliers, and must outweigh the
    lag with which p and z follow them: too small, both circle with growing swings. By the linear theory it is
    enough from about (step size of p or z) x (numbers that a cut weighs) x (steps between reading and use).
    In `scenarios/features/quadratic.toml` a constant 0.4 settles, 0.1 circles, and 0.04 diverges."""
    schedule: Literal["constant", "decreasing"] = "decreasing"
    """The theory has ``1 / (rate (t + 1)^(1/4))``, here with a floor (Xu et al., "A unified single-loop
    alternating gradient projection algorithm", 2022): strongly damped while everything moves. ADBO's code has
    a constant, 0.04."""

    def regulariser(self, step: int) -> float:
        """Return c_1^t at server step t (from 0)."""
        if self.schedule == "constant":
            return self.c1
        return max(self.c1, 1 / (self.rate * (step + 1) ** 0.25))


class DbtAggregation(Aggregation):
    """How the server combines messages, in the place of the paper's sums; without this table it does not.

    In the outer step a rule takes the place of the psi term of (21), beside the pull of the cuts; the rows
    are the workers' p. In the inner loop it takes the place of (12) and its psi term in (9); the rows are
    ``p + rho / mu``, with which (12) is ``mu n (z - mean)``. How workers follow z is set in `robust`: with
    R1, (19) carries psi.
    """

    inner: AnyAggregator | None = None
    """The rule of a round of the inner loop. Of this and `outer`, none means: as `robust` says."""
    inner_rate: float = Field(1.0, gt=0, le=1)
    """How far z goes towards the combined value in an inner round."""
    rows: Literal["held", "active"] = "held"
    """What the outer step combines: the last message of every worker, or those of the active set alone. A
    filter needs ``"active"``."""

    @model_validator(mode="after")
    def _check_places(self) -> DbtAggregation:
        if self.outer is None and self.inner is None:
            raise ValueError("expected an aggregator in outer, in inner, or in both")
        if self.filter is not None and (self.rows != "active" or self.outer is None):
            raise ValueError('filter: needs outer, and rows = "active"')
        if self.inner is not None and self.inner.sends_signs:
            raise ValueError(f"inner: {self.inner.kind!r} is for the outer step alone")
        return self

    def idle(self) -> Mapping[str, str]:
        without_outer = {} if self.outer else dict.fromkeys(("outer_rate", "rows"), "there is no outer rule")
        return without_outer | ({} if self.inner else {"inner_rate": "there is no inner rule"})


MOST = 0.5
"""More than this share of the words is most of them."""

FEW_UPDATES = 5
"""With fewer polyhedron updates than this nothing can be said of the constraint."""

NO_PULL = 'psi pulls nowhere: not in a step (robust.outer = "R0"), and there are no cuts (cuts = false)'


class CommonRules(Optimized):
    """The update rules that the distributed forms and the centralised one share, beside (19) and (20).

    The defaults are our recommended reading of the papers.
    """

    cuts: Cuts | Literal[False] = Cuts()
    """When the polyhedron is updated; false: never."""
    multipliers: MultiplierSettings = MultiplierSettings()
    polyhedron: PolyhedronSettings = PolyhedronSettings()
    inner: InnerSettings = InnerSettings()

    def idle(self) -> Mapping[str, str]:
        off = "there are no cuts (cuts = false)"
        return {} if self.cuts else dict.fromkeys(("multipliers", "polyhedron", "inner"), off)

    def cautions(self, summary: Mapping[str, Any]) -> Sequence[str]:
        """Say that the constraint was not met, and that most updates of the polyhedron were left out."""
        return tuple(told for told in (self._unmet(summary), _left_out(summary)) if told)

    def _unmet(self, summary: Mapping[str, Any]) -> str:
        """Return that the run ended without having met its constraint, h <= epsilon (14).

        A run of few polyhedron updates had no time to meet it.
        """
        within = summary.get("words_within_epsilon", math.nan)
        if math.isnan(within) or summary["constraint_met"] or summary["ended"] == "diverged":
            return ""
        if summary["cut_updates"] < FEW_UPDATES:
            return ""
        if within <= MOST:
            times = summary["h_over_epsilon"]
            found = (
                f"is not met: at the last polyhedron update {within:.0%} of the words are within it, and h "
                f"is {times:.3g} epsilon on average"
            )
        else:
            found = (
                "was never at work: for most words h was not above epsilon before, or no multiplier left 0 "
                "after that; where the inner loop hardly moves, h is small whatever was learned"
            )
        return f"the constraint h <= epsilon {found}"


def _left_out(summary: Mapping[str, Any]) -> str:
    """Return that updates in the background took so long that most of those due were left out."""
    held, skipped = summary.get("cut_updates", 0), summary.get("skipped_cut_updates", 0)
    if skipped <= held:
        return ""
    return (
        f"{skipped} of {held + skipped} polyhedron updates were left out: one took longer than the next is "
        "away; cuts.every may be larger, or cuts.rounds smaller"
    )


class Rules(CommonRules):
    """All update rules of the distributed forms."""

    z_rate: float = Field(2e-3, ge=0)
    """Step size of (21)."""
    robust: RobustSettings | None = None
    """Regularised robust aggregation; none: R0 everywhere."""
    aggregation: DbtAggregation | None = None
    """Other rules to combine messages; none: the paper's."""

    @property
    def outer_rule(self) -> bool:
        """Whether a rule of its own combines the messages of a step, in the place of the psi term."""
        return self.aggregation is not None and self.aggregation.outer is not None

    @property
    def pulls_z(self) -> bool:
        """Whether psi pulls z towards the messages in a step."""
        return self.robust is not None and self.robust.outer == "R1" and not self.outer_rule

    def idle(self) -> Mapping[str, str]:
        found = dict(super().idle())
        if self.aggregation is not None and self.aggregation.inner is not None:
            found["inner.z_rate"] = "aggregation.inner takes the place of its step"
        if not self.cuts:
            off = "there are no cuts (cuts = false), and so no inner loop"
            if self.robust is not None:
                found["robust.inner"] = off
                if self.robust.outer == "R0":
                    found |= dict.fromkeys(("robust.psi", "robust.norm", "robust.worker_sign"), NO_PULL)
            if self.aggregation is not None:
                found |= dict.fromkeys(("aggregation.inner", "aggregation.inner_rate"), off)
            if not self.pulls_z:
                found["z_rate"] = "nothing moves z along a gradient: no cuts, no psi in the outer step"
        return found

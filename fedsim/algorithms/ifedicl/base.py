"""What both forms share: how workers calibrate coefficients, and what is compared with the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from fedsim.algorithms.base import Algorithm, Setting
from fedsim.learning.optimizers import AnyOptimizer
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import JobCost
from fedsim.problems.base import Offer
from fedsim.problems.injection.problem import InjectionProblem

EXTRACT, CALIBRATE = "extract", "calibrate"
"""The kinds of jobs."""

CONTROLS = {
    "accuracy_zero_vectors": "the same calibration with vectors of zero",
    "accuracy_zero_shot": "zero-shot",
    "accuracy_unbiased": "zero-shot without the model's bias for some labels (an oracle)",
}
"""What is measured beside every run, by the column of its accuracy."""


class Calibration(Algorithm):
    """A worker's first job takes its vectors, every other one makes E local steps on the coefficients.

    The optimizer's memory stays with the worker, also where the coefficients start anew at the server's.
    """

    asks: ClassVar[Offer] = "injection"
    beside: ClassVar[Mapping[str, str]] = CONTROLS

    optimizer: AnyOptimizer = Adam(learning_rate=0.05)
    """How workers step their coefficients. The single-client method's code has AdamW with 0.01, a weight
    decay of 0.001, and a warm-up and a cosine that are left out here."""
    local_steps: int = Field(default=1, ge=1, le=1_000_000)
    """E, steps of a job."""
    lambda_start: float = 0.1
    """What vectors are multiplied by at first."""
    beta_start: float = 1.0
    """What a module's own output is multiplied by at first; 0 and 1 together change nothing."""
    control: bool = True
    """Whether the same calibration is made with vectors of zero as well, from the same texts and noise: it
    costs as much again of this machine's time, and no simulated time. Its accuracy and loss are measured as
    ``accuracy_zero_vectors`` and ``loss_zero_vectors``."""

    def calibration_cost(self, setting: Setting) -> JobCost:
        """Return what a job of E steps costs."""
        return problem_of(setting).cost().repeated(self.local_steps)

    def cautions(self, summary: Mapping[str, Any]) -> Sequence[str]:
        """Say which controls the run does not beat."""
        reached = summary.get("accuracy")
        if reached is None:
            return ()
        told = []
        for column, what in CONTROLS.items():
            found = summary.get(column)
            if found is not None and reached <= found:
                told.append(f"{what} ({found:.4g})")
        return [f"accuracy {reached:.4g} is not above that of {' nor that of '.join(told)}"] if told else ()


def problem_of(setting: Setting) -> InjectionProblem:
    """Return the problem, which offers injection."""
    assert isinstance(setting.problem, InjectionProblem)
    return setting.problem

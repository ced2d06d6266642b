"""The single-client method, by each worker alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.algorithms.base import Bench, Setting
from fedsim.algorithms.ifedicl.base import CALIBRATE, EXTRACT, Calibration, problem_of
from fedsim.schedule import UNBOUNDED, Schedule, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.ifedicl.lone_calibrator import LoneCalibrator


class I2cl(Calibration):
    """Local I2CL: every worker takes vectors of its own and calibrates coefficients of its own.

    What federation is worth is what IFed-ICL gains over it. Nothing is exchanged: a worker starts its next
    job as soon as it has finished one, and a step takes no time. Loss and accuracy are means over the
    workers, each with its own vectors and coefficients.

    Source: Li et al., "Implicit in-context learning", ICLR 2025, per worker.
    """

    kind: Literal["i2cl"] = "i2cl"

    def schedule(self, setting: Setting) -> Schedule:
        extract = problem_of(setting).extraction_cost()._replace(bytes_up=0)
        calibrate = self.calibration_cost(setting)._replace(bytes_up=0, bytes_down=0)
        work = {EXTRACT: Work(extract), CALIBRATE: Work(calibrate)}
        return Schedule(Steps(1, UNBOUNDED), work, CALIBRATE, EXTRACT, alone=True)

    def open(self, bench: Bench) -> LoneCalibrator:
        from fedsim.algorithms.ifedicl.lone_calibrator import LoneCalibrator

        start = self.lambda_start, self.beta_start
        return LoneCalibrator(bench, self.optimizer, self.local_steps, start, self.control)

"""The six data sets of the AsynDBT paper: surrogate parameters fitted to four published accuracies each.

`published.csv` holds the paper's numbers, `parameters.toml` what `fit.py` found, `residuals.csv` how far the
fitted accuracies are from the published ones. Only the targets named there were fitted; every other accuracy
of these tasks is a prediction.
"""

from fedsim.icl.tasks.calibrated.part import NAMES, Calibrated

__all__ = ["NAMES", "Calibrated"]

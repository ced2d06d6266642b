"""The six data sets of the AsynDBT paper: surrogate parameters fitted to four published accuracies each.

`published.csv` holds the paper's numbers (Tables 2, 3 and 4; standard deviations where it prints them),
`parameters.toml` what `fedsim_analysis.fitting.calibrated` found, `residuals.csv` how far the accuracies of
the closed form are from the published ones, on training data that the fit did not see. Only the targets that
are called fitted there were fitted; every other accuracy of these tasks is held out.
"""

from fedsim.icl.tasks.calibrated.part import NAMES, Calibrated

__all__ = ["NAMES", "Calibrated"]

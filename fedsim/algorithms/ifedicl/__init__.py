"""IFed-ICL and its single-client form: vectors taken from a model once, and a few coefficients calibrated.

`base` has the settings of both, a `Workshop` what workers compute. `Calibrator` is the learning half of the
federated form, `LoneCalibrator` that of workers alone, and a `Recaller` that of a task which is known
already.
"""

"""Where fitted numbers come from: the calibrated tasks, a surrogate of a real model, laws of latency.

Nothing here runs in a simulation: what is fitted is committed, or written to a file that a scenario names.
"""

"""Federated averaging: workers make local steps from the server's theta, and the server averages them.

`base` is what all methods share, an `Averager` is the learning half; a method says how the server steps.
"""

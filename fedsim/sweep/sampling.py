"""Points of a sweep drawn at random."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fedsim.scenario.sweep_table import Draw, RandomPoints


def random_points(settings: RandomPoints) -> list[dict[str, Any]]:
    """Return points with a value for each key; equal settings give equal points.

    Source of the Latin hypercube: McKay, Beckman and Conover, "A comparison of three methods for selecting
    values of input variables", Technometrics 1979, section 2.
    """
    from scipy.stats import qmc

    shape = (settings.samples, len(settings.keys))
    generator = np.random.default_rng(settings.seed)
    if settings.method == "latin_hypercube":
        uniforms = qmc.LatinHypercube(shape[1], rng=generator).random(shape[0])
    else:
        uniforms = generator.random(shape)
    return [
        {key: value_at(draw, float(at)) for (key, draw), at in zip(settings.keys.items(), row, strict=True)}
        for row in uniforms
    ]


def value_at(draw: Draw, at: float) -> Any:
    """Return the value that stands at a place in [0, 1) of a range: its quantile."""
    if draw.choices:
        return draw.choices[int(at * len(draw.choices))]
    assert draw.low is not None
    assert draw.high is not None
    low, high = draw.low, draw.high + draw.integer  # each whole number has a stretch of its own
    if draw.log:
        value = math.exp(math.log(low) + at * (math.log(high) - math.log(low)))
    else:
        value = low + at * (high - low)
    # The last digit of a sum may pass the end.
    return min(int(value), int(draw.high)) if draw.integer else min(max(value, low), high)

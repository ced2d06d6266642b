"""The seeds of repeated runs."""

from __future__ import annotations

from fedsim.scenario import Scenario, parse


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario under another seed.

    Raises:
        InputError: with this seed it is impossible.
    """
    if not scenario.attacks:
        return scenario.with_seed(seed)
    # Checked anew: who attacks is drawn from the seed, and not everybody may attack.
    settings = {name: getattr(scenario, name) for name in scenario.model_fields_set}
    return parse(settings | {"seed": seed}, f"{scenario.label}, seed {seed}")


def own_seed(first: int, point: int, replicate: int) -> int:
    """Return the seed of a run whose point shares no seed with any other.

    It depends on the numbers of neither points nor replicates, so that more of either leave it as it is.

    Source: Cantor's pairing function, Journal für die reine und angewandte Mathematik 84, 1878: it gives
    every pair of natural numbers a number of its own.

    >>> [own_seed(7, point, replicate) for point in range(2) for replicate in range(3)]
    [7, 9, 12, 8, 11, 15]
    """
    diagonal = point + replicate
    return first + diagonal * (diagonal + 1) // 2 + replicate

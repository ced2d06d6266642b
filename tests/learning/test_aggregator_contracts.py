"""What every aggregator and pre-aggregator of the catalog keeps to, and the exceptions with their reasons.

A new kind is tested as soon as it is in its family; it needs example settings here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple

import pytest
import torch

from fedsim.errors import InputError
from fedsim.learning.aggregators import AGGREGATORS, Aggregator
from fedsim.learning.preaggregators import PREAGGREGATORS

M, D, F = 11, 6, 3
"""Rows, coordinates, and Byzantine rows among them."""


class Example(NamedTuple):
    """Settings of a kind, and how it keeps to the contracts."""

    settings: Mapping[str, Any] = MappingProxyType({})
    lengths: tuple[str, ...] = ()
    """Settings that are lengths: they are scaled with the rows."""
    reaches: bool = True
    """Whether rows equal to each other give that row, wherever the consensus was."""
    bounded: Literal["range", "distance", "anything"] = "distance"
    """What F arbitrary rows cannot do: move a coordinate out of the range of the honest rows; move the result
    by more than `far` diameters of the honest rows from their mean; or there is nothing that they cannot."""
    far: float = 1.0
    counts: bool = False
    """Whether it counts what rows say: its result is no value of theirs, and does not move with them."""


EXAMPLES = {
    "mean": Example(bounded="anything"),
    "vote": Example(bounded="anything", counts=True),
    "median": Example({"f": F}, bounded="range"),
    "trimmed_mean": Example({"f": F}, bounded="range"),
    "meamed": Example({"f": F}, far=2),
    # Within 2 (m - f) / (m - 2f) = 3.2 times the honest rows' largest distance from their mean.
    "geometric_median": Example({"f": F}, far=3.2),
    # A Byzantine row that is chosen is as near to m - f - 2 others, some honest, as honest rows are.
    "krum": Example({"f": F}, far=1 + (M - F - 2) ** 0.5),
    "multi_krum": Example({"f": F}, far=1 + (M - F - 2) ** 0.5),
    # A Byzantine row that is taken is within one diameter of an honest row.
    "minimum_diameter": Example({"f": F}, far=2),
    "caf": Example({"f": F}, far=2),
    # These three take small steps from the consensus before, and do not arrive.
    "centred_clipping": Example({"radius": 0.5, "iterations": 2}, ("radius",), reaches=False),
    "rsa": Example({"step": 0.05}, ("step",), reaches=False),
    "dp_rsa": Example({"step": 0.05}, ("step",), reaches=False),
    # That of the recipe.
    "midrange": Example({"f": F}, bounded="range"),
}


def of_the_recipe() -> type[Aggregator]:
    """Return the rule that CONTRIBUTING.md shows."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    shown = re.search(r"## Recipe: an aggregator.*?```python\n(.*?)```", text, re.S)
    assert shown is not None
    module = sys.modules["midrange_of_the_recipe"] = ModuleType("midrange_of_the_recipe")
    exec(shown[1], vars(module))
    return module.Midrange


RULES = {**AGGREGATORS.builtin, "midrange": of_the_recipe()}


class Stage(NamedTuple):
    """The same for a pre-aggregator."""

    settings: Mapping[str, Any] = MappingProxyType({})
    lengths: tuple[str, ...] = ()
    order: bool = True
    """Whether rows in another order come out as the same rows in that order."""
    moves: bool = True
    """Whether it moves and scales with rows and consensus."""


STAGES = {
    # The simplex is where it is, and as large as it is.
    "simplex_projection": Stage(moves=False),
    "norm_clipping": Stage(),
    # Which rows share a bucket depends on their places.
    "bucketing": Stage({"size": 3}, order=False),
    "nearest_neighbour_mixing": Stage({"f": F}),
}


def example(kind):
    assert kind in EXAMPLES, f"give example settings of {kind!r} in EXAMPLES"
    return EXAMPLES[kind]


def rule(kind, scale=1.0):
    settings = dict(example(kind).settings)
    return RULES[kind](**settings | {name: settings[name] * scale for name in example(kind).lengths})


def stage(kind, scale=1.0):
    assert kind in STAGES, f"give example settings of {kind!r} in STAGES"
    settings = dict(STAGES[kind].settings)
    return PREAGGREGATORS[kind](**settings | {name: settings[name] * scale for name in STAGES[kind].lengths})


def some_rows(m=M, d=D, seed=0, dtype=torch.float64):
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def near(found, expected, tolerance=1e-9):
    return torch.allclose(found.double(), expected.double(), rtol=tolerance, atol=tolerance)


every_rule = pytest.mark.parametrize("kind", RULES)
every_value = pytest.mark.parametrize("kind", [kind for kind in RULES if not example(kind).counts])
every_stage = pytest.mark.parametrize("kind", PREAGGREGATORS.builtin)
every_type = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
PREVIOUS = some_rows(1, D, seed=99)[0] / 4
ORDER = torch.randperm(M, generator=torch.Generator().manual_seed(7))


# Aggregators.


@every_rule
def test_the_order_of_rows_does_not_matter(kind):
    found = rule(kind).aggregate(some_rows(), PREVIOUS)
    assert near(rule(kind).aggregate(some_rows()[ORDER], PREVIOUS), found)


@every_value
def test_the_result_moves_with_rows_and_consensus(kind):
    shift = torch.linspace(-3, 4, D, dtype=torch.float64)
    found = rule(kind).aggregate(some_rows(), PREVIOUS)
    assert near(rule(kind).aggregate(some_rows() + shift, PREVIOUS + shift), found + shift, 1e-6)


@every_value
@pytest.mark.parametrize("scale", [1e-3, 3.0, -2.0, 1e4])
def test_the_result_scales_with_rows_and_consensus(kind, scale):
    found = rule(kind).aggregate(some_rows(), PREVIOUS)
    scaled = rule(kind, abs(scale)).aggregate(some_rows() * scale, PREVIOUS * scale)
    assert near(scaled / scale, found, 1e-6)


@every_value
def test_equal_rows_give_that_row(kind):
    row = some_rows(1)[0]
    rows = row.expand(M, D)
    assert near(rule(kind).aggregate(rows, row), row)
    found = rule(kind).aggregate(rows, PREVIOUS)
    if example(kind).reaches:
        assert near(found, row)
    else:
        assert torch.linalg.vector_norm(found - row) < torch.linalg.vector_norm(PREVIOUS - row)


@every_rule
@every_type
def test_inputs_are_not_written_to_and_types_are_kept(kind, dtype):
    rows, previous = some_rows(dtype=dtype), PREVIOUS.to(dtype)
    before, previous_before = rows.clone(), previous.clone()
    found = rule(kind).aggregate(rows, previous)
    assert torch.equal(rows, before)
    assert torch.equal(previous, previous_before)
    assert (found.dtype, found.shape) == (dtype, (D,))
    exact = rule(kind).aggregate(rows.double(), previous.double())
    assert near(found, exact, max(4 * torch.finfo(dtype).eps, 1e-9))


class Types(Aggregator):
    """A rule that gives the bits of the type that it computes in."""

    kind: Literal["types"] = "types"

    @property
    def least_rows(self):
        return 1

    def _combined(self, rows, previous):
        assert rows.dtype == previous.dtype
        return torch.full_like(previous, torch.finfo(rows.dtype).bits)


@every_type
@pytest.mark.parametrize("consensus", [torch.float16, torch.float32, torch.float64])
def test_rules_compute_in_one_type_of_32_bits_or_more(dtype, consensus):
    found = Types().aggregate(some_rows(dtype=dtype), PREVIOUS.to(consensus))
    assert found.dtype == dtype
    assert (found == (64 if dtype == torch.float64 else 32)).all()


@every_rule
def test_the_consensus_may_be_of_another_type(kind):
    found = rule(kind).aggregate(some_rows(dtype=torch.float32), PREVIOUS)
    assert found.dtype == torch.float32
    assert near(found, rule(kind).aggregate(some_rows(), PREVIOUS), 1e-5)


@every_value
@pytest.mark.parametrize("d", [1, 20_000])
def test_one_column_and_many(kind, d):
    rows = some_rows(d=d, dtype=torch.float32)
    found = rule(kind).aggregate(rows, rows[0])
    assert found.shape == (d,)
    overshoot = M * example(kind).settings.get("step", 0.0)
    assert bool(((rows.amin(0) - overshoot <= found) & (found <= rows.amax(0) + overshoot)).all())


@every_rule
def test_the_least_rows_are_enough_and_one_less_is_refused(kind):
    least = rule(kind).least_rows
    found = rule(kind).aggregate(some_rows(least), PREVIOUS)
    assert found.isfinite().all()
    with pytest.raises(InputError, match=f"^{kind} needs at least {least} rows, got {least - 1}$"):
        rule(kind).aggregate(some_rows(least - 1), PREVIOUS)


@every_rule
@pytest.mark.parametrize(
    ("rows", "previous"), [((M,), ()), ((M, D), (D + 1,)), ((M, D), (1, D)), ((M, 2, D), (2, D))]
)
def test_wrong_shapes_are_refused(kind, rows, previous):
    with pytest.raises(InputError, match=rf"^{kind}: expected rows \(m, d\) and previous \(d,\), found \("):
        rule(kind).aggregate(torch.zeros(rows), torch.zeros(previous))


def byzantine_rows(size, dtype):
    """Yield F Byzantine rows, of several kinds, as large as `size`."""
    yield torch.full((F, D), size, dtype=dtype)
    yield torch.full((F, D), -size, dtype=dtype)
    yield size * torch.tensor([1, -1, 1], dtype=dtype).unsqueeze(1).expand(F, D)
    yield size * some_rows(F, seed=11, dtype=dtype).sign()
    yield size * torch.eye(F, D, dtype=dtype)
    yield size * some_rows(1, seed=12, dtype=dtype).clamp(-1, 1).expand(F, D)


@every_rule
@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        (dtype, size)
        for dtype, huge in ((torch.float32, 1e30), (torch.float64, 1e300), (torch.float16, 6e4))
        for size in (0.0, 0.5, 3.0, 30.0, 1e4, huge)
    ],
)
def test_lies_do_what_theory_says_and_no_more(kind, dtype, size):
    honest = some_rows(M - F, dtype=dtype)
    mean, low, high = honest.double().mean(0), honest.double().amin(0), honest.double().amax(0)
    diameter = torch.cdist(honest.double(), honest.double()).max()
    rounding = 10 * torch.finfo(dtype).eps
    for byzantine in byzantine_rows(size, dtype):
        rows = torch.cat((byzantine, honest))[ORDER]
        found = rule(kind).aggregate(rows, honest.double().mean(0).to(dtype)).double()
        assert found.isfinite().all()
        if example(kind).bounded == "range":
            assert bool(((found >= low - rounding) & (found <= high + rounding)).all())
        if example(kind).bounded == "distance":
            assert torch.linalg.vector_norm(found - mean) <= example(kind).far * diameter


@every_rule
@pytest.mark.parametrize(("dtype", "huge"), [(torch.float32, 1e30), (torch.float64, 1e300)])
def test_finite_rows_never_give_nan(kind, dtype, huge):
    sizes = torch.tensor([0, 1 / huge, 1e-3, 1, 1e3, huge], dtype=dtype)
    for seed in range(10):
        random = torch.Generator().manual_seed(seed)
        rows = sizes[torch.randint(6, (M, D), generator=random)] * some_rows(seed=seed, dtype=dtype).sign()
        assert rule(kind).aggregate(rows, PREVIOUS.to(dtype)).isfinite().all()


def test_the_recipe_by_hand_and_at_the_end_of_the_numbers():
    rows = torch.tensor([[9.0], [0.0], [-7.0], [4.0], [1.0]], dtype=torch.float64)
    midrange = RULES["midrange"]
    assert midrange(f=0).aggregate(rows, rows[0]).tolist() == [1.0]
    assert midrange(f=1).aggregate(rows, rows[0]).tolist() == [2.0]
    largest = torch.full((2, D), 1.7e308, dtype=torch.float64)
    assert torch.equal(midrange(f=0).aggregate(largest, largest[0]), largest[0])


# Pre-aggregators.


@every_stage
def test_a_stage_makes_as_many_rows_as_it_says(kind):
    least = next(m for m in range(1, 100) if stage(kind).rows_left(m))
    assert stage(kind).rows_left(0) == 0
    for m in (least, least + 1, M):
        found = stage(kind).apply(some_rows(m), PREVIOUS)
        assert found.shape == (stage(kind).rows_left(m), D)
        assert found.isfinite().all()


@every_stage
def test_a_stage_follows_the_order_of_rows(kind):
    found = stage(kind).apply(some_rows(), PREVIOUS)
    again = stage(kind).apply(some_rows()[ORDER], PREVIOUS)
    if STAGES[kind].order:
        assert near(again, found[ORDER])
    else:
        assert not near(again, found)


@every_stage
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 2.5), (1e-3, 0.0), (-2.0, 0.0), (1e4, -1.0)])
def test_a_stage_moves_and_scales_with_rows_and_consensus(kind, scale, shift):
    found = stage(kind).apply(some_rows(), PREVIOUS)
    moved = stage(kind, abs(scale)).apply(some_rows() * scale + shift, PREVIOUS * scale + shift)
    assert near((moved - shift) / scale, found, 1e-6) == STAGES[kind].moves


@every_stage
def test_equal_rows_stay_equal(kind):
    row = torch.softmax(some_rows(1)[0], 0)
    found = stage(kind).apply(row.expand(M, D), PREVIOUS)
    assert near(found, row.expand(len(found), D))


@every_stage
@every_type
def test_a_stage_does_not_write_to_its_inputs_and_keeps_types(kind, dtype):
    rows, previous = some_rows(dtype=dtype), PREVIOUS.to(dtype)
    before, previous_before = rows.clone(), previous.clone()
    found = stage(kind).apply(rows, previous)
    assert torch.equal(rows, before)
    assert torch.equal(previous, previous_before)
    assert found.dtype == dtype
    exact = stage(kind).apply(rows.double(), previous.double())
    assert near(found, exact, max(4 * torch.finfo(dtype).eps, 1e-9))


@every_stage
@pytest.mark.parametrize("d", [1, 20_000])
def test_a_stage_takes_one_column_and_many(kind, d):
    found = stage(kind).apply(some_rows(d=d, dtype=torch.float32), torch.zeros(d))
    assert found.shape[1] == d
    assert found.isfinite().all()


@every_stage
@pytest.mark.parametrize(("dtype", "huge"), [(torch.float32, 1e30), (torch.float64, 1e300)])
def test_finite_rows_stay_finite(kind, dtype, huge):
    for byzantine in byzantine_rows(huge, dtype):
        rows = torch.cat((byzantine, some_rows(M - F, dtype=dtype)))[ORDER]
        assert stage(kind).apply(rows, PREVIOUS.to(dtype)).isfinite().all()

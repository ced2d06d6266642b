"""The table of message sizes: the same arithmetic as the runs', and the paper's numbers beside it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from injection_cases import problem

from fedsim.algorithms.lora.fedavg_lora import Projections, adapter_numbers
from fedsim.icl.models.open_weights import Shape
from fedsim.problems.injection.problem import InjectionProblem
from fedsim_analysis.tables import make, messages


@pytest.mark.parametrize("model", messages.MODELS)
def test_sizes_are_those_of_runs(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = messages.MODELS[model]
    shape = Shape(layers.n_layers, layers.width)
    monkeypatch.setattr(InjectionProblem, "shape", property(lambda self: shape))
    found, sizes = problem(), messages.sizes_bytes(layers)
    assert sizes[messages.VECTORS] == found.vectors_bytes
    assert sizes[messages.COEFFICIENTS] == found.coefficients_bytes
    numbers = adapter_numbers(Projections(**layers._asdict()), messages.RANK)
    assert sizes[messages.LORA] == 4 * numbers


def test_sizes_by_hand() -> None:
    def sizes(model: str) -> list[int]:
        return list(messages.sizes_bytes(messages.MODELS[model]).values())

    assert sizes("LLaMA-3-8B") == [524_288, 524_800, 512, 13_312 * 1024]
    assert sizes("Qwen2.5-7B")[0] == 392 * 1024
    assert sizes("SmolLM2-135M")[0::2] == [69_120, 480]


def test_the_published_numbers_stand_beside_those_of_their_model() -> None:
    rows, _ = make("messages", None)
    differences: dict[str, Any] = rows.set_index(["model", "message"]).difference_kib.to_dict()
    assert differences["LLaMA-3-8B", messages.COEFFICIENTS] == pytest.approx(1.3)
    assert differences["LLaMA-3-8B", messages.LORA] == pytest.approx(45.78)
    assert all(math.isnan(value) for (model, _), value in differences.items() if model != "LLaMA-3-8B")

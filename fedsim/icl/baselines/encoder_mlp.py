"""A small network on a text encoder: no language model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.icl.baselines.base import Baseline, Desk, Labelled
from fedsim.icl.encoders import AnyEncoder, WordLlama
from fedsim.learning.optimizers.adam import Adam

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

Layers = tuple["Tensor", "Tensor", "Tensor", "Tensor"]
"""Weights and biases of the hidden layer, (h, d) and (h,), and of the output, (U, h) and (U,)."""


class EncoderMlp(Baseline):
    """A network with one hidden layer on a frozen encoder, trained on the worker's training queries.

    Training is full-batch Adam on the cross entropy and ends after `patience` epochs without a lower one on
    the validation queries; the best weights are kept. The paper's row "RoBERTa" tunes the encoder too: with
    another encoder, or a frozen one, this is not that row.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), section 4 and Table 3 (RoBERTa).
    """

    calls_per_query: ClassVar[int] = 0
    kind: Literal["encoder_mlp"] = "encoder_mlp"
    encoder: AnyEncoder = WordLlama()
    hidden: int = Field(default=64, ge=1)
    """Units of the hidden layer (ReLU)."""
    learning_rate: float = Field(default=1e-2, gt=0)
    epochs: int = Field(default=500, ge=1)
    """At most."""
    patience: int = Field(default=20, ge=1)

    def prepare(self, worker: Desk) -> Layers:
        import torch

        x, y = self._encoded(worker.train)
        validation_x, validation_y = self._encoded(worker.validation)
        layers = _drawn(worker.generator(), x.shape[1], self.hidden, worker.n_classes)
        adam = Adam(learning_rate=self.learning_rate)
        moments = [(torch.zeros_like(layer)[None], torch.zeros_like(layer)[None]) for layer in layers]
        best, best_loss, since_best = layers, math.inf, 0
        for epoch in range(1, self.epochs + 1):
            for layer, gradient, own in zip(layers, _gradients(layers, x, y), moments, strict=True):
                layer -= adam.update(gradient[None], own, torch.tensor([epoch]))[0]
            loss = float(torch.nn.functional.cross_entropy(logits(layers, validation_x), validation_y))
            if loss < best_loss:
                best, best_loss, since_best = _copied(layers), loss, 0
            else:
                since_best += 1
            if since_best == self.patience:
                break
        return best

    def answer(self, worker: Desk, prepared: Layers) -> Tensor:
        import torch

        x = torch.from_numpy(self.encoder.encode([text.joined() for text in worker.test]))
        return logits(prepared, x).softmax(1)

    def _encoded(self, labelled: list[Labelled]) -> tuple[Tensor, Tensor]:
        import torch

        x = self.encoder.encode([text.joined() for text, _ in labelled])
        return torch.from_numpy(x), torch.tensor([label for _, label in labelled])


def logits(layers: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the network's outputs before the softmax, (n, U)."""
    hidden_weight, hidden_bias, weight, bias = layers
    return (x @ hidden_weight.T + hidden_bias).relu() @ weight.T + bias


def _gradients(layers: Layers, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of the mean cross entropy by each layer."""
    import torch

    # A run switches gradients off.
    with torch.enable_grad():
        inputs = tuple(layer.detach().requires_grad_() for layer in layers)
        return torch.autograd.grad(torch.nn.functional.cross_entropy(logits(inputs, x), y), inputs)


def _drawn(generator: np.random.Generator, d: int, hidden: int, n_classes: int) -> Layers:
    """Return the start: normal weights of variance 2 / inputs (He et al., ICCV 2015), biases zero."""
    import torch

    def weights(rows: int, columns: int) -> Tensor:
        return torch.from_numpy(generator.normal(0.0, math.sqrt(2 / columns), size=(rows, columns)))

    def biases(size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.float64)

    return weights(hidden, d), biases(hidden), weights(n_classes, hidden), biases(n_classes)


def _copied(layers: Layers) -> Layers:
    a, b, c, d = (layer.clone() for layer in layers)
    return a, b, c, d

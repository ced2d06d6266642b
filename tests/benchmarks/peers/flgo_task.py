"""What FLGo asks a task's `config.py` for; the runner fills in the clients' data before FLGo imports it.

FLGo builds a loader for every job. This one hands a client's samples out whole, as full batches need them:
torch's own, which collects them one by one, takes nearly as long as everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import TensorDataset
from work import CLASSES, FEATURES

train_data: list[TensorDataset] = []


class WholeLoader:
    """All samples of a client as one batch."""

    def __init__(self, dataset: TensorDataset, **settings: Any) -> None:
        self.batch = dataset.tensors

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        yield self.batch


# FLGo's name for it.
DataLoader = WholeLoader


def get_model() -> torch.nn.Module:
    """Softmax regression from zero weights on."""
    model = torch.nn.Linear(FEATURES, CLASSES)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    return model


def data_to_device(batch: Any, device: torch.device) -> Any:
    """Everything is in the memory of the CPU already."""
    return batch


def compute_loss(
    model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor], device: Any
) -> dict[str, Any]:
    """Mean cross-entropy of a batch, in nats."""
    x, y = batch
    return {"loss": torch.nn.functional.cross_entropy(model(x), y)}


def eval(model: torch.nn.Module, loader: WholeLoader, device: Any) -> dict[str, float]:  # noqa: A001, its name
    """Mean cross-entropy, in nats; evaluation is off, but FLGo imports this."""
    return {"loss": float(compute_loss(model, loader.batch, device)["loss"])}

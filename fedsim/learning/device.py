"""Where tensors live, in the processor's memory or a GPU's, and the door between NumPy's arrays and them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.errors import InputError

_gpu: ContextVar[torch.device | None] = ContextVar("gpu", default=None)


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """Make all tensors on this device, "cuda", while the context lasts; none: the processor.

    Draws are NumPy's in any case and the same on each device. Sums are made in another order on a GPU, so
    that results agree to rounding and not to the last digit.

    Raises:
        InputError: torch finds no such device here.
    """
    if name is None:
        yield
        return
    if why := missing(name):
        raise InputError(f'device: found "{name}", expected "cpu": {why}')
    device = torch.device(name)
    before = _gpu.set(device)
    try:
        with device:
            yield
    finally:
        _gpu.reset(before)


def missing(name: str) -> str:
    """Return why a device cannot be used here; empty: it can."""
    if name == "cuda" and not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no GPU on this machine"
    return ""


def from_numpy(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor on the device of the run: the same memory where that is the processor's."""
    tensor = torch.from_numpy(array)
    device = _gpu.get()
    return tensor if device is None else tensor.to(device)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array: the same memory where it lies in the processor's."""
    return tensor.numpy(force=True)

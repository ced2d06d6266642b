"""The sizes of IFed-ICL's messages by arithmetic, beside those that its paper prints."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd
from rich import box
from rich.table import Column, Table

KIB = 1024
FLOAT16_BYTES, FLOAT32_BYTES = 2, 4
RANK = 8


class Layers(NamedTuple):
    """What of a model's shape the size of a message depends on."""

    n_layers: int
    width: int
    value_width: int
    """Of the keys and the values: smaller than `width` where heads share them."""


MODELS = {
    "LLaMA-3-8B": Layers(32, 4096, 1024),
    "Qwen2.5-7B": Layers(28, 3584, 512),
    "SmolLM2-135M": Layers(30, 576, 192),
}
"""The shapes that the models' own files state."""

PUBLISHED_OF = "LLaMA-3-8B"
"""The paper does not say which of its two models its Table 1 is about: this one, by the arithmetic."""
VECTORS, BOTH = "vectors, to the server, once", "vectors and coefficients, to a worker, once"
COEFFICIENTS = "coefficients, each way, each round"
LORA = f"FedAvg-LoRA, rank {RANK} on q and v, each way, each round"
PUBLISHED_KIB = {VECTORS: 514.0, BOTH: 515.8, COEFFICIENTS: 1.8, LORA: 13_357.78}
"""Table 1 of the paper, its KB taken as KiB.

Source: Li et al., "IFed-ICL", arXiv 2511.06757, Table 1.
"""
CAPTION = (
    "Published: Table 1 of IFed-ICL. What it has more than the arithmetic is the container of the numbers: "
    "1.3 to 3.3 KiB, and 46 KiB around the 128 matrices of LoRA. Qwen2.5-7B would have 392 KiB of vectors, "
    "so that the paper's table is about LLaMA-3-8B."
)


def sizes_bytes(layers: Layers) -> dict[str, int]:
    """Return the size of each message (bytes), without a container.

    Vectors: attention and MLP of each layer, ``2 L d`` numbers of half precision. Coefficients: lambda and
    beta of each, ``4 L`` numbers of single precision. LoRA: of a matrix from a to b numbers two of ``r a``
    and ``r b`` numbers, here of the queries (d to d) and of the values (d to the width of the values).
    """
    n_layers, width, value_width = layers
    vectors = 2 * n_layers * width * FLOAT16_BYTES
    coefficients = 4 * n_layers * FLOAT32_BYTES
    lora = n_layers * RANK * ((width + width) + (width + value_width)) * FLOAT32_BYTES
    return {VECTORS: vectors, BOTH: vectors + coefficients, COEFFICIENTS: coefficients, LORA: lora}


def table() -> pd.DataFrame:
    """Return a row for each model and message; needs no runs."""
    rows = []
    for model, layers in MODELS.items():
        for message, n_bytes in sizes_bytes(layers).items():
            published = PUBLISHED_KIB[message] if model == PUBLISHED_OF else math.nan
            rows.append(
                {
                    "model": model,
                    "message": message,
                    "bytes": n_bytes,
                    "kib": n_bytes / KIB,
                    "published_kib": published,
                    "difference_kib": published - n_bytes / KIB,
                }
            )
    return pd.DataFrame(rows)


def render(rows: pd.DataFrame) -> Table:
    """Return the table for the terminal."""
    numbers = ("bytes", "KiB", "published KB", "more")
    shown = Table(
        Column("model"),
        Column("message"),
        *(Column(name, justify="right") for name in numbers),
        title="Messages of IFed-ICL and of FedAvg-LoRA",
        caption=CAPTION,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for row in rows.to_dict("records"):
        known = not math.isnan(row["published_kib"])
        shown.add_row(
            row["model"],
            row["message"],
            f"{row['bytes']:,}",
            f"{row['kib']:,.2f}",
            f"{row['published_kib']:,.2f}" if known else "-",
            f"{row['difference_kib']:+,.2f}" if known else "-",
        )
    return shown

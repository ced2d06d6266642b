"""From the log-probabilities of label words to probabilities over the labels, corrected or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedsim.icl.tasks.base import Text

if TYPE_CHECKING:
    from torch import Tensor

CONTENT_FREE = "N/A"


def content_free(query: Text) -> Text:
    """Return the query with "N/A" in each field that it has: what the correction asks about."""
    return Text(*(CONTENT_FREE if field else "" for field in query))


def probabilities(logprobs: Tensor, content_free: Tensor | None = None) -> Tensor:
    """Return the probabilities of the label words given that one of them is the answer, (n, U).

    With `content_free` they are divided by the probabilities there before they are normalised. A label of
    probability zero keeps it. Where a label has probability zero after the content-free query, the smallest
    one known there stands for it. Where nothing is known of a query, all labels are as likely.

    Args:
        logprobs: natural logarithms of the label words' probabilities, (n, U); minus infinity for zero.
        content_free: the same after the content-free query of the same prompt, (n, U); None for no
            correction.

    Source: Zhao et al., "Calibrate before use", ICML 2021, section 4: W = diag(p_content_free)^-1, b = 0.
    """
    import torch

    margins = logprobs.double()
    if content_free is not None:
        prior = content_free.double()
        smallest = torch.where(prior.isneginf(), torch.inf, prior).amin(-1, keepdim=True)
        # Nothing known there: dividing all labels by the same number changes nothing.
        smallest = smallest.nan_to_num(posinf=0.0)
        margins = margins - torch.where(prior.isneginf(), smallest, prior)
    unknown = margins.isneginf().all(-1, keepdim=True)
    return torch.where(unknown, 0.0, margins).softmax(-1)

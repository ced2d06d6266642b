"""How a black box in closed form reads a prompt: what its words add up to, what demonstrations give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from fedsim.catalog import Strict

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.tasks.base import Floats, Longs


TURNS = 3.0
"""How fast the part of a fragment's effect that is no sum changes with its words."""
SMALLEST = 1e-300
"""In the place of a deviation of 0."""


class FragmentReading(Strict):
    """How the effects of a fragment's words add up.

    A word that stands c times among M words adds ``c ** repeat_exponent / M ** length_exponent`` of its own
    effect. With both exponents 1 the fragment is the mean of its words, and a long one says nothing: chance
    words average out. With both 1/2 a random fragment is as strong as a single word, however long it is.

    Source: measured on a language model by `fedsim_analysis.studies.fragment_effects`; docs/validation.md
    has the numbers. Lester et al., "The power of scale for parameter-efficient prompt tuning", EMNLP 2021,
    section 3.2, find that tuned prompts of more than 20 tokens gain next to nothing over those of 20.
    """

    length_exponent: float = Field(default=0.5, ge=0)
    """By which power of its length a fragment is weakened. Measured in three ways: 0.41
    (95 % interval 0.35 to 0.47), 0.28 (0.13 to 0.39) and 0.31 (0.20 to 0.40), which cannot go on for ever."""
    repeat_exponent: float = Field(default=0.5, gt=0, le=1)
    """How much a repeated word adds: 1, as much each time; near 0, next to nothing after the first. Measured:
    0.55 (0.44 to 0.64), 0.48 (0.28 to 0.63) and 0.46 (0.33 to 0.57)."""
    interaction: float = Field(default=0.0, ge=0, lt=1)
    """The share of a random fragment's effect, in variance, that is no sum over its words. Measured: 0.74
    (0.64 to 0.85), 0.89 and 0.86 on a small model. At 0 words have a value of their own, which is what a
    distribution of words for each position can learn; the calibrated tasks say how much there is."""

    def effects(self, words: Tensor, table: Tensor) -> Tensor:
        """Return what fragments add, (J, I, K).

        With an interaction, each number also gains ``r sd sqrt(2) sin(3 s)``: sd is its deviation over the
        sums of random fragments, s the sum of the number before it in units of its own deviation, and
        ``r^2 = interaction / (1 - interaction)``. It has the stated share of the variance, has nothing to do
        with the number's own sum, changes its sign several times on the way from bad words to good ones, and
        stays bounded: nobody gains by it without end.

        Args:
            words: number of the candidate at each position, (J, M, I).
            table: what each candidate adds, (N, K), zero on average over the candidates.
        """
        sums = self.weights(words, len(table)) @ table
        if self.interaction == 0:
            return sums
        deviations = table.std(0, correction=0) * words.shape[1] ** (0.5 - self.length_exponent)
        other = (sums / deviations.clamp(min=SMALLEST)).roll(1, -1)
        ratio = (self.interaction / (1 - self.interaction)) ** 0.5
        return sums + ratio * 2**0.5 * deviations * (TURNS * other).sin()

    def weights(self, words: Tensor, n_candidates: int) -> Tensor:
        """Return how much of each candidate's effect a fragment holds, (J, I, N), double precision.

        Args:
            words: number of the candidate at each position, (J, M, I).
            n_candidates: N.
        """
        import torch

        n_jobs, n_words, n_prompts = words.shape
        counts = torch.zeros(n_jobs, n_prompts, n_candidates, dtype=torch.float64)
        # Only how often each word occurs matters: counting and one product beat gathering M rows.
        bags = words.transpose(1, 2)
        counts.scatter_add_(2, bags, counts.new_ones(1, 1, 1).expand(bags.shape))
        if self.repeat_exponent != 1:
            counts.pow_(self.repeat_exponent)
        return counts.div_(n_words**self.length_exponent)


class Shares(NamedTuple):
    """What of a right demonstration's effect comes from where; they sum to one."""

    labels: float
    """From the label that it shows."""
    texts: float
    """From its text, whose class the box recognises whatever label it shows."""
    presence: float
    """From its mere presence: the form of the answer, and which labels there are."""


PRESETS = {
    "small": Shares(labels=0.1, texts=0.45, presence=0.45),
    "large": Shares(labels=0.25, texts=0.375, presence=0.375),
    "very_large": Shares(labels=0.9, texts=0.05, presence=0.05),
}
"""Shares of three readers, by the published figures in `published_demonstrations.csv`.

`large`: between two figures of Min et al. (section 4) for eight demonstrations a class: on the calibrated
tasks random labels cost 3.8 points on average (theirs: 2.6 over twelve models), flipped ones 8.4 (theirs:
nearly 10 for GPT-J). `small`: hardly anything in either case, as for their MetaICL and for the small models
of Wei et al. `very_large`: with 16 a class, flipped labels lead far below chance, to 28 % (Wei et al.,
section 3: 22.5 % for text-davinci-002).
What labels leave goes to texts and presence in equal parts: texts of another corpus cost 3 to 16 points more
than random labels, labels of another vocabulary 5 to 16 (Min et al., sections 5.1 and 5.2).
"""

Reader = Literal["small", "large", "very_large"]


class DemonstrationReading(Strict):
    """What a black box takes from demonstrations: their labels, their texts, their mere presence.

    The default reader is `large`: most models that are asked through an endpoint follow labels a little, and
    wrong labels cost them a few points (Min et al. find that of 12 models from 774M to 175B parameters). The
    largest ones of today may be `very_large`; `small` stands for models that hardly look at labels. Size is
    not all: the model of 135M that runs in process lies between `large` and `very_large` with eight flipped
    demonstrations a class, see docs/validation.md.

    Source: Min et al., "Rethinking the role of demonstrations: what makes in-context learning work?", EMNLP
    2022, sections 4 and 5, who take labels, texts and form away one after the other; Wei et al., "Larger
    language models do in-context learning differently", 2023, section 3, on flipped labels and the size of
    models; Pan et al., "What in-context learning 'learns' in-context", Findings of ACL 2023, section 4, whose
    task learning is the labels' share and whose task recognition is the rest.
    """

    reader: Reader = "large"
    """The size of the model, which says how much it follows labels."""
    label_share: float | None = Field(default=None, ge=0, le=1)
    """In the place of the reader's: how much of a right demonstration's effect is that of its label."""
    text_share: float | None = Field(default=None, ge=0, le=1)
    """In the place of the reader's: how much of it is that of its text; the rest is that of its presence."""
    shots_exponent: float = Field(default=0.5, ge=0, le=1)
    """By which power of their number the effects of s demonstrations of a class are weakened: 1, their mean
    counts; 0, their sum.

    With 1/2 what they have in common grows with the square root of s, and what is a matter of chance (label
    biases, texts) stays as strong as that of one. Source: with more examples accuracy rises less and less
    (Min et al., section 4.2) and varies as much as before (Zhao et al., "Calibrate before use", ICML 2021,
    section 3)."""
    recency: float = Field(default=0, ge=0)
    """How much more the box repeats the labels of later demonstrations: place i has the weight w_i, which is
    proportional to ``(1 + recency) ** i`` and 1 on average, and pushes its label by ``w_i - 1`` label biases.

    0 by default, because the calibrated tasks have one order, and their label bias was fitted with it. 0.24
    gives the last of four answers 1.9 times the weight of the first. Source: Zhao et al., section 4: GPT-3
    repeats the answers of four demonstrations 8.5, 8.3, 14.3 and 16.1 points too often."""

    def idle(self) -> Mapping[str, str]:
        if self.label_share is None or self.text_share is None:
            return {}
        return {"reader": "both of its shares are stated (label_share, text_share)"}

    @model_validator(mode="after")
    def _check_sum(self) -> DemonstrationReading:
        labels, texts, presence = self.shares
        if presence < -1e-9:
            raise ValueError(
                f"label_share and text_share: found {labels:g} and {texts:g}, expected at most 1 together"
            )
        return self

    @property
    def shares(self) -> Shares:
        """The three shares."""
        preset = PRESETS[self.reader]
        labels = preset.labels if self.label_share is None else self.label_share
        texts = preset.texts if self.text_share is None else self.text_share
        return Shares(labels, texts, 1 - labels - texts)

    def place_weights(self, order: Longs) -> Floats:
        """Return the weight of each slot's label by its place, (S,), 1 on average.

        Args:
            order: numbers of the slots, as a prompt shows them.
        """
        weights = np.empty(len(order))
        weights[order] = (1 + self.recency) ** np.arange(len(order))
        return weights / weights.mean()

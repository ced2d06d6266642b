"""A task of the surrogate with its parameters written in the scenario."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedsim.icl.tasks.base import Task, TaskData, TestSet
from fedsim.icl.tasks.gaussian import Latent, SurrogateParameters, draw_data, draw_latent
from fedsim.streams import Streams


class Synthetic(Task):
    """Gaussian classes with the surrogate's parameters given, for regimes outside the six data sets.

    Source: linear attention as one step of gradient descent, von Oswald et al., "Transformers learn
    in-context by gradient descent", ICML 2023, Proposition 1.
    """

    kind: Literal["synthetic"] = "synthetic"
    parameters: SurrogateParameters
    test_counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(100, 100), min_length=2)
    """Test queries of each class; their number is the number of classes U."""
    test_set: TestSet = "fixed"
    """fixed: the same queries in every run, spread as draws are on average. redrawn: each seed's own draw."""
    task_seed: int = Field(default=0, ge=0)
    """Draws the effects of the candidate words and the fixed test set; the seed of a run draws everything
    else, for each task anew."""

    @model_validator(mode="after")
    def _enough_features(self) -> Self:
        least, found = 2 * self.n_classes, self.parameters.n_features
        if found < least:
            raise ValueError(
                f"parameters.n_features: found {found}, expected at least {least}, two for each of the "
                f"{self.n_classes} classes (test_counts)"
            )
        return self

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self.test_counts

    @property
    def numbers_a_text(self) -> int:
        return self.parameters.n_features

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        n_words = 8 * self.n_candidates * self.n_classes * (self.parameters.n_features + 1)
        return super().memory(n_workers, pooled) | {f"the effects of {self.n_candidates:,} words": n_words}

    def draw(
        self, streams: Streams, n_workers: int, pooled: int = 1, dirichlet_alpha: float | None = None
    ) -> TaskData[Latent]:
        latent = draw_latent(self.parameters, self.n_classes, self.n_candidates, self.task_seed)
        return draw_data(self, latent, streams, n_workers, pooled, dirichlet_alpha, self.test_set)

"""AdaICL: uncertainty and diversity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedsim.icl.baselines.base import Baseline, Desk, PreparationCalls
from fedsim.icl.baselines.retrieval import k_means, nearest_last, squared_distances
from fedsim.icl.encoders import AnyEncoder, WordLlama

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.encoders.base import Floats


class Chosen(NamedTuple):
    """The demonstrations that were selected from a pool."""

    places: list[int]
    vectors: Floats
    """Their encodings, (k, d)."""


class AdaIcl(Baseline):
    """Demonstrations chosen where the model is unsure, spread over the pool; nearest ones shown to a query.

    The version AdaICL+ with the settings of its released code. First `n_initial` demonstrations nearest to
    the centres of k-means are selected. Then, `phases` times: the model answers every demonstration of the
    pool not yet selected, with the nearest selected ones before it; the `hard_share` with the lowest
    probability of the likeliest label are hard; a share of `budget` is selected among them, one after the
    other, each time the one that covers the most. A demonstration covers the hard ones that count it among
    their `n_neighbours` nearest, and a hard one covered c times before counts 10^-c. For a query the
    `n_demonstrations` nearest selected ones are shown, the nearest last, as in KATE.

    All labels of a pool are known here, so `budget` limits what may be shown, not what must be annotated.
    Ties go to the demonstration with the lower number.

    Source: Mavromatis et al., "Which examples to annotate for in-context learning? Towards effective and
    efficient selection", arXiv 2310.20046 (2023), section 4 and its released code (AdaICL+).
    """

    kind: Literal["adaicl"] = "adaicl"
    n_demonstrations: int = Field(default=5, ge=1)
    n_initial: int = Field(default=10, ge=1)
    budget: int = Field(default=20, ge=1)
    """Demonstrations selected besides the initial ones."""
    phases: int = Field(default=2, ge=1)
    """How often the model is asked what is hard; each phase selects `budget` / `phases`."""
    hard_share: float = Field(default=0.5, gt=0, le=1)
    n_neighbours: int = Field(default=15, ge=1)
    encoder: AnyEncoder = WordLlama()

    @model_validator(mode="after")
    def _check_sizes(self) -> AdaIcl:
        if self.budget % self.phases:
            raise ValueError(f"budget={self.budget} cannot be split into {self.phases} equal phases")
        if self.n_demonstrations > self.n_initial:
            raise ValueError(
                f"n_demonstrations={self.n_demonstrations} exceeds n_initial={self.n_initial}: the first "
                "phase has no others to show"
            )
        return self

    def check(self, n_classes: int, per_class: int) -> None:
        pool_size, phase_size = n_classes * per_class, self.budget // self.phases
        left = pool_size - self.n_initial - self.budget + phase_size
        if int(left * self.hard_share) < phase_size or pool_size <= self.n_neighbours:
            raise ValueError(
                f"method adaicl is to select {self.n_initial} + {self.budget} of a pool of {pool_size}: too "
                "few are left to select among; lower n_initial, budget or n_neighbours"
            )

    def preparation(self, pool_size: int) -> tuple[PreparationCalls, ...]:
        size = self.budget // self.phases
        left = [pool_size - self.n_initial - phase * size for phase in range(self.phases)]
        return tuple(PreparationCalls(count, self.n_demonstrations, heads=count) for count in left)

    def prepare(self, worker: Desk) -> Chosen:
        points = self.encoder.encode([text.joined() for text, _ in worker.pool])
        chosen = nearest_to_centres(points, k_means(points, self.n_initial, worker.generator()))
        for _ in range(self.phases):
            left = [place for place in range(len(points)) if place not in chosen]
            nearest = nearest_last(points[chosen], points[left], self.n_demonstrations)
            shown = [[worker.pool[chosen[i]] for i in row] for row in nearest]
            scores = worker.score(shown, [worker.pool[place][0] for place in left])
            sure = scores.amax(1).numpy()
            falling = np.argsort(sure, kind="stable")[: int(len(left) * self.hard_share)]
            hard = [left[i] for i in falling]
            chosen += cover(points, hard, self.budget // self.phases, self.n_neighbours)
        return Chosen(chosen, points[chosen])

    def answer(self, worker: Desk, prepared: Chosen) -> Tensor:
        queries = self.encoder.encode([text.joined() for text in worker.test])
        nearest = nearest_last(prepared.vectors, queries, self.n_demonstrations)
        return worker.score([[worker.pool[prepared.places[i]] for i in row] for row in nearest], worker.test)


def nearest_to_centres(points: Floats, centres: Floats) -> list[int]:
    """Return the nearest point to each centre that no earlier centre has taken."""
    taken: list[int] = []
    for distances in squared_distances(points, centres).T:
        taken.append(next(int(i) for i in np.argsort(distances, kind="stable") if i not in taken))
    return taken


def cover(points: Floats, hard: list[int], n_selected: int, n_neighbours: int) -> list[int]:
    """Return hard points that cover the hard points best, in the order of their selection.

    Args:
        points: rows of length one, (m, d).
        hard: numbers of the points to cover, and to select among.
        n_selected: how many to select.
        n_neighbours: a point is covered by each of so many points that are nearest to it.
    """
    ordered = sorted(hard)
    covers = _covers(points, n_neighbours)[np.ix_(ordered, ordered)]
    times = np.zeros(len(ordered))
    selected: list[int] = []
    for _ in range(n_selected):
        gain = covers @ 10.0**-times
        gain[selected] = -1.0
        selected.append(int(gain.argmax()))
        times += covers[selected[-1]]
    return [ordered[i] for i in selected]


def _covers(points: Floats, n_neighbours: int) -> NDArray[np.bool_]:
    """Return whether row i is among the nearest points of column j, itself apart, (m, m)."""
    similarity = points @ points.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :n_neighbours]
    found = np.zeros_like(similarity, dtype=bool)
    found[nearest, np.arange(len(points))[:, None]] = True
    return found

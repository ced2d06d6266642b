"""FLDetector: a worker whose messages do not follow from those before is malicious, and is put out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.filters.base import Arrival, Filter

if TYPE_CHECKING:
    from torch import Tensor


class FlDetector(Filter):
    """Expels workers whose updates are less predictable than those of the others.

    *Prediction.* An honest update follows its worker's last one and the curvature of the loss: ``u' + H (x -
    x')``, with x and x' the consensus that the worker has read for this update and for the one before. H is
    estimated by L-BFGS from the last `history` pairs of how the consensus has moved in a step and how that
    differs from its move in the next one: in the paper's words, of w_t - w_(t-1) and g_t - g_(t-1).

    *Scores.* The distance of an update from its prediction is divided by the sum of the newest distances of
    all workers. A worker's score is the mean of its last `window` shares; it has none before it has so many.

    *Judgement.* After each step with new scores the gap statistic tells how many groups they form. If there
    are several, the best two groups are found, and whoever is in the upper one is malicious: its messages of
    this step are refused, and it is expelled. That was all, unless it `repeats`: then all scores begin anew,
    as the shares of those who stay are of another sum.

    In the paper all workers read the same model and report in each step; then this is its algorithm, but that
    training goes on and does not start again without the malicious. That x and x' are what each worker has
    read, whatever the server did between, that the newest distance of a worker counts in the sum until its
    next one, and who has a score, is ours. A worker's first update, and one before step `starts_at_step`, is
    compared with nothing. Who reports rarely is judged late: after `window` + 1 messages. Groups of numbers
    can be found exactly, so that k-means needs no starts. Until there is a pair, H is 0. Where workers go on
    from their own p (AsynDBT) their updates also contain how far p is from what they read, which the
    curvature of a loss does not foretell.

    Nothing keeps the upper group from being honest: in it is whoever stands out, by its data for example. The
    paper's workers compute gradients of all their data, without noise, and 100 of them are compared.

    Source: Zhang, Cao, Jia and Gong, "FLDetector: defending federated learning against model poisoning
    attacks via detecting malicious clients", KDD 2022, Algorithms 1 to 3, and its released code, in which
    attacks and detection begin after 50 iterations.
    """

    kind: Literal["fldetector"] = "fldetector"
    history: int = Field(default=10, ge=1)
    """Pairs of which H is made."""
    window: int = Field(default=10, ge=1)
    """Messages of a worker over which its score is a mean."""
    quorum: float = Field(default=0.9, gt=0, le=1)
    """Share of the workers that must have a score before anybody is judged."""
    starts_at_step: int = Field(default=50, ge=0)
    """Server steps before the first message is compared with its prediction."""
    expels: bool = True
    """Whether malicious workers are put out for good; otherwise their messages are refused from then on."""
    repeats: bool = False
    """Whether it goes on looking once it has found somebody. Each look may find honest workers too."""

    def check(self, n_workers: int) -> None:
        if n_workers < 3:
            raise ValueError(
                f"kind: 'fldetector' looks for workers unlike the others, found {n_workers} workers, "
                "expected at least 3"
            )

    def open(
        self,
        n_workers: int,
        trusted: Callable[[Tensor, int], Tensor] | None = None,
        calls_each: int = 0,
    ) -> Detecting:
        self.check(n_workers)
        return Detecting(self, n_workers)


class Detecting:
    """FLDetector at work: every worker's last update and last shares, and the moves of the consensus."""

    def __init__(self, settings: FlDetector, n_workers: int) -> None:
        self.refused = 0
        self.calls = 0
        self.malicious: set[int] = set()
        """Whom it has found so far."""
        self._settings = settings
        self._n_workers = n_workers
        self._step = 0
        self._before: tuple[Tensor, Tensor] | None = None  # the consensus before the last step, its last move
        self._pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=settings.history)
        self._last: dict[int, tuple[Tensor, Tensor]] = {}  # update and what was read
        self._distances: dict[int, float] = {}
        self._shares: dict[int, deque[float]] = {}

    @property
    def expelled(self) -> Collection[int]:
        """The workers that are to be out for good."""
        return self.malicious if self._settings.expels else ()

    @property
    def scores(self) -> Mapping[int, float]:
        """The scores of all workers that have one."""
        full = self._settings.window
        return {worker: sum(shares) / full for worker, shares in self._shares.items() if len(shares) == full}

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        import torch

        self._notice_move(previous.double())
        heard = [arrival for arrival in arrivals if arrival.worker not in self.malicious]
        looks = self._settings.repeats or not self.malicious
        if looks and self._compare(heard):
            self._judge()
        self._step += 1
        rows = [previous + arrival.update for arrival in heard if arrival.worker not in self.malicious]
        self.refused += len(arrivals) - len(rows)
        return torch.stack(rows) if rows else previous.new_empty(0, len(previous))

    def _notice_move(self, consensus: Tensor) -> None:
        """Keep how the consensus has moved in the last step, and how that differs from the move before it."""
        from fedsim.learning.lbfgs import tells

        before, moved_before = self._before or (consensus, consensus * 0)
        moved = consensus - before
        if tells(moved_before, moved - moved_before):
            self._pairs.append((moved_before, moved - moved_before))
        self._before = consensus, moved

    def _compare(self, arrivals: list[Arrival]) -> bool:
        """Keep these updates and how far they are from their predictions; return whether any had one."""
        compared = {}
        begun = self._step >= self._settings.starts_at_step
        for arrival in arrivals:
            last = self._last.get(arrival.worker)
            update, read = self._last[arrival.worker] = arrival.update.double(), arrival.read.double()
            if begun and last is not None:
                compared[arrival.worker] = update - last[0], read - last[1]
        if not compared:
            return False
        for worker, distance in zip(compared, self._off(list(compared.values())), strict=True):
            self._distances[worker] = distance
        total = sum(self._distances.values())
        for worker in compared:
            shares = self._shares.setdefault(worker, deque(maxlen=self._settings.window))
            shares.append(self._distances[worker] / total if total else 0.0)
        return True

    def _off(self, changes: list[tuple[Tensor, Tensor]]) -> list[float]:
        """Return how far changes of updates are from what the changes of what was read foretell."""
        import torch

        from fedsim.learning.lbfgs import hessian_product

        updates, reads = (torch.stack(rows) for rows in zip(*changes, strict=True))
        if self._pairs:
            steps, differences = (torch.stack(rows) for rows in zip(*self._pairs, strict=True))
            updates = updates - hessian_product(steps, differences, reads)
        found: list[float] = updates.norm(dim=1).tolist()
        return found

    def _judge(self) -> None:
        """Find who is malicious by the scores; if somebody is, all scores begin anew."""
        import numpy as np

        from fedsim.learning.gap_statistic import groups, upper_group

        scores = self.scores
        if len(scores) < self._settings.quorum * (self._n_workers - len(self.malicious)):
            return
        values = np.array(list(scores.values()))
        if groups(values) == 1:
            return
        self.malicious |= {worker for worker, upper in zip(scores, upper_group(values), strict=True) if upper}
        self._distances.clear()
        self._shares.clear()

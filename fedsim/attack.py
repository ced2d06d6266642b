"""Who attacks, and when: what attacks on data, on messages and on timing have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field, model_validator

from fedsim.catalog import Part
from fedsim.errors import InputError
from fedsim.streams import Stream, Streams


class Attack(Part):
    """What some workers do that they should not, for some time.

    A scenario may hold several, of the same or of different workers; where two do the same thing, the later
    one sees what the earlier one made.
    """

    deviates: ClassVar[bool] = True
    """Whether a worker that does this counts as malicious."""

    workers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """The numbers of the malicious workers, from 0; where one machine holds all data, whose data they are."""
    fraction: float | None = Field(default=None, ge=0, le=1)
    """Instead of `workers`: this part of all workers, rounded to whole ones. Which ones depends on the run's
    seed alone: those of a small fraction are among those of a large one, and those of two attacks with the
    same fraction are the same."""
    start_s: float = Field(default=0.0, ge=0)
    """Jobs that start in [start_s, stop_s) of simulated time are attacked."""
    stop_s: float | None = Field(default=None, gt=0)
    """None: to the end."""

    @model_validator(mode="after")
    def _check_members(self) -> Attack:
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"workers: found {list(self.workers)}, expected each number once")
        if self.workers and self.fraction is not None:
            raise ValueError("found both workers and fraction, expected one of them")
        if self.stop_s is not None and self.stop_s <= self.start_s:
            raise ValueError(f"stop_s: found {self.stop_s:g}, expected more than start_s = {self.start_s:g}")
        return self

    def on(self, start_s: float) -> bool:
        """Whether a job that starts at this instant (s) is attacked."""
        return self.start_s <= start_s and (self.stop_s is None or start_s < self.stop_s)

    def members(self, n_workers: int, seed: int) -> frozenset[int]:
        """Return the numbers of the workers that attack.

        Args:
            n_workers: R.
            seed: of the run.

        Raises:
            InputError: there is no such worker, or nobody was named, by a fraction too small for one worker.
        """
        if self.fraction is None:
            if not self.workers:
                raise InputError("expected `workers` (their numbers) or `fraction` (a part of all)")
            if max(self.workers) >= n_workers:
                raise InputError(f"found worker {max(self.workers)}, expected 0 to {n_workers - 1}")
            return frozenset(self.workers)
        n_members = round(self.fraction * n_workers)
        if self.fraction > 0 and not n_members:
            raise InputError(
                f"fraction: found {self.fraction:g}, which of {n_workers} workers is nobody; expected more "
                f"than {0.5 / n_workers:g}, or 0 to say so"
            )
        order = Streams(seed).generator(Stream.MEMBERS).permutation(n_workers)
        return frozenset(order[:n_members].tolist())

    def begins_s(self) -> float:
        """Return when the first job may start that is attacked (s)."""
        return self.start_s


class Assigned(NamedTuple):
    """An attack and the workers that carry it out in one run."""

    attack: Attack
    workers: frozenset[int]


def malicious(attacks: Iterable[Assigned]) -> frozenset[int]:
    """Return the numbers of the workers that deviate at some time."""
    return frozenset(worker for attack, workers in attacks if attack.deviates for worker in workers)

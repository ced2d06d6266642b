"""How the runs of a sweep ended: counts, and each reason once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fedsim.sweep.outcome import Outcome

NUMBER = re.compile(r"\d+([.,]\d+)*(e[+-]?\d+)?(, \d+)*")
ADDRESS = re.compile(r"\b[0-9a-f]{12}\b")


@dataclass
class Sentences:
    """Sentences; several that differ only in numbers and addresses are printed once."""

    first: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, sentences: Iterable[str]) -> Sentences:
        """Return these."""
        collected = cls()
        for sentence in sentences:
            collected.add(sentence)
        return collected

    def add(self, sentence: str) -> None:
        """Take one more."""
        kind = NUMBER.sub("#", ADDRESS.sub("#", sentence))
        self.first.setdefault(kind, sentence)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def __iter__(self) -> Iterator[str]:
        for kind, sentence in self.first.items():
            more = self.counts[kind] - 1
            yield sentence + (f" (and {more:,} more like this)" if more else "")


@dataclass
class Tally:
    """Counts of what became of runs; none of them is kept."""

    done: int = 0
    """Run now, and brought to an end that is none of the failures."""
    kept: int = 0
    """Found finished."""
    failed: int = 0
    """Stalled, diverged or broken off, now or before."""
    reasons: Sentences = field(default_factory=Sentences)
    redone: Sentences = field(default_factory=Sentences)
    cautions: Sentences = field(default_factory=Sentences)
    places: dict[Path, None] = field(default_factory=dict)
    """Folders of results, in the order in which they came up."""

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self.places[outcome.folder.parent] = None
        if outcome.redone:
            self.redone.add(f"{outcome.folder}: {outcome.redone}; it was run again")
        for caution in outcome.cautions:
            self.cautions.add(caution)
        if outcome.failure:
            self.failed += 1
            self.reasons.add(outcome.failure)
        elif outcome.reused:
            self.kept += 1
        else:
            self.done += 1

    @property
    def total(self) -> int:
        """All runs counted so far."""
        return self.done + self.kept + self.failed

"""Which fragments are put to a model to learn how the effects of words add up."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Design = Literal["none", "single", "repeat", "random", "mixed", "position", "wide"]

MIXED_WORDS, MIXED_LENGTH = 4, 16
"""Distinct words of a mixed fragment, and how many words it has in all."""
POSITION_LENGTH, POSITION_WORDS = 8, 4
PLACES = (0, POSITION_LENGTH // 2, POSITION_LENGTH - 1)


class Fragment(NamedTuple):
    """A fragment, and what it is there for."""

    design: Design
    words: tuple[int, ...]
    """Numbers of the candidate words, in their order."""
    group: int = 0
    """Of a design by positions: fragments of a group differ in one word or its place alone."""
    place: int = 0
    """Of a design by positions: where the word stands that varies."""


class Sizes(NamedTuple):
    """How many fragments there are."""

    repeats: tuple[int, ...] = (2, 4, 8, 16)
    """How often each word is repeated."""
    lengths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Of random fragments, in words."""
    random: int = 24
    """Random fragments of each length."""
    mixed: int = 24
    positions: int = 6
    """Groups, each with `POSITION_WORDS` words at each of `PLACES`."""
    wide: tuple[int, ...] = (8, 16, 32, 64)
    """Lengths of fragments of other words too; as many of each as random ones."""


FEWER = Sizes(repeats=(2, 4, 8), lengths=(2, 4, 8, 16), random=20, mixed=16, positions=4, wide=(8, 16))
"""Enough to see whether another template or demonstrations change the forms."""


def fragments(
    n_candidates: int, n_offered: int, sizes: Sizes, generator: np.random.Generator
) -> list[Fragment]:
    """Return the fragments that are asked; words are drawn uniformly, as by a prompt that is not yet tuned.

    Args:
        n_candidates: N, the first of the words, which all designs but one keep to: each is asked alone too.
        n_offered: all words, for wide fragments: few words would be repeated often in long ones.
        sizes: how many of each kind.
        generator: the randomness.
    """
    found = [Fragment("none", ())]
    found += [Fragment("single", (word,)) for word in range(n_candidates)]
    found += [Fragment("repeat", (word,) * count) for count in sizes.repeats for word in range(n_candidates)]
    for length in sizes.lengths:
        drawn = generator.integers(n_candidates, size=(sizes.random, length)).tolist()
        found += [Fragment("random", tuple(words)) for words in drawn]
    for _ in range(sizes.mixed):
        # Unequal counts: where all words occur as often, no form of repeats can be told from another.
        few = generator.choice(n_candidates, MIXED_WORDS, replace=False)
        found.append(
            Fragment(
                "mixed",
                tuple(
                    generator.choice(few, MIXED_LENGTH, p=generator.dirichlet(np.ones(MIXED_WORDS))).tolist()
                ),
            )
        )
    for group in range(sizes.positions):
        others = generator.integers(n_candidates, size=POSITION_LENGTH - 1).tolist()
        varied = generator.choice(n_candidates, POSITION_WORDS, replace=False).tolist()
        found += [
            Fragment("position", (*others[:place], word, *others[place:]), group, place)
            for place in PLACES
            for word in varied
        ]
    for length in sizes.wide:
        drawn = generator.integers(n_offered, size=(sizes.random, length)).tolist()
        found += [Fragment("wide", tuple(words)) for words in drawn]
    return found

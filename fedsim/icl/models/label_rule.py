"""Which tokens of a label word count: the rule of models that give a probability to every token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fedsim.errors import ModelError

LABEL_RULE = "first token where it tells the labels apart, else the whole label"

ENDING_LETTERS = 8
"""How much of a prompt's end is looked at to see how a label word after it is cut into tokens."""

Tokens = tuple[int, ...]


class LabelTokens:
    """The tokens of label words as they follow texts.

    Args:
        cut: cuts a text into tokens.
        space: what stands between a text and a label word, where the text does not end with a space.
    """

    def __init__(self, cut: Callable[[str], Tokens], space: str = " ") -> None:
        self._cut = cut
        self._space = space
        self._known: dict[tuple[str, tuple[str, ...]], list[Tokens]] = {}

    def counted(self, text: str, labels: tuple[str, ...]) -> tuple[list[Tokens], bool]:
        """Return the tokens of each label word that count after a text, and whether it counts whole.

        Raises:
            ModelError: a label word has none.
        """
        tokens = self._after(text, labels)
        whole = len({each[0] for each in tokens}) < len(labels)
        return (tokens if whole else [each[:1] for each in tokens]), whole

    def _after(self, text: str, labels: tuple[str, ...]) -> list[Tokens]:
        """Return all tokens of each label word.

        They are those that the text's end gains when the word is put after it: some models cut a word
        differently where nothing stands before it. Where the word changes how the end itself is cut (a space
        that would be one token with it), they are those of the word alone.
        """
        end = text[-ENDING_LETTERS:]
        if (end, labels) not in self._known:
            space = "" if end[-1:].isspace() else self._space
            before = self._cut(end)
            found = []
            for label in labels:
                both = self._cut(end + space + label)
                kept = both[: len(before)] == before
                found.append(both[len(before) :] if kept else self._cut(space + label))
                if not found[-1]:
                    raise ModelError(f"the label {label!r} has no letters of its own after the prompt")
            self._known[end, labels] = found
        return self._known[end, labels]


def steps(tokens: Sequence[Tokens]) -> dict[Tokens, set[int]]:
    """Return for each beginning of a word, the empty one first, which tokens may come next.

    >>> steps([(7,), (8, 9)])
    {(): {8, 7}, (8,): {9}}
    """
    found: dict[Tokens, set[int]] = {}
    for each in tokens:
        for i, token in enumerate(each):
            found.setdefault(each[:i], set()).add(token)
    return found


def summed(tokens: Sequence[Tokens], logprobs: Mapping[Tokens, Mapping[int, float]]) -> tuple[float, ...]:
    """Return the log-probability of each word, from those of the tokens after each beginning.

    >>> summed([(7,), (8, 9)], {(): {7: -1.0, 8: -2.0}, (8,): {9: -0.5}})
    (-1.0, -2.5)
    """
    return tuple(sum(logprobs[each[:i]][token] for i, token in enumerate(each)) for each in tokens)

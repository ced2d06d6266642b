"""A model that is computed here, ready to answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fedsim.icl.models.language import Answer, Writing

if TYPE_CHECKING:
    from fedsim.icl.models.open_weights.white_box import WhiteBox


class OpenSession:
    """See `fedsim.icl.models.language.Session`. One thread may use it at a time.

    What prompts of one call share at their beginnings is computed once. A prompt's time is its share, by
    tokens that are computed for it, of the time of those that are computed together.
    """

    def __init__(self, box: WhiteBox) -> None:
        self._box = box

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        """Score the label words after each prompt.

        Raises:
            ModelError: a prompt is longer than the context, or empty.
        """
        for place, answer in self._box.answers(prompts, labels):
            done(place, answer)

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        """Continue each prompt greedily for at most `max_tokens`; errors as for `ask`."""
        for place, prompt in enumerate(prompts):
            done(place, self._box.written(prompt, max_tokens))

    def close(self) -> None:
        """Free what cuts texts into tokens; the weights stay for other runs of this process."""
        self._box.close()

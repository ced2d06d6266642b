"""Zero-shot chain of thought."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.icl.baselines.base import Baseline, Desk

if TYPE_CHECKING:
    from torch import Tensor


class ZeroShotCot(Baseline):
    """The model first writes down its reasoning, then the label words are scored after an answer cue.

    A query costs two calls, one of which writes up to `reasoning_tokens`. With the content-free correction
    the model reasons about the content-free query too.

    Source: Kojima et al., "Large language models are zero-shot reasoners", NeurIPS 2022, section 3 (both
    prompts; the label words are scored where the paper parses a text).
    """

    calls_per_query: ClassVar[int] = 2
    kind: Literal["zero_shot_cot"] = "zero_shot_cot"
    trigger: str = "Let's think step by step."
    answer_cue: str = "Therefore, the answer is"
    reasoning_tokens: int = Field(default=128, ge=1)

    def prepare(self, worker: Desk) -> None:
        """Nothing to do."""

    def answer(self, worker: Desk, prepared: None) -> Tensor:
        def reason(prompts: list[str]) -> list[str]:
            asked = [f"{prompt} {self.trigger}" for prompt in prompts]
            written = worker.write(asked, self.reasoning_tokens)
            return [
                f"{prompt} {text.strip()}\n{self.answer_cue}"
                for prompt, text in zip(asked, written, strict=True)
            ]

        return worker.score([()] * len(worker.test), worker.test, reason)

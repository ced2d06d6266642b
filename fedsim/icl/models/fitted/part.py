"""A black box in closed form that was fitted to a real model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.catalog import StatedPath
from fedsim.errors import InputError
from fedsim.icl.models.base import BlackBox, Scorer
from fedsim.icl.models.fitted.parameters import read
from fedsim.icl.tasks.base import Form
from fedsim.icl.tasks.text_files import check_unchanged, digest

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import TaskData, Texts


class Fitted(BlackBox):
    """Linear attention over text embeddings, with numbers fitted to a real model's recorded answers.

    With the features x of a text (its embedding, reduced by principal components), the label scores of a
    query under a prompt with demonstrations k and words j are ``(1 + sum_u h_u + sum_w a_w(j) h_w) (W0 [x; 1]
    + o) + sum_u G_u [x; 1] + sum_u b_u + sum_w a_w(j) e_w``, and the label probabilities their softmax.
    ``G_u = step * (onehot(y_u) - softmax(W0 [x_u; 1])) [x_u; 1]^T`` is the implicit gradient step of
    demonstration (x_u, y_u). The very query has scores o of its own; a demonstration and a word favour labels
    by b_u and e_w, and make the box surer of what it thinks of the query by the gains h_u and h_w. What the
    fragment holds of each word, a_w, is that of `FragmentReading`.

    Fitted by `fedsim_analysis.fitting.surrogate`: W0, step and every o, b, e and h, to probabilities of label
    words that one model gave to random prompts of one run's data. A text or word that was in none of these
    prompts has effect 0. Predicted: everything about other prompts. A scenario names the file relative to
    itself; loading it puts the absolute path and the SHA-256 in their places, as for the data of a text task.

    Source: von Oswald et al., "Transformers learn in-context by gradient descent", ICML 2023, Proposition 1,
    with the softmax loss and label biases (Zhao et al., "Calibrate before use", ICML 2021, section 3) as in
    `Surrogate`; the own effects are ours.
    """

    kind: Literal["fitted"] = "fitted"
    reads: ClassVar[Form] = "text"

    file: StatedPath
    """The parameters, as `fedsim.icl.models.fitted.parameters` writes them."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file; filled in when the scenario is loaded."""

    @model_validator(mode="before")
    @classmethod
    def _identify(cls, settings: Any) -> Any:
        """Fill in the absolute path and the SHA-256 of the parameters."""
        if not isinstance(settings, dict) or not isinstance(settings.get("file"), str):
            return settings
        path, stated = Path(settings["file"]).resolve(), settings.get("sha256")
        try:
            found = digest(path)
            check_unchanged(path, found, stated)
            read(path)
        except InputError as error:
            raise ValueError(str(error)) from error
        return settings | {"file": str(path), "sha256": found if stated is None else stated}

    @property
    def reads_order(self) -> bool:
        return False

    def attach(self, data: TaskData[Texts]) -> Scorer:
        from fedsim.icl.models.fitted.arithmetic import FittedScorer

        path = Path(self.file)
        check_unchanged(path, digest(path), self.sha256 or "")
        return FittedScorer(read(path), data)

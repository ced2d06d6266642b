"""A task of real texts: labelled rows of a file or of GLUE, shared out among the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from fedsim.catalog import StatedPath
from fedsim.errors import InputError, nearest
from fedsim.icl.prompts import PLAIN, TEMPLATES, PromptTemplate
from fedsim.icl.tasks import text_files
from fedsim.icl.tasks.base import Demonstrations, Form, Longs, Queries, Task, TaskData, TestSet, Texts
from fedsim.icl.tasks.glue import GlueName, read_glue
from fedsim.icl.tasks.split import TEST, Share, counts_by_class, draw_classes, held_out, merged, share_out
from fedsim.icl.tasks.text_files import Corpus
from fedsim.icl.vocabulary import VocabularySettings, agree, offer
from fedsim.safety import is_safe
from fedsim.streams import Stream, Streams

FIXED_TEST_SEED = 0
"""What draws the test rows that all runs share. Real rows have no law from which a typical set could follow:
a fixed set is one draw, off the accuracy over all rows by its binomial error."""


MOST_TESTS = 100
"""Test rows of a class, where a scenario of a file does not say how many."""


def _template(prompt: Any) -> Any:
    """Put a template in place of its name."""
    if not isinstance(prompt, str):
        return prompt
    if prompt not in TEMPLATES:
        raise ValueError(
            f"no template {prompt!r}{nearest(prompt, TEMPLATES)} (known: {', '.join(TEMPLATES)})"
        )
    return TEMPLATES[prompt]


def _of_data(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a task of a file with what follows from its rows; wrong types are told later."""
    prompt = given.get("prompt", {})
    if isinstance(prompt, dict):
        given["prompt"] = prompt = dict(prompt) if "question" in prompt else PLAIN | prompt
    try:
        file, sha256 = Path(given["file"]), str(given["sha256"])
        if isinstance(prompt, dict) and "labels" not in prompt:
            names = text_files.label_names(file, sha256)
            if len(names) < 2:
                raise ValueError(
                    f"prompt.labels: missing; the labels in {file} are "
                    f"{'one class alone' if names else 'numbers'}: expected the word of each class, as in "
                    'prompt.labels = ["negative", "positive"], or names for labels in the file'
                )
            prompt["labels"] = list(names)
        labels = _label_words(prompt)
        if "test_counts" not in given and labels:
            n_classes, share = len(labels), given.get("test_share", 0.25)
            corpus = text_files.read_corpus(file, sha256, n_classes, labels)
            if not corpus.says_split and isinstance(share, float) and 0 < share < 1:
                is_test = held_out(corpus.labels, n_classes, share, Streams(FIXED_TEST_SEED))
                corpus = corpus._replace(is_test=is_test)
            found = [len(corpus.numbers(label, test=True)) for label in range(n_classes)]
            given["test_counts"] = tuple(max(1, min(MOST_TESTS, count)) for count in found)
    except InputError as error:
        raise ValueError(str(error)) from error
    return given


def _label_words(prompt: Any) -> tuple[str, ...]:
    """Return the label words of a template, of its name or of its table; none where it has none yet."""
    if isinstance(prompt, PromptTemplate):
        return prompt.labels
    if isinstance(prompt, str):
        return TEMPLATES[prompt].labels if prompt in TEMPLATES else ()
    words = prompt.get("labels") if isinstance(prompt, dict) else None
    well = isinstance(words, list | tuple) and len(words) > 1 and all(isinstance(word, str) for word in words)
    return tuple(words) if well and words is not None else ()


class TextTask(Task):
    """Labelled texts from a file or from GLUE, each worker with rows of its own.

    The data are either a `file` (JSONL or CSV, columns as in `fedsim.icl.tasks.text_files`) or a task of
    `glue`. Of a file, what is not stated follows from the data: the classes, their label words and
    `test_counts`; with a scenario's number of workers also how many rows each of them takes, and how many
    candidate words there are (`fedsim.icl.tasks.text_sizes`).

    A scenario names the file relative to itself. Loading it puts the absolute path and the SHA-256 of the
    file in their places: the resolved scenario beside the results runs from any folder, holds no text, and
    refuses data that have changed since. Where the data are elsewhere, as on another machine, name them anew:
    ``--set problem.task.file=PATH``.

    Workers take their rows of a class one after the other from one shuffle of the run: `train_per_class`
    training queries, `validation_per_class` validation queries, `n_demonstrations` candidates. Where class
    proportions are drawn (`dirichlet_alpha`), what a class has no rows for is drawn from the worker's other
    classes. The test rows are the same for all; see `test_set`.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026): its split (10 training and 10 validation
    queries and 50 demonstrations per class), Table 1 (templates) and Table 2 (200 test queries).
    """

    kind: Literal["text"] = "text"
    gives: ClassVar[Form] = "text"
    of_words: ClassVar[tuple[str, ...]] = (*Task.of_words, "vocabulary", "words")

    file: StatedPath | None = None
    """Rows of labelled texts, `.jsonl` or `.csv`."""
    glue: GlueName | None = None
    """A task of GLUE instead of a file; needs the extra 'glue'."""
    folder: StatedPath | None = None
    """A local copy of the `glue` task; see `fedsim.icl.tasks.glue.read_glue`."""
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file or folder; filled in at loading. GLUE's own copy is known by its name."""
    prompt: Annotated[PromptTemplate, BeforeValidator(_template, json_schema_input_type=str | PromptTemplate)]
    """The name of a template of `fedsim.icl.prompts`, or an own one; with `glue` that of its task when left
    out. Of an own one without a question, for a `file`, the rest is that of `fedsim.icl.prompts.PLAIN`;
    label words left out are the names that the file has for its classes, in the order of the alphabet."""
    test_counts: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(100, 100), min_length=2)
    """Test queries of each class; their number is the number of classes U. With a `file`, all that there are
    of each, at most 100, when left out."""
    test_set: TestSet = "fixed"
    """fixed: the same rows in every run, one draw from the test rows. redrawn: each seed draws its own."""
    test_share: float = Field(default=0.25, gt=0, lt=1)
    """Where a file has no column `split`: the part of each class's rows that is for testing. Which rows these
    are is drawn once for all runs, or by each seed, as `test_set` says."""
    vocabulary: VocabularySettings = VocabularySettings()
    """How workers find the candidate words in their training queries and pools."""
    words: tuple[str, ...] | None = None
    """The N candidate words themselves, instead of a vocabulary."""
    reuse: bool = False
    """Whether each worker draws from all training rows, so that two workers may hold the same row."""

    @model_validator(mode="before")
    @classmethod
    def _identify(cls, settings: Any) -> Any:
        """Fill in the absolute path and the SHA-256 of the data."""
        if not isinstance(settings, dict):
            return settings
        given = {key: value for key, value in settings.items() if value is not None}
        if ("file" in given) == ("glue" in given):
            raise ValueError("expected either a file or the name of a task of glue")
        if "folder" in given and "file" in given:
            raise ValueError("a folder is for a local copy of a glue task, not for a file")
        place = next((key for key in ("file", "folder") if isinstance(given.get(key), str)), None)
        if place is not None:
            path = Path(given[place]).resolve()
            given[place] = str(path)
            try:
                found = text_files.digest(path)
                text_files.check_unchanged(path, found, given.setdefault("sha256", found))
            except InputError as error:
                raise ValueError(str(error)) from error
        elif "glue" in given and "sha256" in given:
            raise ValueError("sha256 is for a file or a folder, which are not given")
        if given.get("glue") in [*TEMPLATES]:
            given.setdefault("prompt", given["glue"])
        return _of_data(given) if place == "file" else given

    @model_validator(mode="after")
    def _check(self) -> TextTask:
        if is_safe() and self.glue is not None:
            raise ValueError(
                "with --safe no task of glue is read: the package `datasets` fetches it from elsewhere, "
                "and may run what it finds in a folder"
            )
        n_labels = len(self.prompt.labels)
        if n_labels != self.n_classes:
            raise ValueError(
                f"the prompt has labels for {n_labels} classes, test_counts has {self.n_classes} numbers"
            )
        if self.words is not None:
            self._check_words(self.words)
        if self.file is not None:
            try:
                self._check_test_rows(self.corpus())
            except InputError as error:
                raise ValueError(str(error)) from error
        return self

    def _check_words(self, words: tuple[str, ...]) -> None:
        if self.vocabulary != VocabularySettings():
            raise ValueError("expected either words or settings of the vocabulary that finds them")
        distinct = {word for word in words if word.strip()}
        if not len(distinct) == len(words) == self.n_candidates:
            raise ValueError(
                f"words: found {len(words)}, {len(distinct)} of them distinct and not empty, expected "
                f"n_candidates = {self.n_candidates}"
            )

    def idle(self) -> Mapping[str, str]:
        found = {} if self.words is None else {"vocabulary": "the candidate words are given (words)"}
        if self.glue is not None or self._read().says_split:
            found["test_share"] = "the data say which rows are for testing (split)"
        return found

    def without_fragment(self) -> Self:
        return self.trusted_copy({"words": ()})

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self.test_counts

    @property
    def takes_fragment(self) -> bool:
        return "fragment" in self.prompt.question

    @property
    def demonstrations_carry_fragment(self) -> bool:
        return "question" in self.prompt.demonstration

    def draw(
        self, streams: Streams, n_workers: int, pooled: int = 1, dirichlet_alpha: float | None = None
    ) -> TaskData[Texts]:
        """Draw the data of one run; see `Task.draw`. More workers do not change the rows of those there are.

        Raises:
            InputError: too few rows or candidate words, or the data are no longer what they were.
        """
        corpus, n_classes = self.corpus(streams.seed), self.n_classes
        y, shares = self._shares(corpus, streams, n_workers * pooled, dirichlet_alpha)
        pools = np.empty((n_workers, n_classes, self.n_demonstrations), dtype=np.int64)
        for client, share in enumerate(shares):
            worker, place = divmod(client, pooled)
            pools[worker, :, place::pooled] = share.pool[:, place::pooled]
        shown_y = np.broadcast_to(np.arange(n_classes)[:, None], pools.shape).copy()
        return TaskData(
            train=merged(Queries(np.stack([share.train for share in shares]), y[0]), n_workers),
            validation=merged(Queries(np.stack([share.validation for share in shares]), y[1]), n_workers),
            test=self._draw_test(corpus, streams),
            demonstrations=Demonstrations(pools, shown_y),
            source=Texts(list(corpus.texts), self.prompt, self._candidates(corpus, shares)),
        )

    def _shares(
        self, corpus: Corpus, streams: Streams, n_clients: int, dirichlet_alpha: float | None = None
    ) -> tuple[tuple[Longs, Longs], list[Share]]:
        """Return the classes of every client's training and validation queries, and the rows that it holds.

        Raises:
            InputError: too few rows.
        """
        n_classes = self.n_classes
        of_class = [corpus.numbers(label, test=False) for label in range(n_classes)]
        shown = self.n_demonstrations * (1 if self.reuse else n_clients)
        left = np.array([len(rows) - shown for rows in of_class])
        y = draw_classes(self, streams, n_clients, dirichlet_alpha, left, self.reuse)
        train_n, validation_n = (counts_by_class(labels, n_classes) for labels in y)
        sizes = np.stack([train_n, validation_n, np.full_like(train_n, self.n_demonstrations)])
        self._check_train_rows([len(rows) for rows in of_class], sizes.sum(0))
        return y, share_out(streams, of_class, sizes, self.reuse)

    def n_offered(self, streams: Streams, n_workers: int) -> int:
        """Return on how many candidate words so many workers could agree, with classes in equal parts.

        Raises:
            InputError: too few rows.
        """
        corpus = self.corpus(streams.seed)
        offers = self._offers(corpus, self._shares(corpus, streams, n_workers)[1])
        counted = Counter(word for one in offers for word in one)
        return sum(n_workers >= self.vocabulary.min_workers for n_workers in counted.values())

    @property
    def tells_tokens(self) -> bool:
        # GLUE may have to be fetched, which reading a scenario must not do.
        return self.file is not None

    def likely_prompts(self, n_words: int, n_demonstrations: int) -> tuple[str, ...]:
        from fedsim.icl.tasks.likely import likely_prompts

        return likely_prompts(self, n_words, n_demonstrations)

    def corpus(self, seed: int = FIXED_TEST_SEED) -> Corpus:
        """Return all rows.

        Args:
            seed: of the run; it draws the test rows where the file does not say which they are and `test_set`
                is redrawn.

        Raises:
            InputError: they are missing or no longer what they were.
        """
        if self.glue is not None:
            folder = None if self.folder is None else Path(self.folder)
            if folder is not None:
                text_files.check_unchanged(folder, text_files.digest(folder), self.sha256 or "")
            return read_glue(self.glue, folder)
        found = self._read()
        if found.says_split:
            return found
        streams = Streams(seed if self.test_set == "redrawn" else FIXED_TEST_SEED)
        return found._replace(is_test=held_out(found.labels, self.n_classes, self.test_share, streams))

    def _read(self) -> Corpus:
        """Return the rows of the file."""
        labels = self.prompt.labels
        return text_files.read_corpus(Path(self.file or ""), self.sha256 or "", self.n_classes, labels)

    def _draw_test(self, corpus: Corpus, streams: Streams) -> Queries:
        self._check_test_rows(corpus)
        if self.test_set == "fixed":
            streams = Streams(FIXED_TEST_SEED)
        x = [
            streams.seat(Stream.DATA, label, TEST).permutation(corpus.numbers(label, test=True))[:n]
            for label, n in enumerate(self.test_counts)
        ]
        return Queries(np.concatenate(x)[None], np.repeat(np.arange(self.n_classes), self.test_counts)[None])

    def _candidates(self, corpus: Corpus, shares: list[Share]) -> tuple[str, ...]:
        """Return the candidate words: those given, or those agreed from what each worker offers.

        A worker's offer comes from its own training queries and pool alone.
        """
        if self.words is not None:
            return self.words
        return agree(self._offers(corpus, shares), self.n_candidates, self.vocabulary.min_workers)

    def _offers(self, corpus: Corpus, shares: list[Share]) -> list[Counter[str]]:
        """Return the words that each worker offers, and how often they occur in its texts."""
        offers = []
        for share in shares:
            rows = [corpus.texts[row] for row in (*share.train, *share.pool.ravel())]
            offers.append(offer([text for row in rows for text in row if text], self.vocabulary))
        return offers

    def _check_test_rows(self, corpus: Corpus) -> None:
        for label, n in enumerate(self.test_counts):
            found = len(corpus.numbers(label, test=True))
            if found < n:
                raise InputError(
                    f"test_counts asks for {n} test rows of class {label} ({self.prompt.labels[label]}), "
                    f"found {found} in {self.file or self.glue}"
                )

    def _check_train_rows(self, found: list[int], needs: Longs) -> None:
        needed = needs.max(0) if self.reuse else needs.sum(0)
        for label, n in enumerate(needed.tolist()):
            if found[label] < n:
                one = self.reuse or len(needs) == 1
                workers = "one worker needs" if one else f"{len(needs)} workers need"
                remedy = "" if self.reuse else ", or reuse = true to let workers hold the same rows"
                raise InputError(
                    f"{workers} {n} training rows of class {label} ({self.prompt.labels[label]}), found "
                    f"{found[label]} in {self.file or self.glue}: take fewer workers or rows{remedy}"
                )

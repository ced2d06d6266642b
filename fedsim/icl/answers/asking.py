"""Prompts put to a language model: each one once, after a look in the cache, and kept at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.answer import ROUNDING, Answer, Metered, Spent, Writing
from fedsim.icl.answers.kept import Kept, Question, addresses, scoring, writing
from fedsim.icl.answers.naming import Judgement, LabelCensus
from fedsim.icl.answers.recording import Recording, text_of
from fedsim.icl.answers.served import Control, ServerCensus
from fedsim.progress import tell

if TYPE_CHECKING:
    from fedsim.icl.answers.cache import AnswerCache
    from fedsim.icl.models.language import LanguageModel, Session

Done = Callable[[int, Any], None]
Put = Callable[["Session", list[str], Done], None]
"""Hands prompts to a session, with what to call for each answer."""


class Asking:
    """The questions that one run puts to a language model.

    An answer comes from memory, from the cache on disk, or from the model; the model is not even connected
    before something is missing. Not for use by several threads at once.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._session: Session | None = None
        self._used: dict[str, Kept] = {}
        self._counts = Counter[str]()
        self._seconds = 0.0
        self._spent_before: Spent | None = None
        """By sessions that are closed and count what is sent."""
        self._served = ServerCensus()
        self._control = Control()
        self._compare_later: Callable[[], None] | None = None
        self._census = LabelCensus(model.warn_unnamed_share, model.max_unnamed_share)

    def ask(self, prompts: Sequence[str], labels: tuple[str, ...]) -> list[Answer]:
        """Return the answer to each prompt, in their order.

        Raises:
            ModelError: the model, its budget or the disk gave out, or its answers name no labels; answers had
                by then are kept.
        """

        def put(session: Session, missing: list[str], done: Done) -> None:
            session.ask(missing, labels, lambda place, answer: done(place, _checked(answer, labels)))

        answers = self._answers(prompts, scoring(labels), put, labels)
        self._census.check()
        return answers

    def write(self, prompts: Sequence[str], max_tokens: int) -> list[Writing]:
        """Return how the model continues each prompt, in their order; otherwise as `ask`."""

        def put(session: Session, missing: list[str], done: Done) -> None:
            session.write(missing, max_tokens, done)

        return self._answers(prompts, writing(max_tokens), put)

    def usage(self) -> dict[str, Any]:
        """Return what was asked, doubles included, who answered, and what the model's answers cost.

        ``tokens_in``, ``tokens_out`` and ``seconds`` (the sum over calls) are those of answers that came from
        the model in this run; ``rules`` counts the distinct scored answers used, by their `Answer.rule`:
        ``scored`` in all, of which ``without_label`` name no label. ``sent`` is the bill: see `Spent`.
        """
        names = ("asked", "from_memory", "from_cache", "from_model", "tokens_in", "tokens_out")
        rules = Counter(kept.rule for kept in self._used.values() if isinstance(kept, Answer))
        return {name: self._counts[name] for name in names} | {
            "seconds": self._seconds,
            "damaged_in_cache": self._cache.damaged if "_cache" in vars(self) and self._cache else 0,
            "rules": dict(sorted(rules.items())),
            "sent": self._spent().as_table(),
            "answered_by": self._served.counts(),
            **self._census.counts(),
        }

    def judge(self) -> Judgement:
        """Return whether the answers of a run, which is at its end, mean something; see `LabelCensus`."""
        control = [self._control.caution] if self._control.caution else []
        cautions = (*self._census.cautions(), *self._served.cautions(), *control)
        return Judgement(self._census.too_many(), cautions)

    def recording(self) -> str:
        """Return all answers used so far as the text of a recording; see `fedsim.icl.answers.recording`."""
        return text_of(Recording(self._identity, self._model.correction, self._used))

    def close(self) -> None:
        """Free the model and close the cache; both come back when needed."""
        if self._session is not None:
            if isinstance(self._session, Metered):
                self._spent_before = self._spent()
            self._session.close()
            self._session = None
        if "_cache" in vars(self) and self._cache is not None:
            self._cache.close()

    def _spent(self) -> Spent:
        before = self._spent_before
        if isinstance(self._session, Metered):
            now = self._session.spent()
            return now if before is None else before.plus(now)
        if before is not None:
            return before
        return Spent(*(self._counts[name] for name in ("from_model", "tokens_in", "tokens_out")))

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return self._model.identity

    @cached_property
    def _cache(self) -> AnswerCache | None:
        if not self._model.cache:
            return None
        from fedsim.icl.answers.cache import AnswerCache

        return AnswerCache()

    def _answers(
        self, prompts: Sequence[str], question: Question, put: Put, labels: tuple[str, ...] = ()
    ) -> list[Any]:
        distinct = list(dict.fromkeys(prompts))
        place = dict(zip(distinct, addresses(self._identity, question, distinct), strict=True))
        from_disk: dict[str, Kept] = {}
        missing: dict[str, str] = {}
        for prompt, address in place.items():
            if address in self._used:
                self._counts["from_memory"] += 1
            elif (kept := self._looked_up(address)) is not None:
                from_disk[prompt] = kept
            else:
                missing[address] = prompt
        if from_disk and self._model.may_change:
            self._compare(from_disk, put, labels)
        for prompt, kept in from_disk.items():
            self._used[place[prompt]] = kept
            self._note(kept, labels)
        self._counts["from_cache"] += len(from_disk)
        self._counts["asked"] += len(prompts)
        self._counts["from_memory"] += len(prompts) - len(distinct)
        if missing:
            self._ask_model(missing, put, labels)
        return [self._used[place[prompt]] for prompt in prompts]

    def _looked_up(self, address: str) -> Kept | None:
        """Return an answer that is on disk."""
        return self._cache.get(address) if self._cache is not None else None

    def _compare(self, from_disk: dict[str, Kept], put: Put, labels: tuple[str, ...]) -> None:
        """Find out once whether kept answers are of the model that answers now; look at each one's name.

        Where nobody can be asked, what is kept is used, and said to be unchecked: the answers of a run that
        asks nothing are all of one time. Once something is missing, it must be found out.
        """
        if self._control.model is None and self._compare_later is None:

            def compare() -> None:
                self._control.compare(from_disk, lambda prompt: self._asked_anew(prompt, put), labels)

            try:
                compare()
            except _UnreachedError as error:
                why = str(error).partition(". ")[0]
                self._control.caution = f"kept answers could not be compared with the model of now: {why}"
                self._compare_later = compare
        for kept in from_disk.values():
            self._control.check(kept)

    def _asked_anew(self, prompt: str, put: Put) -> Kept:
        """Return the model's answer to one prompt, whatever is kept; it is not kept itself."""
        fresh: list[Kept] = []
        try:
            put(self._opened(), [prompt], lambda _, kept: fresh.append(kept))
        except (ModelError, InputError) as error:
            raise _UnreachedError(str(error)) from None
        return fresh[0]

    def _opened(self) -> Session:
        if self._session is None:
            self._session = self._model.connect()
        return self._session

    def _note(self, kept: Kept, labels: tuple[str, ...]) -> None:
        """Count what an answer names that the run has not used before, wherever it comes from."""
        self._served.add(kept)
        if isinstance(kept, Answer):
            self._census.add(kept, labels)

    def _ask_model(self, missing: dict[str, str], put: Put, labels: tuple[str, ...]) -> None:
        """Ask the model for what is missing, and keep every answer the moment it is there."""
        # In the order of their texts, prompts with the same beginning are neighbours.
        ordered = sorted(missing.items(), key=itemgetter(1))
        unstored: dict[str, Kept] = {}
        n_done = 0

        def done(place: int, kept: Kept) -> None:
            nonlocal n_done
            n_done += 1
            tell("prompts answered by the model", n_done, len(missing))
            address = ordered[place][0]
            self._used[address] = unstored[address] = kept
            self._count(kept)
            self._note(kept, labels)
            self._store(unstored)
            self._census.check()

        session = self._opened()
        if self._compare_later is not None:
            self._compare_later()
            self._compare_later = None
        try:
            put(session, [prompt for _, prompt in ordered], done)
        except BaseException:
            # An interruption may have come between an answer and the disk; what stopped us is what counts.
            with suppress(ModelError):
                self._store(unstored)
            raise
        if unanswered := sum(address not in self._used for address in missing):
            raise ModelError(
                f"model {self._model.kind!r} left {unanswered} of {len(missing)} prompts unanswered"
            )

    def _store(self, unstored: dict[str, Kept]) -> None:
        """Move answers to the disk."""
        for address, kept in list(unstored.items()):
            if self._cache is not None:
                self._used[address] = self._cache.add(address, kept)
            del unstored[address]

    def _count(self, kept: Kept) -> None:
        self._counts.update(from_model=1, tokens_in=kept.tokens_in, tokens_out=kept.tokens_out)
        self._seconds += kept.end_to_end_s


class _UnreachedError(ModelError):
    """A kept answer could not be compared with one of the model that answers now."""


def _checked(answer: Answer, labels: tuple[str, ...]) -> Answer:
    """Return an answer that can be what it says.

    Raises:
        ModelError: it cannot.
    """
    good = sum(value <= ROUNDING for value in answer.logprobs)  # which NaN is not
    if good != len(labels) or good != len(answer.logprobs):
        raise ModelError(
            f"expected a log-probability, at most 0, for each of {len(labels)} labels, got {answer.logprobs}"
        )
    return answer

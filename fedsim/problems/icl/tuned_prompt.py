"""The tuned prompt of a finished run, in words: read from its table `prompt`, and put to new texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from fedsim.errors import InputError
from fedsim.icl.answers.asking import Asking
from fedsim.icl.models.label_probabilities import content_free, probabilities
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.models.replay import Replay
from fedsim.icl.tasks.base import Text
from fedsim.learning.tuned import CONSENSUS, worker
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.icl.show_prompt import on_data
from fedsim.streams import Streams

if TYPE_CHECKING:
    import pandas as pd

    from fedsim.problems.icl.show_prompt import PromptScenario

Row = Mapping[str, Any]
"""One of the table `prompt`, by column."""


class InWords(NamedTuple):
    """What a number in the table stands for, in words."""

    text: str
    label: str = ""
    """Of a demonstration: the label word that is shown with it."""


class TunedPrompt:
    """The tuned prompts of one run.

    The table holds numbers, because results hold no text that may be private. With the data that the run had,
    which its scenario names, they become texts again; a task without texts has numbers alone. What attacks
    made of the data is shown, except by attacks that ask the model for it.

    Args:
        scenario: of the run.
        table: its table `prompt`.
        time_s: when the run ended (s): attacks may have changed data by then.
    """

    def __init__(self, scenario: PromptScenario, table: pd.DataFrame, time_s: float = 0.0) -> None:
        self.scenario = scenario
        self.problem = scenario.problem
        self._time_s = time_s
        self._rows: dict[str, list[Row]] = {}
        for row in table.to_dict("records"):
            self._rows.setdefault(str(row["whose"]), []).append({str(key): cell for key, cell in row.items()})
        self._oracle: IclOracle | None = None

    @property
    def owners(self) -> list[str]:
        """Whose rows there are: the consensus and workers, as the table calls them."""
        return list(self._rows)

    @property
    def has_texts(self) -> bool:
        """Whether prompts are texts."""
        return isinstance(self.problem, IclProblem) and self.problem.task.gives == "text"

    def rows(self, whose: str) -> list[Row]:
        """Return the rows of the consensus or of a worker.

        Raises:
            InputError: there are none.
        """
        if whose not in self._rows:
            has = "no consensus" if whose == CONSENSUS else f"nothing of {whose}"
            kept = [owner for owner in self._rows if owner != CONSENSUS]
            told = f"{kept[0]} to {kept[-1]}" if kept else "the consensus alone"
            raise InputError(f"the run has {has} (it has {told})")
        return self._rows[whose]

    def candidate(self, whose: str, row: Row, number: int) -> InWords | None:
        """Return what a candidate of a row is in words; None where it has none."""
        if not self.has_texts or number < 0:
            return None
        data = self._drawn.data
        if row["what"] == "word":
            return InWords(data.source.words[number])
        if row["what"] != "demonstration":
            return None
        text, label = self._demonstration(_number(whose), int(row["place"]), number)
        return InWords(" / ".join(field for field in text if field), data.source.template.labels[label])

    def text(self, number: int | None, query: Text) -> str:
        """Return the exact text of a call about a text.

        Args:
            number: of the worker whose prompt it is; None: the words of the consensus, where there is one,
                with the demonstrations of worker 0.
            query: what is asked about.

        Raises:
            InputError: the run has no such prompt, or no texts.
        """
        if not self.has_texts:
            kind = self.problem.task.kind if isinstance(self.problem, IclProblem) else self.problem.kind
            raise InputError(f"{kind!r} has no prompts in words; expected a run with a task of texts")
        demonstrations, fragment = self._parts(number)
        return self._drawn.data.source.template.prompt(demonstrations, query, fragment)

    def answers(self, number: int | None, texts: Sequence[Text]) -> list[tuple[float, ...]]:
        """Ask the model of the run about texts; return the probability of each label word.

        Args:
            number: as of `text`.
            texts: what is asked about.

        Raises:
            InputError: the run has no such prompt, or its model cannot be asked anything new.
            ModelError: the model, or its budget, gave out.
        """
        model = getattr(self.problem, "model", None)
        if isinstance(model, Replay):
            raise InputError("problem.model: a replay has recorded answers alone; expected a model to ask")
        prompts = [self.text(number, text) for text in texts]
        if not isinstance(model, LanguageModel):
            raise InputError("problem.model: expected a language model, which answers texts")
        corrected = model.correction == "content_free"
        blanks = [self.text(number, content_free(text)) for text in texts] if corrected else []
        asking = Asking(model)
        try:
            found = asking.ask([*prompts, *blanks], self.labels)
        finally:
            asking.close()
        logprobs = torch.tensor([answer.logprobs for answer in found], dtype=torch.float64)
        prior = logprobs[len(prompts) :] if corrected else None
        return [tuple(row) for row in probabilities(logprobs[: len(prompts)], prior).tolist()]

    @property
    def labels(self) -> tuple[str, ...]:
        """The label words."""
        template = self.problem.task.prompt if isinstance(self.problem, IclProblem) else None  # type: ignore[attr-defined]  # a task of texts has one
        return tuple(template.labels) if template is not None else ()

    @property
    def _drawn(self) -> IclOracle:
        """The problem with the data of the run, drawn anew."""
        if self._oracle is None:
            scenario, problem = self.scenario, self.problem
            assert isinstance(problem, IclProblem)
            streams = Streams(scenario.seed)
            holders, machines = scenario.n_workers, scenario.n_machines
            self._oracle = IclOracle(
                problem, streams, machines, holders // machines, on_data(scenario, streams)
            )
        return self._oracle

    def _parts(self, number: int | None) -> tuple[list[tuple[Text, int]], str]:
        """Return the demonstrations in the order in which a prompt shows them, and its fragment."""
        own = self.rows(worker(number or 0)) if self._tunes_own(number) else []
        words = [row for row in own if row["what"] == "word"] if number is not None else []
        if not words and CONSENSUS in self._rows:
            words = self._rows[CONSENSUS]
        if number is None and CONSENSUS not in self._rows:
            raise InputError("the run has no consensus: expected a worker, as in --worker 0")
        data = self._drawn.data
        fragment = " ".join(data.source.words[int(row["number"])] for row in words if row["what"] == "word")
        slots = [row for row in own if row["what"] == "demonstration"]
        order = range(len(slots)) if data.order is None else data.order.tolist()
        numbers = {int(row["place"]): int(row["number"]) for row in slots}
        shown = [self._demonstration(number or 0, slot, numbers[slot]) for slot in order if slot in numbers]
        return shown, fragment

    def _tunes_own(self, number: int | None) -> bool:
        """Whether the worker has rows of its own; a worker of which nothing is known is none of the run's."""
        if worker(number or 0) in self._rows:
            return True
        kept = [owner for owner in self._rows if owner != CONSENSUS]
        if number is not None and (kept or not 0 <= number < self.scenario.n_machines):
            self.rows(worker(number))
        return False

    def _demonstration(self, number: int, slot: int, candidate: int) -> tuple[Text, int]:
        data = self._drawn.data
        (row,) = self._drawn.rows([number], [self._time_s])
        pools = data.demonstrations
        text: Text = data.source.rows[int(pools.x[row, slot, candidate])]
        return text, int(pools.y[row, slot, candidate])


def _number(whose: str) -> int:
    return 0 if whose == CONSENSUS else int(whose.removeprefix("worker "))

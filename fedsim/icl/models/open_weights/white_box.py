"""A language model whose inside can be read and changed: vectors taken out of it and put into it.

Vectors of demonstrations are added to what modules give, so that a prompt without demonstrations is answered
as if they were there. Only some numbers are learned: for each module, how much of the vector is added and how
much of its own output stays.

Source: Li et al., "Implicit in-context learning", ICLR 2025, section 3, and its released code, in which a
module's output y becomes beta * y + lambda * v; Li et al., arXiv:2511.06757, equations 1 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.errors import ModelError
from fedsim.icl.answers.kept import Question
from fedsim.icl.models.label_rule import ENDING_LETTERS, Tokens, steps, summed
from fedsim.icl.models.language import Answer, Writing
from fedsim.icl.models.open_weights.llama import KEYS, QUERIES, Change, Llama, attention
from fedsim.icl.models.open_weights.sizes import Shape
from fedsim.icl.models.open_weights.tokenizer import Tokenizer
from fedsim.icl.models.open_weights.walk import Memory, nothing, one_more, walk

if TYPE_CHECKING:
    from fedsim.icl.models.open_weights.pass_cache import KeptPass, PassCache

Where = Literal["predicting", "all"]
"""At which tokens of a prompt vectors are put in: the last one, or all."""

Noise = tuple[float, Sequence[np.random.Generator]]
"""How large noise is beside what it is added to, and where each prompt's is drawn."""

SIZE: Question = ("size", None)
OUTPUTS: Question = ("outputs", None)
KEYS_AND_VALUES: Question = ("keys_and_values", None)
"""What is kept of texts on disk."""

PROMPTS_TOGETHER = 64
"""Prompts of which the last tokens are computed together."""
TOKENS_TOGETHER = 256
"""The same for all tokens of prompts."""


class LabelScores(NamedTuple):
    """What a model says of label words after n prompts."""

    logits: Tensor
    """Of each label word's first token, (n, U)."""
    log_total: Tensor
    """The logarithm of the sum of e to the logit over all tokens, (n,): subtracted, it makes of a logit a
    log-probability."""


class WhiteBox:
    """A model with its weights at hand. One thread may use it at a time.

    All numbers are the same bit for bit whatever else is asked for, before or at the same time.
    """

    def __init__(
        self, llama: Llama, tokenizer: Tokenizer, context_tokens: int, kept: PassCache | None = None
    ) -> None:
        self._llama = llama
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens
        self._kept = kept
        self._sizes: dict[str, _Size] = {}
        self._prefixes: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        self._first_tokens: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        self._memory: Memory | None = None
        """Of prompts that were answered: the next ones mostly begin alike."""

    @property
    def shape(self) -> Shape:
        """How many layers there are, and how wide they are."""
        return Shape(self._llama.sizes.n_layers, self._llama.sizes.width)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text.

        Raises:
            ModelError: a text has none, or more than the context.
        """
        return [self._size(text).n_tokens for text in texts]

    def extract(self, texts: Sequence[str]) -> Tensor:
        """Return what each module adds to the residual stream at the last token of each text, (n, L, 2, d).

        Along the third dimension stand attention and MLP. Errors as for `count_tokens`.
        """
        missing = {}
        for text in dict.fromkeys(texts):
            if text not in self._outputs:
                if (found := self._looked_up(OUTPUTS, text)) is None:
                    missing[self._tokens(text)] = text
                else:
                    self._outputs[text] = found.numbers.view(*self.shape[:1], 2, -1)
        numbered = list(missing.items())
        for ends in walk(self._llama, list(missing)):
            for end in ends:
                text = numbered[end.number][1]
                self._outputs[text] = end.outputs
                self._keep(OUTPUTS, text, end.outputs)
        outputs = [self._outputs[text] for text in texts]
        return torch.stack(outputs) if outputs else torch.zeros(0, self.shape.n_layers, 2, self.shape.width)

    def label_scores(
        self,
        prompts: Sequence[str],
        labels: tuple[str, ...],
        vectors: Tensor,
        coefficients: Tensor,
        at: Where = "predicting",
        noise: Noise | None = None,
    ) -> LabelScores:
        """Return what the model says after prompts with vectors put in.

        What a module gives, y, becomes beta * y + lambda * v. The MLP reads the residual stream with what was
        put in behind the attention of its layer. Differentiable by the coefficients where gradients are
        enabled; at all tokens that takes about 1.4 MB a token of the default model.

        Args:
            prompts: n texts.
            labels: U label words, without a leading space; their first tokens must differ.
            vectors: v of each module, (L, 2, d), or a set for each prompt, (n, L, 2, d).
            coefficients: lambda, then beta, of each module for each prompt, (n, L, 2, 2).
            at: at the last token alone, which costs one token where a prompt was asked about before, or at
                every one.
            noise: a scale, and a generator for each prompt: to each vector that enters the stream, standard
                normal numbers are added, times the scale and the vector's length. For training.

        Raises:
            ModelError: a prompt is empty or longer than the context, or labels have the same first token.
        """
        vectors = vectors.to(self._llama.dtype).expand(len(prompts), -1, -1, -1)
        coefficients = coefficients.to(self._llama.dtype)
        sizes = [self._size(prompt) for prompt in prompts]
        first = torch.tensor([self._first(prompt, labels) for prompt in prompts]).view(-1, len(labels))
        if at == "predicting":
            self._find_prefixes(prompts)
            parts, last = _equal_parts(len(prompts)), self._last_alone
        else:
            parts, last = _parts_by_tokens([size.n_tokens for size in sizes]), self._last_of_all
        scale, generators = noise if noise is not None else (0.0, ())
        logits, totals = [], []
        for part in parts:
            draws = [self._drawn(generators[i], sizes[i].n_tokens, at) for i in part] if scale else []
            put_in = _PutIn(vectors[part], coefficients[part], scale, draws)
            found = self._llama.logits(last([prompts[i] for i in part], put_in))
            logits.append(found.gather(1, first[part]))
            totals.append(found.logsumexp(1))
        if not logits:
            return LabelScores(coefficients.new_zeros(0, len(labels)), coefficients.new_zeros(0))
        return LabelScores(torch.cat(logits), torch.cat(totals))

    def answers(self, prompts: Sequence[str], labels: tuple[str, ...]) -> Iterator[tuple[int, Answer]]:
        """Yield the place of each prompt and what the model says of label words after it.

        A label word counts as `fedsim.icl.models.label_rule` says. Errors as for `count_tokens`.
        """
        counted = {}
        asked: dict[Tokens, list[tuple[int, Tokens]]] = {}
        for place, prompt in enumerate(prompts):
            tokens = self._tokens(prompt)
            words, whole = self._tokenizer.labels.counted(prompt, labels)
            counted[place] = (words, whole, steps(words))
            for start in counted[place][2]:
                self._check_length(len(tokens) + len(start))
                asked.setdefault(tokens + start, []).append((place, start))
        found: dict[int, dict[Tokens, _Step]] = {place: {} for place in counted}
        texts = list(asked)
        if self._memory is None:
            self._memory = Memory(self._llama)
        for ends in walk(self._llama, texts, memory=self._memory):
            logprobs = self._llama.logits(torch.stack([end.stream for end in ends])).double().log_softmax(1)
            for end, row in zip(ends, logprobs, strict=True):
                text = texts[end.number]
                for place, start in asked[text]:
                    words, whole, wanted = counted[place]
                    listed = {token: float(row[token]) for token in wanted[start]}
                    found[place][start] = _Step(listed, len(text), end.seconds)
                    if len(found[place]) == len(wanted):
                        yield place, _answer(words, whole, found.pop(place))

    def written(self, prompt: str, max_tokens: int) -> Writing:
        """Return how the model continues a prompt, always with the likeliest token, until it ends the text.

        Errors as for `count_tokens`.
        """
        tokens = self._tokens(prompt)
        [[end]] = walk(self._llama, [tokens], keep=True)
        ttft_s = seconds = end.seconds
        new: list[int] = []
        while True:
            new.append(int(self._llama.logits(end.stream[None])[0].argmax()))
            n_all = len(tokens) + len(new)
            if new[-1] in self._llama.ends or len(new) == max_tokens or n_all == self._context_tokens:
                break
            assert end.keys_and_values is not None
            end = one_more(self._llama, new[-1], end.keys_and_values)
            seconds += end.seconds
        shown = tuple(new[:-1] if new[-1] in self._llama.ends else new)
        text = self._tokenizer.text(shown) if shown else ""
        return Writing(text, len(tokens), len(new), ttft_s, seconds)

    def close(self) -> None:
        """Free llama.cpp, which cuts texts into tokens, and close files; both come back when needed."""
        self._tokenizer.close()
        if self._kept is not None:
            self._kept.close()

    def _looked_up(self, what: Question, text: str) -> KeptPass | None:
        return None if self._kept is None else self._kept.get(what, text)

    def _keep(
        self, what: Question, text: str, numbers: Tensor | None = None, counts: Sequence[int] = ()
    ) -> None:
        if self._kept is not None:
            self._kept.add(what, text, numbers, counts)

    def _size(self, text: str) -> _Size:
        if text not in self._sizes:
            if (found := self._looked_up(SIZE, text)) is not None:
                self._sizes[text] = _Size(*found.counts)
            else:
                tokens = self._tokens(text)
                self._sizes[text] = _Size(len(tokens), tokens[-1])
                self._keep(SIZE, text, counts=self._sizes[text])
        self._check_length(self._sizes[text].n_tokens)
        return self._sizes[text]

    def _tokens(self, text: str) -> Tokens:
        tokens = self._tokenizer.tokens(text)
        if not tokens:
            raise ModelError("a text has no tokens: is it empty?")
        self._check_length(len(tokens))
        return tokens

    def _check_length(self, n_tokens: int) -> None:
        if n_tokens > self._context_tokens:
            raise ModelError(
                f"a prompt has {n_tokens} tokens, more than context_tokens = {self._context_tokens}: "
                "raise context_tokens, or show fewer or shorter demonstrations"
            )

    def _first(self, prompt: str, labels: tuple[str, ...]) -> list[int]:
        """Return the first token of each label word after a prompt."""
        end = prompt[-ENDING_LETTERS:]
        if (end, labels) not in self._first_tokens:
            what = ("first_tokens", list(labels))
            if (found := self._looked_up(what, end)) is not None:
                tokens = list(found.counts)
            else:
                words, whole = self._tokenizer.labels.counted(prompt, labels)
                if whole:
                    raise ModelError(f"some of the labels {', '.join(labels)} have the same first token")
                tokens = [each[0] for each in words]
                self._keep(what, end, counts=tokens)
            self._first_tokens[end, labels] = tokens
        return self._first_tokens[end, labels]

    def _drawn(self, generator: np.random.Generator, n_tokens: int, at: Where) -> Tensor:
        """Return standard normal numbers for all modules at each token where vectors are put in."""
        n = 1 if at == "predicting" else n_tokens
        shape = (n, self.shape.n_layers, 2, self.shape.width)
        return torch.from_numpy(generator.standard_normal(shape, np.float32)).to(self._llama.dtype)

    def _find_prefixes(self, prompts: Sequence[str]) -> None:
        """Have keys and values of all tokens before the last, which do not depend on what is put in."""
        missing: dict[Tokens, list[str]] = {}
        for prompt in dict.fromkeys(prompts):
            if prompt in self._prefixes:
                continue
            if self._size(prompt).n_tokens == 1:
                self._prefixes[prompt] = nothing(self._llama)
            elif (found := self._looked_up(KEYS_AND_VALUES, prompt)) is not None:
                self._prefixes[prompt] = found.numbers.view(2, self.shape.n_layers, found.counts[0], -1)
            else:
                missing.setdefault(self._tokens(prompt)[:-1], []).append(prompt)
        numbered = list(missing.values())
        for ends in walk(self._llama, list(missing), keep=True):
            for end in ends:
                held = end.keys_and_values
                assert held is not None
                for prompt in numbered[end.number]:
                    self._keep(KEYS_AND_VALUES, prompt, held, (held.shape[2],))
                    # From the disk, processes share the memory.
                    again = self._looked_up(KEYS_AND_VALUES, prompt)
                    self._prefixes[prompt] = held if again is None else again.numbers.view_as(held)

    def _last_alone(self, prompts: Sequence[str], put_in: _PutIn) -> Tensor:
        """Return the stream at the last token of each prompt, the only one where vectors are put in."""
        before = [self._prefixes[prompt] for prompt in prompts]
        n_before = torch.tensor([each.shape[2] for each in before])
        n = int(n_before.max()) + 1
        n += -n % KEYS
        # The token itself stands first, so that its place does not depend on what else is computed.
        hidden = torch.arange(n) > n_before[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._llama.dtype).masked_fill(hidden, -torch.inf)
        mask = mask[:, None].expand(-1, QUERIES, -1)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            held = k.new_zeros(2, len(before), n - 1, k.shape[1] * k.shape[2])
            for i, each in enumerate(before):
                held[:, i, : each.shape[2]] = each[:, layer]
            keys, values = (
                torch.cat([new[:, None], old.view(len(before), n - 1, *k.shape[1:])], 1)
                for old, new in zip(held, (k, v), strict=True)
            )
            return attention(q[:, None].expand(-1, QUERIES, -1, -1), keys, values, mask)[:, 0]

        last = torch.tensor([self._sizes[prompt].last_token for prompt in prompts])
        return self._llama.run(last, n_before, attend, put_in.at_rows(torch.arange(len(prompts))))

    def _last_of_all(self, prompts: Sequence[str], put_in: _PutIn) -> Tensor:
        """Return the stream at the last token of each prompt, with vectors put in at all tokens."""
        texts = [self._tokens(prompt) for prompt in prompts]
        lengths = torch.tensor([len(tokens) for tokens in texts])
        n = int(lengths.max())
        n += -n % KEYS
        prompt_of_row = torch.repeat_interleave(lengths)
        positions = torch.cat([torch.arange(length) for length in lengths])
        place = prompt_of_row * n + positions
        hidden = torch.arange(n) > torch.arange(n)[:, None]
        mask = torch.zeros(hidden.shape, dtype=self._llama.dtype).masked_fill(hidden, -torch.inf)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (
                each.new_zeros(len(prompts) * n, *each.shape[1:])
                .index_copy(0, place, each)
                .view(-1, n, *each.shape[1:])
                for each in (q, k, v)
            )
            return attention(q, k, v, mask.expand(len(prompts), -1, -1)).flatten(0, 1)[place]

        tokens = torch.tensor([token for each in texts for token in each])
        return self._llama.run(tokens, positions, attend, put_in.at_rows(prompt_of_row))[
            lengths.cumsum(0) - 1
        ]


class _Size(NamedTuple):
    """What is known of a text without its tokens."""

    n_tokens: int
    last_token: int


class _Step(NamedTuple):
    """What is known after a beginning of label words."""

    logprobs: dict[int, float]
    tokens_in: int
    seconds: float


def _answer(words: Sequence[Tokens], whole: bool, found: Mapping[Tokens, _Step]) -> Answer:
    seconds = sum(step.seconds for step in found.values())
    return Answer(
        logprobs=summed(words, {start: step.logprobs for start, step in found.items()}),
        tokens_in=sum(step.tokens_in for step in found.values()),
        tokens_out=len(found),
        ttft_s=seconds,
        end_to_end_s=seconds,
        rule="whole_label" if whole else "listed",
    )


class _PutIn:
    """What enters the residual stream in place of modules' outputs."""

    def __init__(self, vectors: Tensor, coefficients: Tensor, scale: float, draws: Sequence[Tensor]) -> None:
        self._vectors = vectors
        self._coefficients = coefficients
        self._scale = scale
        self._draws = draws

    def at_rows(self, prompt_of_row: Tensor) -> Change:
        """Return the change of each row, which belongs to one of the prompts."""
        vectors, coefficients = self._vectors[prompt_of_row], self._coefficients[prompt_of_row]
        noise = self._scale * torch.cat(list(self._draws)) if self._draws else None

        def changed(layer: int, module: int, y: Tensor) -> Tensor:
            by = coefficients[:, layer, module]
            y = by[:, 1:] * y + by[:, :1] * vectors[:, layer, module]
            if noise is None:
                return y
            return y + noise[:, layer, module] * y.norm(dim=-1, keepdim=True)

        return changed


def _equal_parts(n: int) -> Iterator[list[int]]:
    for start in range(0, n, PROMPTS_TOGETHER):
        yield list(range(start, min(n, start + PROMPTS_TOGETHER)))


def _parts_by_tokens(n_tokens: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of prompts that are computed together."""
    part: list[int] = []
    n_together = 0
    for number, n in enumerate(n_tokens):
        if part and n_together + n > TOKENS_TOGETHER:
            yield part
            part, n_together = [], 0
        part.append(number)
        n_together += n
    if part:
        yield part

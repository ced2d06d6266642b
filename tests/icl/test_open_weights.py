"""The open-weights model: a small random Llama against a slow plain twin, and against llama.cpp."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, quants
from tiny_weights import EPSILON, N_HEADS, N_KV_HEADS, N_LAYERS, RANDOM_WIDTH, ROPE_BASE, write_random_weights

from fedsim.icl.models.open_weights import OpenWeights
from fedsim.icl.models.open_weights.llama import Llama
from fedsim.icl.models.open_weights.tokenizer import Tokenizer
from fedsim.icl.models.open_weights.white_box import WhiteBox

LABELS = ("No", "Yes", "Maybe")
PROMPTS = [
    "Is it? A:",
    "Is it so? A:",
    "Is it so, or not at all, or perhaps? A:",
    "B:",
    "Is it? A: Yes. Is it so? A:",
]


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("random") / "random.gguf")


@pytest.fixture(scope="module")
def box(random_file: Path) -> WhiteBox:
    return OpenWeights(weights=str(random_file)).white_box()


@pytest.fixture(scope="module")
def exact(random_file: Path) -> WhiteBox:
    """The same in float64."""
    return WhiteBox(Llama(random_file, torch.float64), Tokenizer(random_file), 2048)


# A twin that computes one token after the other, head by head, in float64 from the file as gguf reads it.


class Twin:
    def __init__(self, file: Path) -> None:
        self.weights = {
            tensor.name.removesuffix(".weight"): quants.dequantize(tensor.data, tensor.tensor_type).astype(
                float
            )
            for tensor in GGUFReader(file).tensors
        }

    def run(self, tokens: Sequence[int], changed=lambda position, layer, module, y: y):
        """Return all logits after the last token, and what each module adds there, (L, 2, d)."""
        w = self.weights
        keys = [[] for _ in range(N_LAYERS)]
        values = [[] for _ in range(N_LAYERS)]
        for position, token in enumerate(tokens):
            x = w["token_embd"][token].copy()
            outputs = np.zeros((N_LAYERS, 2, RANDOM_WIDTH))
            for layer in range(N_LAYERS):
                at = f"blk.{layer}."
                h = self.norm(x, w[at + "attn_norm"])
                q, k, v = (w[at + name] @ h for name in ("attn_q", "attn_k", "attn_v"))
                n = RANDOM_WIDTH // N_HEADS
                keys[layer].append([self.turned(k[i * n : (i + 1) * n], position) for i in range(N_KV_HEADS)])
                values[layer].append([v[i * n : (i + 1) * n] for i in range(N_KV_HEADS)])
                found = []
                for head in range(N_HEADS):
                    mine = self.turned(q[head * n : (head + 1) * n], position)
                    shared = head // (N_HEADS // N_KV_HEADS)
                    scores = [mine @ each[shared] / math.sqrt(n) for each in keys[layer]]
                    weights = [math.exp(score) for score in scores]
                    found += list(
                        sum(p * each[shared] for p, each in zip(weights, values[layer], strict=True))
                        / sum(weights)
                    )
                y = w[at + "attn_output"] @ np.array(found)
                outputs[layer, 0] = y
                x = x + changed(position, layer, 0, y)
                h = self.norm(x, w[at + "ffn_norm"])
                gate = w[at + "ffn_gate"] @ h
                y = w[at + "ffn_down"] @ (gate / (1 + np.exp(-gate)) * (w[at + "ffn_up"] @ h))
                outputs[layer, 1] = y
                x = x + changed(position, layer, 1, y)
        return w.get("output", w["token_embd"]) @ self.norm(x, w["output_norm"]), outputs

    @staticmethod
    def norm(x, weights):
        return x / math.sqrt(sum(x * x) / len(x) + EPSILON) * weights

    @staticmethod
    def turned(x, position):
        """Turn each pair of neighbours, seen as one complex number."""
        pairs = x[0::2] + 1j * x[1::2]
        angles = [position * ROPE_BASE ** (-2 * i / len(x)) for i in range(len(pairs))]
        pairs = pairs * np.exp(1j * np.array(angles))
        return np.stack([pairs.real, pairs.imag], 1).ravel()


@pytest.fixture(scope="module")
def twin(random_file: Path) -> Twin:
    return Twin(random_file)


@pytest.fixture(scope="module")
def cut(random_file: Path) -> Tokenizer:
    return Tokenizer(random_file)


def some(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape))


def coefficients(n: int, seed: int = 5) -> torch.Tensor:
    around = torch.tensor([0.1, 1.0], dtype=torch.float64)
    return around + 0.3 * some(seed, n, N_LAYERS, 2, 2)


NOTHING = torch.tensor([0.0, 1.0]).expand(len(PROMPTS), N_LAYERS, 2, 2)


def first_tokens(cut: Tokenizer, prompt: str) -> list[int]:
    return [each[0] for each in cut.labels.counted(prompt, LABELS)[0]]


def test_outputs_are_those_of_a_plain_twin(box, exact, twin, cut):
    expected = np.stack([twin.run(cut.tokens(prompt))[1] for prompt in PROMPTS])
    np.testing.assert_allclose(exact.extract(PROMPTS).numpy(), expected, rtol=1e-9, atol=1e-12)
    assert box.extract(PROMPTS).dtype == torch.float32
    np.testing.assert_allclose(box.extract(PROMPTS).numpy(), expected, rtol=1e-3, atol=4e-5)


def test_vectors_without_weight_change_nothing(box, twin, cut):
    for at in ("predicting", "all"):
        found = box.label_scores(PROMPTS, LABELS, some(1, N_LAYERS, 2, RANDOM_WIDTH), NOTHING, at)
        for i, prompt in enumerate(PROMPTS):
            logits, _ = twin.run(cut.tokens(prompt))
            assert found.logits[i].tolist() == pytest.approx(logits[first_tokens(cut, prompt)], abs=4e-5)
            assert float(found.log_total[i]) == pytest.approx(math.log(sum(np.exp(logits))), abs=4e-5)


@pytest.mark.parametrize("at", ["predicting", "all"])
@pytest.mark.parametrize("n_sets", [1, len(PROMPTS)], ids=["one set", "a set each"])
def test_vectors_put_in_as_a_plain_twin_does(exact, twin, cut, at, n_sets):
    v = some(2, n_sets, N_LAYERS, 2, RANDOM_WIDTH)
    by = coefficients(len(PROMPTS))
    found = exact.label_scores(PROMPTS, LABELS, v if n_sets > 1 else v[0], by, at)
    for i, prompt in enumerate(PROMPTS):
        tokens = cut.tokens(prompt)
        last = len(tokens) - 1

        def changed(position, layer, module, y, i=i, last=last):
            if at == "predicting" and position < last:
                return y
            return by[i, layer, module, 1].item() * y + by[i, layer, module, 0].item() * (
                v[i % n_sets, layer, module].numpy()
            )

        logits, _ = twin.run(tokens, changed)
        np.testing.assert_allclose(found.logits[i], logits[first_tokens(cut, prompt)], rtol=1e-9)
        assert float(found.log_total[i]) == pytest.approx(math.log(sum(np.exp(logits))), rel=1e-9)


@pytest.mark.parametrize("at", ["predicting", "all"])
def test_noise_is_relative_to_what_enters_the_stream(exact, twin, cut, at):
    by, v = coefficients(2), some(2, N_LAYERS, 2, RANDOM_WIDTH)
    noise = (0.2, [np.random.default_rng(i) for i in range(2)])
    found = exact.label_scores(PROMPTS[:2], LABELS, v, by, at, noise)
    for i, prompt in enumerate(PROMPTS[:2]):
        tokens = cut.tokens(prompt)
        n_all = len(tokens)
        n = 1 if at == "predicting" else n_all
        draws = np.random.default_rng(i).standard_normal((n, N_LAYERS, 2, RANDOM_WIDTH), np.float32)
        draws = draws.astype(float)

        def changed(position, layer, module, y, i=i, n=n, n_all=n_all, draws=draws):
            if position < n_all - n:
                return y
            y = by[i, layer, module, 1].item() * y + by[i, layer, module, 0].item() * v[layer, module].numpy()
            return y + 0.2 * math.sqrt(sum(y * y)) * draws[position - n_all + n, layer, module]

        logits, _ = twin.run(tokens, changed)
        np.testing.assert_allclose(found.logits[i], logits[first_tokens(cut, prompt)], rtol=1e-8)


@pytest.mark.parametrize("at", ["predicting", "all"])
def test_gradients_are_the_slopes(exact, at):
    """Against central differences, and prompt by prompt: a row of coefficients moves no other prompt."""
    v, by = some(2, N_LAYERS, 2, RANDOM_WIDTH), coefficients(len(PROMPTS))

    def losses(by: torch.Tensor) -> torch.Tensor:
        scores = exact.label_scores(PROMPTS, LABELS, v, by, at)
        return scores.logits[:, 1].cos() + scores.log_total

    with torch.enable_grad():
        wanted = by.clone().requires_grad_()
        losses(wanted).sum().backward()
    assert wanted.grad is not None
    step = 1e-5
    for layer in range(N_LAYERS):
        for module in range(2):
            for which in range(2):
                shift = torch.zeros_like(by)
                shift[:, layer, module, which] = step
                slope = (losses(by + shift) - losses(by - shift)) / (2 * step)
                np.testing.assert_allclose(wanted.grad[:, layer, module, which], slope, rtol=1e-6, atol=1e-7)


def test_the_slope_by_lambda_is_that_of_the_stream_along_the_vector(exact):
    """The last module of all: one step of its vector moves the stream behind it by that vector."""
    v, by = some(2, N_LAYERS, 2, RANDOM_WIDTH), coefficients(1)
    with torch.enable_grad():
        wanted = by.clone().requires_grad_()
        exact.label_scores(PROMPTS[:1], LABELS, v, wanted).log_total.sum().backward()
    tokens = exact._tokens(PROMPTS[0])
    streams = []
    run = exact._llama.run
    exact._llama.run = lambda *arguments: streams.append(run(*arguments)) or streams[-1]
    exact.label_scores(PROMPTS[:1], LABELS, v, by)
    del exact._llama.run
    with torch.enable_grad():
        stream = streams[0].clone().requires_grad_()
        exact._llama.logits(stream).logsumexp(1).sum().backward()
    assert tokens
    assert float(wanted.grad[0, -1, 1, 0]) == pytest.approx(float(stream.grad[0] @ v[-1, 1]), rel=1e-9)

"""Texts run through a model: what was computed before is found again, and changes no bit of what follows."""

from __future__ import annotations

import pytest
import torch
from tiny_weights import write_random_weights

from fedsim.icl.models.open_weights import walk as module
from fedsim.icl.models.open_weights.llama import Llama
from fedsim.icl.models.open_weights.walk import Memory, walk
from fedsim.progress import shown_by

BEGINNING = tuple(range(40, 60))
FIRST = [(*BEGINNING, 1, 2, 3), (*BEGINNING, 1, 2, 4), (7, 8)]
SECOND = [(*BEGINNING, 1, 2, 5), (*BEGINNING, 1, 2), (7, 8, 9), (7, 8)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return Llama(write_random_weights(tmp_path_factory.mktemp("walk") / "random.gguf"))


@pytest.fixture
def computed(monkeypatch):
    """Return the numbers of new tokens of all texts that are computed together."""
    found = []
    original = module._computed

    def counted(llama, pieces, kept, keep):
        found.append(sum(len(piece.tokens) for piece in pieces))
        return original(llama, pieces, kept, keep)

    monkeypatch.setattr(module, "_computed", counted)
    return found


def streams(llama, texts, memory=None):
    ends = [end for part in walk(llama, texts, memory=memory) for end in part]
    return torch.stack([end.stream for end in sorted(ends)])


def alone(llama, texts):
    return torch.cat([streams(llama, [text]) for text in texts])


def test_only_what_is_new_is_computed(llama, computed):
    memory = Memory(llama, 64)
    streams(llama, FIRST, memory)
    assert computed == [20 + 3 + 1 + 2]
    # One new token behind each known beginning; a text that is known as a whole has its last one again.
    found = streams(llama, SECOND, memory)
    assert computed[1:] == [4]
    assert torch.equal(found, alone(llama, SECOND))


def test_a_full_memory_is_emptied_even_in_the_middle(llama, computed):
    memory = Memory(llama, 24)
    texts = [(*BEGINNING, last) for last in range(1, 9)]
    assert torch.equal(streams(llama, texts, memory), alone(llama, texts))
    assert memory.n_used <= 24
    # Four endings fit behind the beginning, then it is computed anew.
    assert computed[:2] == [24, 24]


def test_a_text_longer_than_the_memory_is_walked_without_it(llama):
    memory = Memory(llama, 8)
    assert torch.equal(streams(llama, FIRST, memory), alone(llama, FIRST))
    assert memory.n_used == 0


def test_long_texts_are_cut_into_pieces(llama, computed, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 8)
    found = streams(llama, FIRST)
    assert computed == [8, 8, 8, 2]
    monkeypatch.undo()
    assert torch.equal(found, alone(llama, FIRST))


def test_what_broke_off_is_not_believed(llama, monkeypatch):
    memory = Memory(llama, 64)

    def broken(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_computed", broken)
        with pytest.raises(KeyboardInterrupt):
            streams(llama, FIRST, memory)
    assert torch.equal(streams(llama, FIRST, memory), alone(llama, FIRST))


def test_how_far_it_has_come_is_told(llama, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 23)
    told = []
    with shown_by(lambda *words: told.append(words)):
        streams(llama, FIRST)
    streams(llama, FIRST)  # nobody looks any more
    # In the order of their tokens: the short one with 21 tokens of another, then the ends of the other two.
    assert told == [("texts read by the model", 1, 3), ("texts read by the model", 3, 3)]

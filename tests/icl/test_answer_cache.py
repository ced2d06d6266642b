"""Asking each prompt once, and keeping every answer: on disk, through failures, for several processes."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diskcache
import pytest
from fake_model import FakeModel, FakeSession, probability
from hypothesis import given
from hypothesis import strategies as st
from waiting import LIMIT_S

from fedsim.errors import ModelError
from fedsim.icl.answers import cache as cache_module
from fedsim.icl.answers.asking import Asking
from fedsim.icl.answers.cache import AnswerCache, cache_root
from fedsim.icl.answers.kept import addresses, from_table, scoring, to_table, writing
from fedsim.icl.models.language import Answer, Writing
from fedsim.progress import shown_by

LABELS = ("bad", "good")
PROMPTS = [f"prompt {letter}" for letter in "abcdef"]
ANSWER = Answer((-0.1, -math.inf), 12, 1, 0.25, 0.5, "listed")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "answers"


@pytest.fixture
def cache(folder: Path) -> Iterator[AnswerCache]:
    opened = AnswerCache()
    yield opened
    opened.close()


def ask(model: FakeModel, prompts: list[str] = PROMPTS) -> tuple[list[Answer], dict[str, Any]]:
    """Ask in a run of its own; return the answers and the usage."""
    asking = Asking(model)
    try:
        return asking.ask(prompts, LABELS), asking.usage()
    finally:
        asking.close()


def address(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def test_an_address_by_hand() -> None:
    text = '[1,{"a":"b","kind":"fake"},"labels",["bad","good"],"say \\"\\u00e9\\"\\n"]'
    expected = [hashlib.sha256(text.encode()).hexdigest()]
    assert addresses({"kind": "fake", "a": "b"}, scoring(LABELS), ['say "é"\n']) == expected


def test_everything_that_an_answer_depends_on_is_in_the_address() -> None:
    different = {
        addresses(*question)[0]
        for question in (
            ({"kind": "fake"}, scoring(LABELS), ["x"]),
            ({"kind": "fake"}, scoring(LABELS), ["x "]),
            ({"kind": "fake"}, scoring(LABELS[::-1]), ["x"]),
            ({"kind": "fake", "name": "two"}, scoring(LABELS), ["x"]),
            ({"kind": "fake"}, writing(3), ["x"]),
            ({"kind": "fake"}, writing(4), ["x"]),
        )
    }
    assert len(different) == 6


numbers = st.floats(max_value=0.0, allow_nan=False, allow_infinity=False) | st.just(-math.inf)
seconds = st.floats(min_value=0.0, max_value=1e9)
counts = st.integers(0, 2**40)


@given(
    st.builds(
        Answer,
        st.lists(numbers, min_size=1).map(tuple),
        *(counts, counts, seconds, seconds, st.text()),
        st.sampled_from([(), (0,)]),
        *(st.text(), st.text()),
    )
    | st.builds(Writing, st.text(), counts, counts, seconds, seconds, st.text(), st.text())
)
def test_what_is_written_reads_back_bit_for_bit(kept: Answer | Writing) -> None:
    back = from_table(json.loads(json.dumps(to_table(kept), allow_nan=False)))
    assert repr(back) == repr(kept)  # repr tells 0.0 and -0.0 apart


def test_a_value_stays_as_it_is_for_the_next_process(cache: AnswerCache) -> None:
    assert cache.get(address(0)) is None
    assert cache.add(address(0), ANSWER) == ANSWER
    cache.add(address(1), Writing("Thus.", 3, 2, 0.0, 0.125))
    other = AnswerCache()
    assert repr(other.get(address(0))) == repr(ANSWER)
    assert other.get(address(1)) == Writing("Thus.", 3, 2, 0.0, 0.125)
    other.close()


def test_the_first_answer_stays(cache: AnswerCache) -> None:
    cache.add(address(0), ANSWER)
    assert cache.add(address(0), ANSWER._replace(tokens_in=99)) == ANSWER
    assert cache.get(address(0)) == ANSWER


def test_a_second_run_asks_nothing() -> None:
    model, again = FakeModel(), FakeModel()
    first, usage = ask(model, [*PROMPTS, PROMPTS[0]])
    assert model.asked == PROMPTS
    assert first[0].logprobs == tuple(math.log(probability("one", PROMPTS[0], label)) for label in LABELS)
    assert first[-1] == first[0]
    assert usage == {
        "asked": 7,
        "from_memory": 1,
        "from_cache": 0,
        "from_model": 6,
        "tokens_in": 12,
        "tokens_out": 6,
        "seconds": pytest.approx(0.006),
        "damaged_in_cache": 0,
        "rules": {"listed": 6},
        "sent": {"calls": 6, "tokens_in": 12, "tokens_out": 6, "calls_without_usage": 0, "cost": None},
        "answered_by": [{"model": "", "fingerprint": "", "answers": 6}],
        "scored": 6,
        "without_label": 0,
    }
    second, usage = ask(again)
    assert second == first[:-1]
    assert again.sessions == []  # the model was not even connected
    assert (usage["from_cache"], usage["from_model"], usage["seconds"]) == (6, 0, 0)


def test_another_model_and_other_labels_are_asked() -> None:
    ask(FakeModel())
    other = FakeModel(name="two")
    ask(other)
    assert other.asked == PROMPTS
    model = FakeModel()
    asking = Asking(model)
    asking.ask(PROMPTS[:1], ("yes", "no"))
    assert [writing.text[:4] for writing in asking.write(PROMPTS[:2], 3)] == ["Thus", "Thus"]
    assert asking.write(PROMPTS[:1], 3)[0].tokens_out == 3
    asking.close()
    assert model.asked == [PROMPTS[0], *PROMPTS[:2]]
    assert model.sessions[0].closed


def test_how_many_are_answered_is_told() -> None:
    asking, told = Asking(FakeModel()), []
    with shown_by(lambda *words: told.append(words[1:])):
        asking.ask(["one", "two", "one"], ("bad", "good"))
        asking.ask(["one", "three"], ("bad", "good"))
    assert told == [(1, 2), (2, 2), (1, 1)]


def test_within_a_run_answers_come_from_memory(folder: Path) -> None:
    model = FakeModel(cache=False)
    asking = Asking(model)
    first, second = asking.ask(PROMPTS, LABELS), asking.ask(PROMPTS[::-1], LABELS)
    assert second == first[::-1]
    assert model.sessions[0].batches == [6]
    assert asking.usage()["from_memory"] == 6
    assert not folder.exists()


@pytest.mark.parametrize(("fails_with", "error"), [("error", ModelError), ("interrupt", KeyboardInterrupt)])
def test_no_answer_is_lost_when_the_model_fails(fails_with: Any, error: type[BaseException]) -> None:
    broken = FakeModel(fail_at=4, fails_with=fails_with)
    with pytest.raises(error):
        ask(broken)
    again = FakeModel()
    ask(again)
    assert (broken.asked, again.asked) == (PROMPTS[:3], PROMPTS[3:])


def test_no_answer_is_lost_between_the_model_and_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the second answer is being stored."""
    add, calls = AnswerCache.add, iter(range(100))

    def interrupted(self: AnswerCache, *args: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return add(self, *args)

    monkeypatch.setattr(AnswerCache, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(FakeModel())
    again = FakeModel()
    ask(again)
    assert again.asked == PROMPTS[2:]


def test_an_interruption_is_not_hidden_by_a_disk_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])

    def failing(self: diskcache.Cache, *args: Any) -> bool:
        raise next(failures)

    monkeypatch.setattr(diskcache.Cache, "add", failing)
    with pytest.raises(KeyboardInterrupt):
        ask(FakeModel())
    assert not list(failures)


KILLED = """
import os, signal
from fake_model import FakeModel, FakeSession
from fedsim.icl.answers.asking import Asking

def killed(self, prompt, count=FakeSession._count):
    if len(self.model.asked) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    count(self, prompt)

FakeSession._count = killed
Asking(FakeModel()).ask([f"prompt {letter}" for letter in "abcdef"], ("bad", "good"))
"""


def python(script: str, *words: object) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    command = [sys.executable, "-W", "error", "-c", script, *map(str, words)]
    return subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_answer_is_lost_when_the_process_is_killed() -> None:
    process = python(KILLED)
    _, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, err) == (-signal.SIGKILL, "")
    again = FakeModel()
    ask(again)
    assert again.asked == PROMPTS[3:]


MANY = """
import hashlib, sys
from fedsim.icl.answers.cache import AnswerCache
from fedsim.icl.models.language import Answer
own, n = int(sys.argv[1]), int(sys.argv[2])
cache = AnswerCache()
for number in [*range(n), *range(own * n, (own + 1) * n)]:
    kept = cache.add(hashlib.sha256(str(number).encode()).hexdigest(), Answer((-1.0, -2.0), own, 1, 0.0, 0.0))
    assert number >= n or kept == cache.get(hashlib.sha256(str(number).encode()).hexdigest())
"""


def test_processes_share_a_folder() -> None:
    """Three at once store the same hundred answers and a hundred of their own each."""
    n = 100
    processes = [python(MANY, own, n) for own in (1, 2, 3)]
    said = [process.communicate(timeout=LIMIT_S) for process in processes]
    assert said == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]
    cache = AnswerCache()
    kept = [cache.get(address(number)) for number in range(4 * n)]
    cache.close()
    assert [answer and answer.tokens_in for answer in kept[n:]] == [1] * n + [2] * n + [3] * n
    assert all(answer is not None and answer.tokens_in in (1, 2, 3) for answer in kept[:n])


def test_nothing_is_ever_thrown_away(folder: Path) -> None:
    """Not even in a folder that was made with a small limit."""
    small = diskcache.Cache(folder, size_limit=1, cull_limit=100)
    small.close()
    cache = AnswerCache()
    for number in range(200):
        cache.add(address(number), ANSWER._replace(rule="long" * 500))
    assert all(cache.get(address(number)) for number in range(200))
    # In one file and its log, where a transaction covers them.
    assert {file.suffix for file in folder.iterdir()} <= {".db", ".db-wal", ".db-shm"}
    cache.close()


def test_no_text_of_a_prompt_is_on_disk(folder: Path) -> None:
    ask(FakeModel(), ["my private review"])
    held = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"listed" in held
    assert b"private" not in held


GOOD = b'{"logprobs":[-0.5,-2.0],"tokens_in":12,"tokens_out":1,"ttft_s":0.0,"end_to_end_s":0.0,"rule":"x"}'


def checked(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text) + text


DAMAGED = {
    "nothing": b"",
    "cut off": checked(GOOD)[:-1],
    "a digit": checked(GOOD).replace(b"-0.5", b"-0.4"),
    "no JSON": checked(b"{"),
    "no object": checked(b"12"),
    "no number": checked(GOOD.replace(b"-0.5", b'"-0.5"')),
    "a list of none": checked(GOOD.replace(b"-0.5,-2.0", b"")),
    "a field less": checked(GOOD.replace(b'"tokens_out":1,', b"")),
    "a field more": checked(GOOD.replace(b'"rule"', b'"more":1,"rule"')),
    "before time": checked(GOOD.replace(b'"ttft_s":0.0', b'"ttft_s":-1.0')),
    "a text": "not even bytes",
}


def test_the_value_that_the_others_damage() -> None:
    assert cache_module._decoded(checked(GOOD)) == Answer((-0.5, -2.0), 12, 1, 0.0, 0.0, "x")


@pytest.mark.parametrize("value", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_value_is_asked_again_and_counted(folder: Path, value: Any) -> None:
    good, _ = ask(FakeModel())
    (place,) = addresses(FakeModel().identity, scoring(LABELS), PROMPTS[2:3])
    with diskcache.Cache(folder) as store:
        assert place in store
        store[place] = value
    model = FakeModel()
    answers, usage = ask(model)
    assert answers == good
    assert model.asked == PROMPTS[2:3]
    assert usage["damaged_in_cache"] == 1
    assert ask(FakeModel())[1]["from_model"] == 0


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_nothing_is_ever_unpickled(cache: AnswerCache, folder: Path, tmp_path: Path) -> None:
    """The folder may be shared: unpickling what somebody else put there would run it."""
    with diskcache.Cache(folder) as store:
        store[address(0)] = Trap(tmp_path / "trapped")
    assert cache.get(address(0)) is None
    assert cache.damaged == 1
    assert not (tmp_path / "trapped").exists()
    with diskcache.Cache(folder) as store:
        store[address(0)] = Trap(tmp_path / "trapped")
        assert store[address(0)] is None
    assert (tmp_path / "trapped").exists()  # the trap works


def test_a_full_disk(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that may not grow by a page is what SQLite makes of a full disk."""
    many = [f"prompt {number}" for number in range(2000)]
    model = FakeModel()
    asking = Asking(model)
    asking._cache = cache
    (pages,) = cache._store._sql("PRAGMA page_count").fetchone()
    cache._store._sql(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(ModelError) as error:
        asking.ask(many, LABELS)
    assert str(error.value) == (
        f"the answer cache in {cache.folder} cannot be used (database or disk is full); what it holds is "
        "kept: make room or name another folder in FEDSIM_CACHE, and the same command goes on from there"
    )
    paid = len(model.asked)
    assert 10 < paid < 2000
    # The answer that did not fit is still in memory, and so in a recording.
    assert asking.recording().count("\n") == 1 + paid
    # It was tried once more on a new connection, which knows of no limit.
    again = FakeModel()
    ask(again, many)
    assert len(again.asked) == 2000 - paid


FULL = """
import subprocess, sys
from fake_model import FakeModel
from fedsim.errors import ModelError
from fedsim.icl.answers.asking import Asking

folder, many = sys.argv[1], [f"prompt {number}" for number in range(3000)]
model, again = FakeModel(), FakeModel()
asking = Asking(model)
try:
    asking.ask(many, ("bad", "good"))
except ModelError as error:
    print(error)
asking.close()
print(asking.recording().count("\\n") - 1 - len(model.asked))
subprocess.run(["mount", "-o", "remount,size=20m", folder], check=True)
asking = Asking(again)
asking.ask(many, ("bad", "good"))
asking.close()
print(len(model.asked), len(again.asked))
"""
MOUNTED = 'mount -t tmpfs -o size="$2" none "$1" && shift 2 && exec "$@"'


def test_a_file_system_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """600 KiB of memory as a disk, then 20 MiB, where the machine lets a user mount such a thing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("FEDSIM_CACHE", str(disk))
    unshare = ["unshare", "-rm", "sh", "-c", MOUNTED, "sh", str(disk)]
    if (
        not shutil.which("unshare")
        or subprocess.run([*unshare, "1m", "true"], capture_output=True).returncode
    ):
        pytest.skip("mounting a small file system needs unshare and user namespaces")
    command = [*unshare, "600k", sys.executable, "-W", "error", "-c", FULL, str(disk)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stderr == ""
    sentence, not_in_memory, counts = done.stdout.splitlines()
    assert f"the answer cache in {disk}/answers cannot be used" in sentence
    assert "full" in sentence
    assert not_in_memory == "0"
    paid, asked_again = map(int, counts.split())
    assert 10 < paid < 3000
    # Only the answer that there was no room for is asked a second time.
    assert asked_again == 3000 - paid + 1


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
        (diskcache.Timeout(), "locked, or not writable"),
    ],
    ids=["ENOSPC", "sqlite", "lock"],
)
def test_the_disk_fails_once(monkeypatch: pytest.MonkeyPatch, failure: Exception, why: str) -> None:
    """The answer is tried again before the error goes on: nothing is paid for twice."""
    add, calls = diskcache.Cache.add, iter(range(100))

    def failing(self: diskcache.Cache, *args: Any) -> bool:
        if next(calls) == 2:
            raise failure
        return bool(add(self, *args))

    monkeypatch.setattr(diskcache.Cache, "add", failing)
    model, again = FakeModel(), FakeModel()
    with pytest.raises(ModelError, match=why):
        ask(model)
    ask(again)
    assert (model.asked, again.asked) == (PROMPTS[:3], PROMPTS[3:])


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"file/answers cannot be used \(.+FEDSIM_CACHE"):
        ask(FakeModel())


def test_a_file_that_is_no_database(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "cache.db").write_bytes(b"something else" * 1000)
    with pytest.raises(ModelError, match="file is not a database"):
        ask(FakeModel())


def test_the_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", "~/kept")
    assert cache_root() == Path.home() / "kept"
    monkeypatch.setenv("FEDSIM_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/where")
    assert cache_root() == Path("/some/where/fedsim")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache/fedsim"


def test_a_missing_package_is_named() -> None:
    script = (
        "import sys; sys.modules['diskcache'] = None\n"
        "from fake_model import FakeModel\n"
        "from fedsim.errors import InputError\n"
        "from fedsim.icl.answers.asking import Asking\n"
        "Asking(FakeModel(cache=False)).ask(['x'], ('a', 'b'))\n"
        "try:\n    Asking(FakeModel()).ask(['x'], ('a', 'b'))\n"
        "except InputError as error:\n    print(error)\n"
    )
    out, err = python(script).communicate(timeout=LIMIT_S)
    assert err == ""
    assert "needs the extra 'llm': pip install 'fedsim-icl[llm]'" in out


BROKEN = [(-1.0,), (-1.0,) * 3, (-1.0, -1.0, math.nan), (-1.0, math.nan), (-1.0, math.inf), (-1.0, 0.5)]


@pytest.mark.parametrize("logprobs", BROKEN, ids=str)
def test_a_model_that_gives_no_log_probabilities(
    monkeypatch: pytest.MonkeyPatch, logprobs: tuple[float, ...]
) -> None:
    def one_bad(self: FakeSession, prompts: list[str], labels: tuple[str, ...], done: Any) -> None:
        done(0, ANSWER)
        done(1, ANSWER._replace(logprobs=logprobs))

    monkeypatch.setattr(FakeSession, "ask", one_bad)
    with pytest.raises(ModelError, match="expected a log-probability, at most 0, for each of 2 labels, got"):
        ask(FakeModel())


def test_a_model_that_leaves_prompts_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSession, "ask", lambda self, prompts, labels, done: done(0, ANSWER))
    with pytest.raises(ModelError, match="model 'fake' left 5 of 6 prompts unanswered"):
        ask(FakeModel())


def test_neighbours_share_their_beginnings() -> None:
    model = FakeModel()
    ask(model, ["b1", "a1", "b2", "a2"])
    assert model.asked == ["a1", "a2", "b1", "b2"]


def test_kept_answers_that_say_two_labels_are_certain_are_asked_again(folder: Path, cache: AnswerCache):
    """Earlier versions made such answers of a server that listed probabilities."""
    cache.add(address(1), ANSWER._replace(logprobs=(0.0, 0.0)))
    assert cache.get(address(1)) is None
    assert cache.damaged == 1
    # Whole labels may begin each other: "very", "very good".
    cache.add(address(2), ANSWER._replace(logprobs=(0.0, -1e-4), rule="whole_label"))
    assert cache.get(address(2)) is not None

"""What several folders of tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import invalidate_caches
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

from fedsim.cli import main

hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

SMALL = """
name = "small"

[algorithm]
kind = "asyndbt"
wait_for = 2
tau = 3

[problem]
kind = "quadratic"
dimension = 3

[[workers]]
count = 3
compute = { kind = "exponential", mean_s = 1.0 }

[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.5 }

[algorithm.cuts]
every = 4
rounds = 2

[budget]
server_steps = 12

[evaluation]
every_steps = 3
"""
"""A scenario that runs in some milliseconds and has everything: staleness, barriers, measurements."""


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
FullDisk = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session", autouse=True)
def _answers_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep tests away from the answers that the person at the keyboard has paid for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIM_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield


@pytest.fixture
def root() -> Path:
    """The folder of the whole project."""
    return Path(__file__).parent.parent


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Install packages that offer parts: their names are those of the packages, ``-`` written as ``_``."""
    from fedsim.scenario.schema import FAMILIES

    def forget() -> None:  # a family looks once
        for family in FAMILIES.values():
            for known in ("_offers", "_installed"):
                family.__dict__.pop(known, None)

    def offer(package: str, group: str, **values: str) -> None:
        folder = tmp_path / "site" / f"{package}-1.0.dist-info"
        folder.mkdir(parents=True)
        name = package.replace("_", "-")
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"[fedsim.{group}]", *(f"{name} = {value}" for name, value in values.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
        invalidate_caches()
        monkeypatch.syspath_prepend(tmp_path / "site")
        forget()

    yield offer
    forget()


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Answer:
        arguments = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["fedsim", *arguments])
        capsys.readouterr()
        return Answer(main(arguments), *capsys.readouterr())

    return call


def without_notes(command: Command) -> Command:
    """Return the command line without its notes on what a change of kind leaves out."""

    def call(*words: object) -> Answer:
        answer = command(*words)
        lines = answer.err.splitlines(keepends=True)
        return answer._replace(err="".join(line for line in lines if not line.startswith("fedsim: note: ")))

    return call


@pytest.fixture(scope="session")
def small_text() -> str:
    """The text of a small scenario."""
    return SMALL


@pytest.fixture
def full_disk() -> FullDisk:
    """Let no file grow beyond some bytes: what is written there fails in the middle, as on a full disk."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def full(most_bytes: int = 0) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The file of a small scenario."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file

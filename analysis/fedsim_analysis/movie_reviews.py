"""Fetch labelled movie reviews: ``python -m fedsim_analysis.movie_reviews [-o FILE] [--archive FILE]``.

The reviews are in the source distribution of the Python package vaderSentiment 3.3.2, which is taken from the
package index with pip, or from ``--archive``. Each of 10,605 sentences of film critics on rotten.tomatoes.com
carries the mean of the ratings of at least 20 people, from -4 to 4. The clear ones (mean rating at least 1
from 0) become a task of two classes: 0 negative, 1 positive. One in five, told by a hash, is for testing.

Credit: C. J. Hutto and E. Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of social
media text", ICWSM 2014 (ratings); B. Pang and L. Lee, ACL 2004 (snippets), as the data's own readme says. The
texts stay their authors': fetch them, do not pass them on.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedsim.errors import FedsimError, InputError
from fedsim.terminal import say
from fedsim.whole_files import check_file, write_whole

PACKAGE, VERSION = "vaderSentiment", "3.3.2"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
"""The hash of the source distribution."""
INNER_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
RATINGS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"

CLEAR_RATING = 1.0
"""Sentences whose mean rating is nearer to 0 than this are left out: people do not agree on them."""
TEST_IN = 5
"""One row in so many is for testing."""


def fetch(folder: Path) -> Path:
    """Download the source distribution into a folder and return its file.

    Raises:
        InputError: pip could not.
    """
    words = ["download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=False, capture_output=True)
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not found:
        raise InputError(
            f"pip could not download the source of {PACKAGE} {VERSION}; fetch it elsewhere with 'pip "
            f"download --no-deps --no-binary :all: {PACKAGE}=={VERSION}' and name it with --archive"
        )
    return found[0]


def read_ratings(archive: Path) -> str:
    """Return the table of movie reviews in a source distribution.

    Raises:
        InputError: it cannot be read, or is another file than the one that these rules are made for.
    """
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {archive}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise InputError(
            f"{archive}: found sha256 {found}, expected that of {PACKAGE}-{VERSION}.tar.gz, {SHA256}"
        )
    inner = _member(content, f"{PACKAGE}-{VERSION}/{INNER_ARCHIVE}")
    return _member(inner, RATINGS).decode("utf-8")


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.extractfile(name)
        return member.read() if member else b""


def rows(ratings: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the task from lines ``id TAB mean rating TAB text``."""
    for line in ratings.splitlines():
        number, rating, text = line.split("\t")
        if abs(float(rating)) < CLEAR_RATING:
            continue
        label = int(float(rating) > 0)
        # By a hash: whether a row is for testing depends on nothing but its number.
        is_test = hashlib.sha256(number.encode()).digest()[0] % TEST_IN == 0
        yield {
            "id": f"movie-{number}",
            "split": "test" if is_test else "train",
            "text_a": text.strip(),
            "text_b": None,
            "label": label,
        }


def write(table: list[dict[str, Any]], out: Path) -> None:
    """Write rows as JSONL, whole or not at all.

    Raises:
        InputError: the place cannot be written to.
    """
    write_whole(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table))


def main(arguments: list[str] | None = None) -> int:
    """Fetch, convert and write the reviews; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedsim_analysis.movie_reviews", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("-o", "--out", type=Path, default=Path("data/movie_reviews.jsonl"), metavar="FILE")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="the source distribution, if at hand")
    chosen = parser.parse_args(arguments)
    try:
        check_file(chosen.out)
        with tempfile.TemporaryDirectory() as folder:
            table = list(rows(read_ratings(chosen.archive or fetch(Path(folder)))))
        write(table, chosen.out)
    except FedsimError as error:
        say(error, err=True)
        return error.exit_code
    counts = Counter((row["split"], row["label"]) for row in table)
    shown = ", ".join(f"{n} {split} of class {label}" for (split, label), n in sorted(counts.items()))
    say(f"{chosen.out}: {len(table)} rows: {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

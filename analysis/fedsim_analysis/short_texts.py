"""Make a small task of short texts: ``python -m fedsim_analysis.short_texts SOURCE -o FILE``.

Takes the first rows of each class and split whose text is short, in the order of the file: a study with a
real model that asks for every text many times can afford no more.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from fedsim.errors import FedsimError, InputError
from fedsim.plain_text import decoded
from fedsim.terminal import say
from fedsim.whole_files import check_file, write_whole

LEAST_WORDS = 4
TRAIN, TEST = 100, 30
"""Rows of each class."""


def short_rows(rows: list[dict[str, Any]], most_words: int) -> list[dict[str, Any]]:
    """Return the first 100 training and 30 test rows of each class that have 4 to so many words."""
    wanted = {"train": TRAIN, "test": TEST}
    taken: Counter[tuple[str, int]] = Counter()
    found = []
    for row in rows:
        place = row["split"], row["label"]
        short = LEAST_WORDS <= len(row["text_a"].split()) <= most_words
        if short and taken[place] < wanted[row["split"]]:
            taken[place] += 1
            found.append(row)
    return found


def read_rows(source: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        lines = decoded(source.read_bytes(), str(source)).splitlines()
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from error
    try:
        rows = [json.loads(line) for line in lines if line.strip()]
        for row in rows:
            row["text_a"].split(), row["split"], row["label"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{source}: expected rows with split, text_a and label as JSON, one a line"
        ) from error
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Read, choose and write; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fedsim_analysis.short_texts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path, metavar="SOURCE", help="JSONL with split, text_a and label")
    parser.add_argument("--words", type=int, default=12, help="the most that a text may have")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args(arguments)
    try:
        check_file(chosen.out)
        rows = short_rows(read_rows(chosen.source), chosen.words)
        write_whole(chosen.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    except FedsimError as error:
        say(error, err=True)
        return error.exit_code
    say(f"{chosen.out}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())

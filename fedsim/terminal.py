"""Everything that is printed passes here: what others wrote is shown, and commands the terminal nothing.

Secrets are hidden on the way.

Names, paths and texts come from scenario files, results and servers. In none of them is ``[red]`` a colour;
a control character, which could move the cursor or hide a line, is shown by its code.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO, cast

import typer

from fedsim.errors import OutputError
from fedsim.secrets import redacted, trace_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn
    from rich.table import Table

WIDTH = 160
"""Least width, in characters, of what goes to a file: a table is as wide there as it needs."""

# Control characters but tab and line feed; what turns the direction of writing round or takes no room; ends
# of lines that are none in a file; halves of a character, as in names of files that are not UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
GAP = 2
"""Between two columns of a table."""
_BREAKS = re.compile("[\t\n]")


def visible(text: object, one_line: bool = False) -> str:
    r"""Return a text in which every character can be seen.

    Args:
        text: anything that can be written.
        one_line: whether line feeds and tabs are shown by their codes, too.

    >>> visible("\x1b[31mred\u202e"), visible("a\nb"), visible("a\nb", one_line=True)
    ('\\x1b[31mred\\u202e', 'a\nb', 'a\\nb')
    """
    seen = _UNSEEN.sub(_code, str(text))
    return _BREAKS.sub(_code, seen) if one_line else seen


def _code(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def print_anything() -> None:
    """Let characters that an output cannot hold, as one in ASCII, be written by their codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def standard_streams() -> Iterator[None]:
    """Watch over the outputs of a command: one that is full or closed is told apart from files that are.

    What went wrong is told on stderr as far as it takes it; a closed output is as good as the null device.

    Raises:
        OutputError: standard output can take no more.
    """
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 -- a name, no path
        watched = _Watched(before[0] or nowhere), _Watched(before[1] or nowhere, optional=True)
        sys.stdout, sys.stderr = cast(tuple[TextIO, TextIO], watched)
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before
            for stream in watched:
                if (
                    stream.failed
                ):  # what waits in it would be tried again, and complained about, as Python ends
                    with suppress(OSError):
                        os.dup2(nowhere.fileno(), stream.fileno())


class _Watched:
    """A stream whose failures can be told apart from those of files.

    Args:
        stream: what is written to.
        optional: whether what cannot be written is left out.
    """

    def __init__(self, stream: TextIO, optional: bool = False) -> None:
        self._stream = stream
        self._optional = optional
        self.failed = False

    def write(self, text: str) -> int:
        with self._told():
            # A library that warns there knows nothing of `say`.
            self._stream.write(redacted(text) if self._optional and isinstance(text, str) else text)
        return len(text)

    def flush(self) -> None:
        with self._told():
            self._stream.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = True
            if self._optional:
                return
            told = OutputError(f"cannot write to standard output: {error.strerror or error}")
            told.closed = isinstance(error, BrokenPipeError)
            raise told from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_traces() -> None:
    """Let what Python prints of an error that nobody catches pass here as well."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        say(trace_of(error.with_traceback(trace)), err=True)

    sys.excepthook = hook


def say(text: object, err: bool = False) -> None:
    """Print a line for a person."""
    typer.echo(visible(redacted(str(text))), err=err)


def give(text: str) -> None:
    """Print a text that another program may read: to a terminal as `say` does, to all others as it is."""
    if sys.stdout.isatty():
        typer.echo(visible(text), nl=False)
        return
    sys.stdout.write(text)
    sys.stdout.flush()


def show(drawn: object) -> None:
    """Print a table, or anything else that rich draws."""
    from rich.table import Table

    width = None
    if not sys.stdout.isatty():
        endless = _plain_console()(width=sys.maxsize, markup=False, emoji=False)
        width = max(WIDTH, endless.measure(drawn).maximum) if isinstance(drawn, Table) else WIDTH
    _plain_console()(width=width, markup=False, emoji=False).print(drawn)


def plain_table(*headings: str, title: str | None = None) -> Table:
    """Return a table without lines, to which rows may be added."""
    from rich.table import Table

    return Table(*headings, title=title, box=None, header_style="bold", padding=(0, GAP, 0, 0))


def width() -> int:
    """Return how many characters go on a line of standard output; a file has no end."""
    return _plain_console()().width if sys.stdout.isatty() else sys.maxsize


def aside() -> Console:
    """Return the console for what is no result: progress, and what went wrong on the way."""
    return _plain_console()(stderr=True, markup=False, emoji=False)


@cache
def _plain_console() -> type[Console]:
    from rich.console import Console

    class PlainConsole(Console):
        """A console for the texts of others: also for those in the cells of a table."""

        def render_str(self, text: str, **settings: Any) -> Any:
            return super().render_str(visible(redacted(text)), **settings)

    return PlainConsole


def words(field: str) -> ProgressColumn:
    """Return a column of a progress bar that shows a text of its task: ``task.description``."""
    from rich.progress import TextColumn
    from rich.text import Text

    class PlainColumn(TextColumn):
        def render(self, task: Any) -> Text:
            return Text(visible(redacted(self.text_format.format(task=task)), one_line=True))

    return PlainColumn(field)

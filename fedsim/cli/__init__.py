"""The command line. Thin: it reads options, calls the library, and turns errors into sentences."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import typer

from fedsim.cli import (
    advising,
    checking,
    comparing,
    fitting,
    listing,
    querying,
    reading,
    reporting,
    running,
    sharing,
    sweeping,
    tracing,
    tuned,
)
from fedsim.errors import FedsimError, InputError, LeftOutWarning, OutputError, ResultsWarning
from fedsim.importing import search
from fedsim.safety import safely
from fedsim.stopping import STOPPED, first_signal_only
from fedsim.terminal import guard_traces, print_anything, say, standard_streams

TOLD = LeftOutWarning, ResultsWarning
"""Warnings that are meant for the person at the keyboard."""

# The class of every wrong use: typer carries it along since 0.20 or so and took it from click before.
USAGE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


OLDEST_TYPER = (0, 27)
"""As in pyproject.toml: older ones break with some versions of click that are installed beside them."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Simulate federated in-context learning: real algorithms under a simulated clock.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fedsim import __version__

        say(f"fedsim {__version__}")
        raise typer.Exit


READERS = (
    "results",
    "compare",
    "table",
    "report",
    "verify",
    "trace",
    "latencies",
    "fit-latency",
    "check-trace",
)
"""Commands that read what may be a stranger's: they import nothing from the folder where one works."""


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an error; may stand anywhere.")
    ] = False,
    safe: Annotated[
        bool,
        typer.Option(
            "--safe",
            help="Take scenarios for a stranger's: no class by its name, no file outside their folder, no "
            "other machine; may stand anywhere. The variable FEDSIM_SAFE=1 does the same.",
        ),
    ] = False,
) -> None:
    """Declare the options of every command; `main` itself reads --debug and --safe."""
    search(None if context.invoked_subcommand in READERS else Path.cwd())


COMMANDS: dict[str, Callable[..., None]] = {
    "run": running.run,
    "sweep": sweeping.sweep,
    "check": checking.check,
    "advise": advising.advise,
    "prompt": running.prompt,
    "ask": tuned.ask,
    "serve": running.serve,
    "results": querying.results,
    "compare": comparing.compare,
    "figure": reading.figure,
    "table": reading.table,
    "report": reporting.report,
    "verify": reading.verify,
    "pack": sharing.pack,
    "repeat": sharing.repeat,
    "trace": tracing.trace,
    "latencies": reading.latencies,
    "fit-latency": fitting.fit_latency,
    "check-trace": fitting.check_trace,
    "list": listing.list_parts,
    "schema": listing.schema,
}
"""In the order of the help."""

for name, command in COMMANDS.items():
    app.command(name)(command)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; an error becomes a sentence."""
    with first_signal_only() as heard:
        code = _main(sys.argv[1:] if arguments is None else arguments)
    return 128 + heard[0] if heard else code


def _main(given: list[str]) -> int:
    print_anything()
    try:
        with standard_streams(), _warnings_told():
            return _answered(given)
    except OutputError as error:
        if "--debug" in given:
            guard_traces()
            raise
        if not error.closed:
            say(f"fedsim: {error}", err=True)
        return error.exit_code


def _answered(given: list[str]) -> int:
    try:
        _refuse_nothing(given)
        _check_typer(typer.__version__)
        with safely() if "--safe" in given else nullcontext():
            return _called([word for word in given if word not in ("--debug", "--safe")] or ["--help"])
    except OutputError:
        raise
    except FedsimError as error:
        if "--debug" in given:
            guard_traces()
            raise
        for sentence in str(error).splitlines():
            say(f"fedsim: {sentence}", err=True)
        return error.exit_code
    except Exception:  # a fault of ours
        guard_traces()
        raise
    finally:
        search(None)


def _refuse_nothing(given: list[str]) -> None:
    """Refuse an empty text wherever it stands: of a variable that is not set, or a path that was lost.

    Raises:
        InputError: with what stands before it.
    """
    for before, word in pairwise(["fedsim", *given]):
        option, is_option, value = word.partition("=")
        if not word.strip():
            place = f"after {before!r}"
        elif is_option and option.startswith("--") and not value.strip():
            place = f"after {option + '='!r}"
        else:
            continue
        raise InputError(f"{place}: found an empty text, expected a value; is a variable not set?")


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Tell what a person should know of scenarios and results as a note of one line, each once."""
    usual, told = warnings.showwarning, set[str]()

    def tell(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, TOLD):
            if str(message) not in told:
                told.add(str(message))
                say(f"fedsim: note: {message}", err=True)
        else:
            usual(message, category, *place, **more)

    with warnings.catch_warnings():
        for category in TOLD:
            warnings.simplefilter("default", category)
        warnings.showwarning = tell
        yield


def _check_typer(version: str) -> None:
    """Raise an InputError for a typer that is too old, and would do nothing without a word."""
    if tuple(map(int, version.split(".")[:2])) < OLDEST_TYPER:
        needed = ".".join(map(str, OLDEST_TYPER))
        raise InputError(f"typer {version} is installed, expected {needed} or newer: pip install -U typer")


def _called(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="fedsim", standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):  # Ctrl-C in an older typer; a newer one returns the code itself
        code = STOPPED
    except USAGE_ERROR as error:
        message = error.format_message().rstrip(".").replace(". Did you", "; did you")
        raise InputError(f"{message[0].lower()}{message[1:]} (`fedsim --help` tells more)") from error
    except SystemExit as error:
        raise InputError(
            f"somebody else's code that this command has called ended Python: {error!r}"
        ) from error
    if code == STOPPED:
        say("fedsim: stopped; finished runs are kept and will not be run again", err=True)
    return code or 0

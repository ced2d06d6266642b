"""A Dask cluster that computes runs: found within seconds, and compared with us before the first run."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError, nearest
from fedsim.safety import elsewhere
from fedsim.sweep.agreement import CodeBase, UnfitWorkerError, disagreement

if TYPE_CHECKING:
    from distributed import Client

PATIENCE_S = 5.0
"""How long a scheduler may take to answer."""

SCHEMES = ("tcp", "tls")
PLACE = re.compile(r"(?P<host>\[[^]/]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})", re.ASCII)
TALKATIVE = ("distributed", "tornado", "asyncio")
"""Whose loggers tell of lost connections, with stacks."""

MOST_TOLD = 5
"""How many workers are named that cannot compute."""


@contextmanager
def dask_executor(address: str, code: CodeBase) -> Iterator[Executor]:
    """Give an executor that computes on a Dask cluster.

    A run whose worker dies is given to another one by the scheduler; one that has taken several workers with
    it fails.

    Args:
        address: of its scheduler, as in ``tcp://192.168.1.5:8786``.
        code: what all its workers must have.

    Raises:
        InputError: Dask is not installed, no scheduler answers there, or one of its workers has other code.
    """
    _check_address(address)
    if why := elsewhere(address):
        raise InputError(f"--scheduler {address!r}: {why}")
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("--scheduler needs Dask: pip install 'fedsim-icl[dask]'") from error
    with _quiet():
        try:
            # A client waits for ever for somebody who takes its words and says nothing.
            asyncio.run(_ask(address))
            client = Client(address, timeout=PATIENCE_S, set_as_default=False)
        except Exception as error:  # whoever is there may have said anything
            wrong = _why(error) or f"no Dask scheduler answers there within {PATIENCE_S:g} s"
            raise InputError(
                f"--scheduler {address!r}: {wrong}; expected an address as in tcp://192.168.1.5:8786"
            ) from error
        try:
            check_workers(client, code)
            yield client.get_executor(pure=False)
        finally:
            client.close()


def check_workers(client: Client, code: CodeBase) -> None:
    """Compare the code of all workers with ours; those that come later are compared when they get a run.

    Raises:
        UnfitWorkerError: one of them has other code.
    """
    answers: Mapping[str, Any] = client.run(disagreement, code, on_error="return")
    wrong = {worker: _complaint(answer) for worker, answer in sorted(answers.items()) if answer != ""}
    if wrong:
        sentences = [f"the worker {worker} {why}" for worker, why in list(wrong.items())[:MOST_TOLD]]
        if (more := len(wrong) - len(sentences)) > 0:
            sentences.append(f"and {more} more workers like these")
        raise UnfitWorkerError("\n".join(sentences))


def _complaint(answer: Any) -> str:
    """Return what is wrong with a worker, in half a sentence."""
    if isinstance(answer, str):
        return answer
    if missing := re.search(r"No module named '[\w.]+'", str(answer)):  # it could not read the question
        return f"has no fedsim, or another version of it: {missing[0]}"
    return f"cannot tell what code it has: {answer!r}"


async def _ask(address: str) -> None:
    """Ask a scheduler who it is."""
    from distributed.comm import core
    from distributed.security import Security

    security: Any = Security  # without types
    connect: Any = core.connect
    async with asyncio.timeout(PATIENCE_S):
        options = security().get_connection_args("client")
        comm = await connect(address, timeout=PATIENCE_S, **options)
        try:
            await comm.write({"op": "identity", "reply": True})
            who = await comm.read()
        finally:
            comm.abort()
    if not isinstance(who, dict) or who.get("type") != "Scheduler":
        raise ValueError("it is none")


def _check_address(address: str) -> None:
    """Refuse what is no address of a scheduler.

    Raises:
        InputError: with what is missing.
    """
    scheme, found, place = address.rpartition("://")
    parts = PLACE.fullmatch(place)
    if found and scheme not in SCHEMES:
        wrong = f"a scheduler is not reached by {scheme!r}{nearest(scheme, SCHEMES)}"
    elif place.isdecimal():
        wrong = "found a port alone"
    elif parts is None:
        wrong = "no host and port"
    elif not 0 < int(parts["port"]) < 2**16:
        wrong = f"found the port {parts['port']}, expected one from 1 to 65535"
    else:
        return
    raise InputError(
        f"--scheduler {address!r}: {wrong}; expected tcp://HOST:PORT, as in tcp://192.168.1.5:8786"
    )


def _why(error: Exception) -> str:
    """Return what the operating system or the settings of Dask have against an address; or nothing."""
    if isinstance(error, TypeError):  # Dask's answer where it knows no certificates
        return "tls:// needs the certificates of distributed.comm.tls in Dask's settings"
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return "" if isinstance(error, TimeoutError) or not said else f"no Dask scheduler answers there ({said})"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from telling in its own words what we tell in ours."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in TALKATIVE]
    levels = {logger: logger.level for logger in map(logging.getLogger, {*names, *TALKATIVE})}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)

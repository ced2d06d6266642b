"""llama.cpp in a process of its own: when it dies, by a fault in it or a file of weights, the run does not.

The process is started by its own command, not by `multiprocessing`: a script that runs a scenario need not
be written for that. It ends with the one that started it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import FedsimError, InputError, ModelError

if TYPE_CHECKING:
    from fedsim.icl.models.local.runtime import ModelOutput, Tokens

START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from fedsim.icl.models.local import own_process
own_process.serve(int(sys.argv[2]))
"""

PATIENCE_S = 10.0
"""How long the process may take to end."""


class RuntimeProcess:
    """A `Runtime` in another process; its methods are the same.

    Raises:
        InputError: the package xllamacpp is missing, or the file is no model that it can load.
    """

    def __init__(self, weights: Path, context_tokens: int) -> None:
        self._connection, theirs = Pipe()
        command = [
            sys.executable,
            "-P",
            "-c",
            START,
            json.dumps([place for place in sys.path if place]),
            str(theirs.fileno()),
        ]
        # A process group of its own: Ctrl-C is for this process to answer.
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0
        )
        theirs.close()
        self._finalizer = weakref.finalize(self, _end, self._process, self._connection)
        try:
            self._ask("", weights, context_tokens)
        except ModelError as error:
            self.close()
            raise InputError(f"the weights {weights} cannot be loaded: {error}") from error
        except BaseException:
            self.close()
            raise

    def complete(self, prompt: str | list[str | int], max_tokens: int, n_listed: int = 0) -> ModelOutput:
        """See `Runtime.complete`.

        Raises:
            ModelError: the prompt is longer than the context, or llama.cpp has died.
        """
        return self._ask("complete", prompt, max_tokens, n_listed)

    def tokens(self, text: str, whole: bool = False) -> Tokens:
        """See `Runtime.tokens`."""
        return self._ask("tokens", text, whole)

    def text(self, tokens: Tokens) -> str:
        """See `Runtime.text`."""
        return self._ask("text", tokens)

    def chat_template(self) -> tuple[str, str]:
        """See `Runtime.chat_template`."""
        return self._ask("chat_template")

    def close(self) -> None:
        """End the process; more than once does no harm."""
        self._finalizer()

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            self._connection.send((method, arguments))
            answer = self._connection.recv()
        except (EOFError, OSError):  # closed, or never opened: nobody is there
            pass
        else:
            if isinstance(answer, FedsimError):
                raise answer
            return answer
        raise ModelError(
            f"llama.cpp has died ({_cause(self._process)}), perhaps for want of memory or by a damaged file "
            "of weights; answers that were had are kept: run the same command again"
        )


def _cause(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, in words."""
    try:
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        return "it says nothing any more"
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:  # at work on an answer that nobody wants any more
        process.kill()
        process.wait()


def serve(handle: int) -> None:
    """Be the other process: answer what the first one asks, until it closes the connection or is gone."""
    from fedsim.icl.models.local.runtime import Runtime

    # Its library may write anything to the terminal.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    connection, runtime = Connection(handle), None
    with suppress(EOFError, OSError):
        while True:
            method, arguments = connection.recv()
            try:
                if runtime is None:
                    runtime, answer = Runtime(*arguments), None
                else:
                    answer = getattr(runtime, method)(*arguments)
            except FedsimError as error:
                answer = type(error)(str(error))
            except Exception as error:  # llama.cpp may fail in any way; its text may quote a prompt
                answer = ModelError(f"the local model failed ({type(error).__name__})")
            connection.send(answer)
    if runtime is not None:
        runtime.close()

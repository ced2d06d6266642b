"""matplotlib, whatever a person's surroundings say of it: figures depend on results alone.

A notebook names a backend for all that is started from it, which may be unknown here; a home may be missing,
or not for writing; a `matplotlibrc` may lie in any folder.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fedsim.errors import InputError

_BACKEND = "MPLBACKEND"


def ready() -> None:
    """Import matplotlib so that no setting of the surroundings keeps it from drawing.

    Figures are drawn without pyplot, so that a backend is for others: it is left as it was asked for.

    Raises:
        InputError: it cannot be imported.
    """
    if "matplotlib.figure" in sys.modules:
        return
    wanted = os.environ.get(_BACKEND)
    try:
        with _nobody_asks_for_a_backend(), _warnings_kept():
            import matplotlib as mpl
            import matplotlib.figure
    except Exception as error:  # by a damaged matplotlibrc, or without any folder to write to
        raise InputError(
            f"matplotlib, which draws the figures, cannot be imported: {error}; expected a readable "
            "matplotlibrc (in the working folder, at MATPLOTLIBRC or in MPLCONFIGDIR) and a folder for "
            "temporary files"
        ) from error
    if wanted:
        with suppress(ValueError):
            mpl.rcParams["backend"] = wanted


@contextmanager
def _nobody_asks_for_a_backend() -> Iterator[None]:
    wanted = os.environ.pop(_BACKEND, None)
    try:
        yield
    finally:
        if wanted is not None:
            os.environ[_BACKEND] = wanted


@contextmanager
def _warnings_kept() -> Iterator[None]:
    """Keep back that a folder for fonts is missing, or a setting unknown: figures need neither."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

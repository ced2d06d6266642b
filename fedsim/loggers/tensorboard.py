"""TensorBoard's event files."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedsim.errors import InputError
from fedsim.loggers.base import Logged, Logger, check_place

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class Tensorboard(Logger):
    """Event files, one folder per run: `tensorboard --logdir FOLDER` shows them.

    Measurements stand under their names with the server step; the time of an event is the simulated time, so
    that the axis "relative" is the simulated clock.

    Source: Abadi et al., "TensorFlow: a system for large-scale machine learning", OSDI 2016, section 5; the
    files are read by TensorBoard alone.
    """

    kind: Literal["tensorboard"] = "tensorboard"

    def check(self) -> None:
        check_place("tensorboard", self.place)
        if find_spec("tensorboard") is None:
            raise InputError("--log tensorboard needs: pip install 'fedsim-icl[tensorboard]'")

    def has(self, run: Logged) -> bool:
        return self._folder(run).is_dir()

    def log(self, run: Logged) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self._folder(run)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            writer = EventFileWriter(str(folder))
            try:
                writer.add_event(_settings(Event, run.settings))
                for name, rows in run.measured().items():
                    for step, time_s, value in rows.itertuples(index=False):
                        writer.add_event(_scalar(Event, name, int(step), time_s, value))
            finally:
                writer.close()
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error

    def _folder(self, run: Logged) -> Path:
        parts = (run.variant or run.name, f"seed-{run.seed}", run.run_id)
        return Path(self.place) / run.name / "-".join(parts)


def _scalar(event: type[Event], name: str, step: int, time_s: float, value: float) -> Event:
    made = event(step=step, wall_time=time_s)
    made.summary.value.add(tag=name, simple_value=value)
    return made


def _settings(event: type[Event], settings: dict[str, Any]) -> Event:
    """Return the settings as a text, a line each, as the plugin "text" shows it."""
    made = event(step=0, wall_time=0.0)
    text = made.summary.value.add(tag="settings")
    text.metadata.plugin_data.plugin_name = "text"
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text.tensor.dtype = 7  # DT_STRING, in TensorFlow's types.proto
    text.tensor.tensor_shape.dim.add(size=1)
    text.tensor.string_val.append("  \n".join(lines).encode())
    return made

"""MLflow's tracking."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from fedsim.errors import InputError
from fedsim.loggers.base import ADDRESS, Logged, Logger, check_place
from fedsim.safety import elsewhere
from fedsim.secrets import is_bare_address

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

RUN_ID = "fedsim.run_id"
"""The tag by which a run is found again."""

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "file", "databricks", "uc")
"""How addresses begin that MLflow keeps its data at; packages may offer others."""

MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 500
"""What MLflow takes at a time, and how long the value of a setting may be in all its versions."""

FORBIDDEN = re.compile(r"[^\w\-. /]")
"""What may not stand in a name."""

MANNERS = {
    "MLFLOW_ALLOW_FILE_STORE": "true",  # newer versions keep a folder of files for those who ask for it
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # a server that is not there is not waited for
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


class Mlflow(Logger):
    """A run of MLflow for each run, in an experiment with the name of the scenario.

    Settings become parameters; measurements become metrics with the server step, and with the simulated time
    as their time stamp (ms) and as the metric `time_s`. `place` is a folder, or the address of a tracking
    server or data base, as in ``http://host:5000``.

    Source: Zaharia et al., "Accelerating the machine learning lifecycle with MLflow", IEEE Data Engineering
    Bulletin 41(4), 2018, section 3.
    """

    kind: Literal["mlflow"] = "mlflow"

    def check(self) -> None:
        if is_bare_address(self.place):  # not shown: it would be a folder of this name
            raise InputError("--log mlflow: expected http:// before an address with a user or a password")
        offered = [point.name for point in entry_points(group="mlflow.tracking_store")]
        check_place("mlflow", self.place, dict.fromkeys([*SCHEMES, *offered]))
        if find_spec("mlflow") is None:
            raise InputError("--log mlflow needs: pip install 'fedsim-icl[mlflow]'")
        if "://" in self.place and urlsplit(self.place).hostname and (why := elsewhere(self.place)):
            raise InputError(f"--log mlflow: {why}")

    def has(self, run: Logged) -> bool:
        with self._explained():
            return run.run_id in _known(self._client(), run.name)

    def log(self, run: Logged) -> None:
        with self._explained():
            from mlflow.entities import Metric, Param

            client = self._client()
            label = f"{run.variant or run.name}, seed {run.seed}"
            made = client.create_run(_experiment(client, run.name), tags={RUN_ID: run.run_id}, run_name=label)
            params = [
                Param(FORBIDDEN.sub("_", key), json.dumps(value)[:LONGEST_PARAM])
                for key, value in run.settings.items()
            ]
            metrics = [
                Metric(FORBIDDEN.sub("_", name), value, round(1000 * time_s), int(step))
                for name, rows in {**run.measured(), "time_s": _clock(run)}.items()
                for step, time_s, value in rows.itertuples(index=False)
            ]
            for first in range(0, len(params), MOST_PARAMS):
                client.log_batch(made.info.run_id, params=params[first : first + MOST_PARAMS])
            for first in range(0, len(metrics), MOST_METRICS):
                client.log_batch(made.info.run_id, metrics=metrics[first : first + MOST_METRICS])
            client.set_terminated(made.info.run_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what MLflow says into a sentence."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise InputError(f"--log mlflow:{self.place}: MLflow needs {error.name} for this") from error
        except Exception as error:  # MLflow passes on those of whatever keeps its data
            why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise InputError(f"--log mlflow:{self.place}: {why}") from error

    def _client(self) -> MlflowClient:
        for name, value in MANNERS.items():
            os.environ.setdefault(name, value)
        return _client(self.place if ADDRESS.match(self.place) else Path(self.place).resolve().as_uri())


@cache
def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found is not None else client.create_experiment(name)


@cache
def _known(client: MlflowClient, name: str) -> frozenset[str]:
    """Return the addresses of the runs in an experiment; asked once, for there may be many."""
    found, token = [], None
    while True:
        page = client.search_runs([_experiment(client, name)], page_token=token)
        found += [run.data.tags.get(RUN_ID, "") for run in page]
        token = page.token
        if not token:
            return frozenset(found)


def _clock(run: Logged) -> pd.DataFrame:
    steps = run.steps[["step", "time_s"]].astype(float)
    return steps.assign(value=steps.time_s)

"""Fit laws to the measured latencies of hosted LLM endpoints, and write the profile.

``python -m fedsim_analysis.fit_latency_profile FOLDER`` reads the traces of `ENDPOINTS` in a folder, whose
format docs/traces.md tells, and writes ``scenarios/profiles/llm_latency.csv``: laws fitted to the time to
first token of each endpoint and of all their calls pooled, with mean and quantiles beside the measured ones.
The traces are not part of this project: raw data of 19 December 2023 of ray-project/llmperf-leaderboard
(Apache-2.0), hosted Llama-2 70B chat, 550 tokens in, 5 requests at once, about 150 requests an endpoint.
Without them nothing is written.

Figure 1 takes the first row: of the laws with two parameters, fitted by maximum likelihood to the pooled
calls, the one whose mean, p50, p90 and p99 are nearest to the measured ones in the worst of the four.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fedsim.errors import FedsimError, InputError
from fedsim.terminal import say
from fedsim.timing.traces import Requests, read_as
from fedsim_analysis.fitting.latency import LawFit, fit_all, rounded, toml_value
from fedsim_analysis.fitting.latency.held import Landmarks, measured, told, worst
from fedsim_analysis.fitting.latency.single import Floats

PROFILE = Path(__file__).parents[2] / "scenarios" / "profiles" / "llm_latency.csv"
ENDPOINTS = ("anyscale_70b", "fireworks_70b", "perplexity_70b")
POOLED = "pooled"


def read_endpoints(folder: Path) -> dict[str, Floats]:
    """Return the times to first token (s) of each endpoint, failed requests left out.

    Raises:
        InputError: a trace is not there, or is none.
    """
    files = {name: folder / f"llm_latency_{name}.csv" for name in ENDPOINTS}
    for file in files.values():
        if not file.is_file():
            raise InputError(
                f"no trace {file}: the raw data are not part of this project; they are those of "
                "ray-project/llmperf-leaderboard (19 December 2023), in the format of docs/traces.md"
            )
    return {name: read_as(file, Requests).succeeded().ttft_s for name, file in files.items()}


def latency_profile(delays_s: Mapping[str, Floats]) -> pd.DataFrame:
    """Return a row per endpoint and law, those of all calls pooled first, each with the nearest law first.

    Laws with two parameters come before the mixture, which has five.
    """
    tables = []
    for endpoint, times_s in {POOLED: np.concatenate(list(delays_s.values())), **delays_s}.items():
        fits = fit_all(times_s)
        found = pd.DataFrame([_row(fit, times_s) for fit in fits]).sort_values(
            ["n_parameters", "most_off"], key=abs, ignore_index=True
        )
        found.insert(0, "endpoint", endpoint)
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


def _row(fit: LawFit, times_s: Floats) -> dict[str, object]:
    law = rounded(fit.delay)
    names = Landmarks._fields
    return (
        {"n_calls": len(times_s), "law": fit.name, "n_parameters": fit.n_parameters, "aic": fit.aic}
        | {f"{name}_measured_s": value for name, value in zip(names, measured(times_s), strict=True)}
        | {f"{name}_law_s": value for name, value in zip(names, told(law), strict=True)}
        | {"most_off": worst(law, times_s).share, "latency": toml_value(law)}
    )


def main(arguments: list[str] | None = None) -> int:
    """Read the traces, write the profile and show it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fedsim_analysis.fit_latency_profile", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the traces of the endpoints are")
    try:
        profile = latency_profile(read_endpoints(parser.parse_args(arguments).folder))
    except FedsimError as error:
        say(error, err=True)
        return error.exit_code
    PROFILE.parent.mkdir(parents=True, exist_ok=True)
    profile.to_csv(PROFILE, index=False, float_format="%.4f")
    say(profile.drop(columns="latency").round(4).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

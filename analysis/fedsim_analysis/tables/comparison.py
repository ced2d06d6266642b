"""All methods on several networks: how accurate, how long, at what cost, what each needs and what it reveals.

Accuracies and times are means over seeds with 95 % t intervals. A scenario is called ``TEXTS.NETWORK``, or
``TEXTS.NETWORK.straggler`` where one worker is slow, unless the runs say so in columns of their own.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Column, Table

from fedsim_analysis import style
from fedsim_analysis.frames import named, require
from fedsim_analysis.statistics import estimate
from fedsim_analysis.varied import check_averaged

PLACE = ["task", "method", "network", "straggler"]
COUNTS = (
    "llm_calls",
    "tokens_in",
    "tokens_out",
    "own_tokens",
    "own_gradient_tokens",
    "bytes_up",
    "bytes_down",
)
"""Of all workers together, in the whole run."""
CONTROLS = {
    "accuracy_zero_vectors": "with vectors of zero",
    "accuracy_zero_shot": "no demonstration, nothing tuned",
    "accuracy_unbiased": "the same, without its bias for some labels (an oracle)",
}
"""What some methods measure beside themselves, by column."""
NETWORKS = {"data_centre": "data centre", "home": "home uplinks", "mobile": "mobile"}


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per set of texts, method, network, and with or without a slow worker.

    Args:
        runs: one row per run. A method that learns nothing has no accuracy.

    Returns:
        `task, method, network, straggler, seeds`; `time_s` (until the run ends) and `accuracy_percent`, each
        with the bounds `_low` and `_high` of its 95 % interval over seeds; means of `rounds` (steps of the
        server), of `cost` (in the currency of the prices) and of `COUNTS`; `workers`; `access` and `reveals`;
        the accuracies of `CONTROLS` in percent, as `..._percent`. NaN where there is no such number.

    Raises:
        InputError: a column is missing, or runs of a place differ in more than their seed.
    """
    needed = ["simulated_time_s", "accuracy", "server_steps", "n_workers", "cost", "access", "reveals"]
    require(runs, "runs", [*needed, "llm_calls", "tokens_in", "tokens_out", "bytes_up", "bytes_down"])
    runs = with_places(runs)
    check_averaged(runs, PLACE)
    orders: dict[str, list[Any]] = {
        "task": style.in_order(runs["task"], style.TASKS),
        "method": style.methods_in_order(runs["method"]),
        "network": style.in_order(runs["network"], NETWORKS),
        "straggler": [False, True],
    }
    places = pd.DataFrame({name: runs[name].map(orders[name].index) for name in PLACE})
    runs = runs.loc[places.sort_values(PLACE, kind="stable").index]
    return pd.DataFrame([_row(place, group) for place, group in runs.groupby(PLACE, sort=False)])


def with_places(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with `PLACE`; see above."""
    runs = named(runs) if "method" not in runs else runs
    if "network" in runs:
        return runs
    parts = [f"{name}..".split(".")[:3] for name in runs["scenario"]]
    return runs.assign(
        task=[part[0] for part in parts],
        network=[part[1] for part in parts],
        straggler=[part[2] == "straggler" for part in parts],
    )


def network_name(name: str) -> str:
    """Return how a network is written."""
    return NETWORKS.get(name) or style.text(name or "no network")


def _row(place: Sequence[Any], group: pd.DataFrame) -> dict[str, Any]:
    cells = dict(zip(PLACE, place, strict=True)) | {"seeds": len(group)}
    cells |= estimate(group["simulated_time_s"]).columns("time_s")
    cells |= estimate(100 * group["accuracy"].astype(float)).columns("accuracy_percent")
    cells |= {"rounds": _mean(group, "server_steps"), "cost": _mean(group, "cost")}
    cells |= {name: _mean(group, name) for name in COUNTS}
    cells |= {name: group[name].iloc[0] for name in ("access", "reveals")}
    cells["workers"] = int(group["n_workers"].iloc[0])
    return cells | {f"{name}_percent": 100 * _mean(group, name, math.nan) for name in CONTROLS}


def _mean(group: pd.DataFrame, name: str, missing: float = 0.0) -> float:
    """Return the mean of a column; what a method does not count it does not do."""
    return float(group[name].astype(float).fillna(missing).mean()) if name in group else missing


def render(rows: pd.DataFrame) -> Group:
    """Return `table` for the terminal: for each set of texts times, then work, then what is needed."""
    looks = style.methods(rows["method"])
    shown: list[Table | str] = []
    for task, of_task in rows.groupby("task", sort=False):
        shown += [_times(task, of_task, looks), *_controls(of_task, looks), ""]
    return Group(*shown, _work(rows, looks), _needs(rows, looks))


def _times(task: Hashable, rows: pd.DataFrame, looks: Mapping[str, style.Method]) -> Table:
    networks = list(dict.fromkeys(rows["network"]))
    shown = _empty(
        f"{style.task_name(str(task))}: accuracy (%) and simulated seconds to the end",
        ["method", "accuracy", *map(network_name, networks)],
        f"means over {_seeds(rows)}, accuracies with 95 % t intervals;\nin brackets with a slow worker",
    )
    for method, of_method in rows.groupby("method", sort=False):
        cells = [_times_on(of_method[of_method["network"] == network]) for network in networks]
        shown.add_row(looks[str(method)].label, _accuracy(of_method), *cells)
    return shown


def _accuracy(rows: pd.DataFrame) -> str:
    """Return the accuracy at the first place, and the others' range where times change what is learned."""
    first, means = rows.iloc[0], rows["accuracy_percent"]
    if math.isnan(first["accuracy_percent"]):
        return "costs only" if means.isna().all() else "-"
    text = _with_interval(first["accuracy_percent"], first["accuracy_percent_high"], 1)
    low, high = means.min(), means.max()
    return text if high - low < 0.05 else f"{text} ({low:.1f} to {high:.1f})"


def _times_on(rows: pd.DataFrame) -> str:
    """Return the time without a slow worker, and in brackets that with one."""
    times = {bool(slow): time_s for slow, time_s in zip(rows["straggler"], rows["time_s"], strict=True)}
    told = {slow: f"{time_s:.{2 if time_s < 10 else 1}f}" for slow, time_s in times.items()}
    return f"{told.get(False, '-')} ({told[True]})" if True in told else told.get(False, "-")


def _controls(rows: pd.DataFrame, looks: Mapping[str, style.Method]) -> list[str]:
    """Return a line for each method that measures controls."""
    told = []
    for method, of_method in rows.groupby("method", sort=False):
        first = of_method.iloc[0]
        found = {words: first[f"{name}_percent"] for name, words in CONTROLS.items()}
        words = [f"{words} {value:.1f}" for words, value in found.items() if not math.isnan(value)]
        if words:
            told.append(f" beside {looks[str(method)].label}: {'; '.join(words)}")
    return told


def _work(rows: pd.DataFrame, looks: Mapping[str, style.Method]) -> Table:
    """Return the work of each method, the mean over sets of texts at the first network, nobody slow."""
    shown = _empty(
        f"Work and bytes of all {rows['workers'].iloc[0]} workers in a run",
        ["method", "rounds", "LLM calls", "tokens in", "out", "own tokens", "kB up", "kB down", "price"],
        "rounds: steps of the server; of workers that exchange nothing, the jobs of all of them\n"
        "own tokens: of the workers' own model, + those with gradient\n"
        "price: in the currency of the prices; all are means over the sets of texts",
    )
    for method, of_method in _plain(rows).groupby("method", sort=False):
        mean = of_method[["rounds", "cost", *COUNTS]].mean()
        own, gradient = mean["own_tokens"], mean["own_gradient_tokens"]
        shown.add_row(
            looks[str(method)].label,
            f"{mean['rounds']:.0f}",
            *(_count(mean[name]) for name in ("llm_calls", "tokens_in", "tokens_out")),
            f"{_count(own)} + {_count(gradient)}" if gradient else _count(own),
            *(_kilobytes(mean[name]) for name in ("bytes_up", "bytes_down")),
            f"{mean['cost']:.4f}" if mean["cost"] else "0",
        )
    return shown


def _needs(rows: pd.DataFrame, looks: Mapping[str, style.Method]) -> Table:
    shown = _empty(
        "What a method needs of the model, and what of a worker's data leaves it",
        ["method", "needs", "reveals"],
        None,
        left=3,
    )
    for method, of_method in rows.groupby("method", sort=False):
        shown.add_row(looks[str(method)].label, of_method["access"].iloc[0], of_method["reveals"].iloc[0])
    return shown


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per set of texts and method."""
    return rows.drop_duplicates(["task", "method"])


def _seeds(rows: pd.DataFrame) -> str:
    low, high = rows["seeds"].min(), rows["seeds"].max()
    return f"{low} seed{'' if low == 1 else 's'}" if low == high else f"{low} to {high} seeds"


def _empty(title: str, names: Sequence[str], caption: str | None, left: int = 1) -> Table:
    columns = [Column(name, justify="left" if place < left else "right") for place, name in enumerate(names)]
    return Table(*columns, title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _with_interval(mean: float, high: float, digits: int) -> str:
    certain = math.isnan(high) or high == mean
    return f"{mean:.{digits}f}" if certain else f"{mean:.{digits}f} ± {high - mean:.{digits}f}"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _kilobytes(n_bytes: float) -> str:
    return f"{n_bytes / 1000:,.1f}" if n_bytes else "0"

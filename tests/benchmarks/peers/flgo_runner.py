"""The common work in FLGo 0.4, with its FedAvg and its FedAsync, its clock and its simulator of latencies.

FLGo's clock goes in whole ticks, and each costs the same whether messages come or not. Latencies are
therefore chosen so that in each tick exactly one client answers, in turn, with all others under way.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flgo
import flgo_task
import numpy as np
import torch
from flgo.algorithm import fedasync, fedavg, fedbase
from flgo.simulator.base import BasicSimulator
from torch.utils.data import TensorDataset
from work import LEARNING_RATE, MIXING, STALENESS_POWER, CommonWork, ReadyRunner, main

OPTIONS: dict[str, Any] = {
    "proportion": 1.0,
    "sample": "full",
    "aggregate": "uniform",
    "num_steps": 1,
    "batch_size": -1.0,  # all samples of a client
    "learning_rate": LEARNING_RATE,
    "train_holdout": 0.0,
    "eval_interval": -1,
    "no_tqdm": True,
    "no_log_console": True,
    "log_level": "ERROR",
    "torch_num_threads": 1,
}


class OneATick(BasicSimulator):
    """Client i answers in tick i + 1 first, and then each time all others have answered once."""

    def initialize(self) -> None:
        self.asked_before: set[int] = set()

    def update_client_responsiveness(self, client_ids: list[int], *args: Any, **kwargs: Any) -> None:
        # Who answered in a tick is asked again in the next one, so one tick of the turn is spent by then.
        turn = len(self.all_clients) - 1
        latencies = [turn if client in self.asked_before else client for client in client_ids]
        self.asked_before.update(client_ids)
        self.set_variable(client_ids, "latency", latencies)


def prepare(task: CommonWork) -> ReadyRunner:
    """A task folder, as FLGo wants one, and a server with its clients; evaluation is off."""
    features, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    flgo_task.train_data.extend(TensorDataset(x, y) for x, y in zip(features, labels, strict=True))
    folder = tempfile.TemporaryDirectory(prefix="flgo-")
    os.chdir(folder.name)  # FLGo imports the task by its path from here
    sys.path.insert(0, folder.name)
    config = "from flgo_task import DataLoader, compute_loss, data_to_device, eval, get_model, train_data\n"
    Path("config.py").write_text(config)
    flgo.gen_direct_task_from_file("softmax_task", "config.py")

    if task.mode == "sync":
        server = flgo.init("softmax_task", fedavg, OPTIONS)
    else:
        # FLGo's own client of FedAsync works out a proximal term even where its weight is zero.
        algorithm: Any = SimpleNamespace(
            __name__="fedasync", Server=fedasync.Server, Client=fedbase.BasicClient
        )
        weights = [MIXING, 0.0, "poly", 10.0, 6.0, STALENESS_POWER]
        server = flgo.init("softmax_task", algorithm, {**OPTIONS, "algo_para": weights}, Simulator=OneATick)

    def run_until(rounds: int) -> np.ndarray:
        """Go on from where the last call ended, until so many steps are done."""
        server.register_exit_condition(lambda server: server.current_round > rounds)
        server.run()
        model = server.model.model
        return torch.cat([model.weight.T, model.bias[None]]).detach().double().numpy()

    # The folder must stay as long as the server.
    server.task_folder = folder
    differs = ("its clock goes in whole ticks, one round or one message in each",)
    if task.mode == "sync":
        return ReadyRunner("fedavg", lambda: run_until(task.rounds), differs)
    # In the first tick all clients train and one is heard; after that, one trains and one is heard in each.
    differs += ("its first tick, in which all clients train once, is not measured",)
    return ReadyRunner(
        "fedasync", lambda: run_until(task.rounds), differs, lambda: run_until(1), warm_up_updates=1
    )


if __name__ == "__main__":
    main("FLGo", "flgo", prepare)

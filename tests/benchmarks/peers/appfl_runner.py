"""The common work in APPFL 1.12, with the drivers of virtual time that it ships (`appfl.vsim`).

All clients take one second a step but for a millionth, by which client 0 is the first, then client 1, and so
on: messages then come in turn, as in the plain program.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import appfl_task
import numpy as np
import torch

# For reports on images, APPFL imports piq, and piq torchvision, whose build from PyPI does not load beside a
# torch for the CPU. There are no images here.
sys.modules["piq"] = ModuleType("piq")

from appfl.agent import SimClientAgent, SimServerAgent  # noqa: E402, after the line above
from appfl.vsim import AsyncSimDriver, ClientProfile, SyncSimDriver  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402
from work import LEARNING_RATE, MIXING, SAMPLES, STALENESS_POWER, CommonWork, ReadyRunner, main  # noqa: E402

FILE = str(Path(appfl_task.__file__))
MODEL = {"model_path": FILE, "model_name": "AppflSoftmax"}
# Else it collects garbage several times in each job.
LEAN = {"optimize_memory": False}
# Stated although they are off: of each that is missing, it searches for one of a like name in every job.
OFF = (
    "clip_grad",
    "do_pre_validation",
    "do_validation",
    "enable_wandb",
    "send_gradient",
    "use_dp",
    "use_secure_agg",
)
TRAINING: dict[str, Any] = {
    "trainer": "VanillaTrainer",
    "mode": "step",
    "num_local_steps": 1,
    "optim": "SGD",
    "optim_args": {"lr": LEARNING_RATE},
    "train_batch_size": SAMPLES,
    "train_data_shuffle": False,
    "loss_fn": "CrossEntropyLoss",
    "metric_path": FILE,
    "metric_name": "accuracy",
    "device": "cpu",
    **LEAN,
}


def prepare(task: CommonWork) -> ReadyRunner:
    """An agent for the server and for each client, and the driver; evaluation is off."""
    logging.disable(logging.CRITICAL)
    rounds = {"num_global_epochs": task.rounds, "num_clients": task.clients, **LEAN}
    if task.mode == "sync":
        steps = {
            "scheduler": "SyncScheduler",
            "scheduler_kwargs": {"num_clients": task.clients, **LEAN},
            "aggregator": "FedAvgAggregator",
            "aggregator_kwargs": LEAN,
        }
    else:
        mixing = {
            "alpha": MIXING * task.clients,  # it divides by the number of clients
            "staleness_fn": "polynomial",
            "staleness_fn_kwargs": {"a": STALENESS_POWER},
        }
        steps = {
            "scheduler": "AsyncScheduler",
            "scheduler_kwargs": LEAN,
            "aggregator": "FedAsyncAggregator",
            "aggregator_kwargs": {**mixing, **LEAN},
        }
    server = SimServerAgent(
        {
            "client_configs": {"model_configs": dict(MODEL), "train_configs": dict(TRAINING)},
            "server_configs": {**rounds, **steps},
        }
    )
    features, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    clients = [
        SimClientAgent(
            {"model_configs": MODEL, "train_configs": {**TRAINING, **dict.fromkeys(OFF, False)}, **LEAN},
            client_id=str(number),
            client_dataset=TensorDataset(x, y),
        )
        for number, (x, y) in enumerate(zip(features, labels, strict=True))
    ]
    later = 1e-6 / task.clients
    profiles = {
        str(number): ClientProfile(compute_factor=1.0 + number * later, bandwidth=0.0)
        for number in range(task.clients)
    }
    logger = logging.getLogger("appfl")
    if task.mode == "sync":
        driver = SyncSimDriver(
            server, clients, profiles, task.clients, logger, base_step_time=1.0, target_rounds=task.rounds
        )
    else:
        driver = AsyncSimDriver(server, clients, profiles, task.clients, logger, base_step_time=1.0)

    def run() -> np.ndarray:
        driver.run()
        model = server.model
        return torch.cat([model.weight.T, model.bias[None]]).detach().double().numpy()

    differs = ("it measures each client's accuracy in each job, and collects samples one by one",)
    return ReadyRunner("fedavg" if task.mode == "sync" else "fedasync", run, differs)


if __name__ == "__main__":
    main("APPFL", "appfl", prepare)

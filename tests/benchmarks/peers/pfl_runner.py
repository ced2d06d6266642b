"""The common work in pfl 0.6 (Apple), with its PyTorchModel, FederatedAveraging and SimulatedBackend.

pfl has no asynchronous algorithm and no clock. Its nearest work is a round of one client at a time, which is
never stale: that is what `async` measures here, and what it says.
"""

from __future__ import annotations

import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from work import CLASSES, FEATURES, LEARNING_RATE, CommonWork, ReadyRunner, main


class PflSoftmax(torch.nn.Linear):
    """Softmax regression from zero weights on, with the two methods that pfl asks of a model."""

    def __init__(self) -> None:
        super().__init__(FEATURES, CLASSES)
        torch.nn.init.zeros_(self.weight)
        torch.nn.init.zeros_(self.bias)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(x), y)

    @torch.no_grad()
    def metrics(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, Weighted]:
        return {"loss": Weighted(self.loss(x, y).item() * len(y), len(y))}


def prepare(task: CommonWork) -> ReadyRunner:
    """Datasets, model and backend; evaluation is off, and clients come in turn."""
    features, labels = torch.from_numpy(task.features), torch.from_numpy(task.labels)
    datasets = [
        Dataset((x, y), user_id=str(i)) for i, (x, y) in enumerate(zip(features, labels, strict=True))
    ]
    clients = FederatedDataset(datasets.__getitem__, get_user_sampler("minimize_reuse", range(task.clients)))
    module = PflSoftmax()
    # The central step adds the mean difference as it is: SGD with a rate of one.
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
    training = NNTrainHyperParams(
        local_batch_size=None, local_num_epochs=1, local_learning_rate=LEARNING_RATE
    )
    cohort = task.clients if task.mode == "sync" else 1
    algorithm, backend = FederatedAveraging(), SimulatedBackend(clients, clients)

    def run_until(rounds: int) -> np.ndarray:
        """Go on from where the last call ended, until so many rounds are done."""
        settings = NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=task.rounds,
            train_cohort_size=cohort,
            val_cohort_size=0,
        )
        algorithm.run(settings, backend, model, training, send_metrics_to_platform=False)
        return torch.cat([module.weight.T, module.bias[None]]).detach().double().numpy()

    differs = ("it has no clock",)
    method = "fedavg"
    if task.mode == "async":
        differs += ("it has no asynchronous algorithm: rounds of one client, which is never stale",)
        method = "one client a round"
    # pfl evaluates every client in its first round, whatever one says; that round is therefore not measured.
    return ReadyRunner(
        method, lambda: run_until(task.rounds), differs, lambda: run_until(1), warm_up_updates=cohort
    )


if __name__ == "__main__":
    main("pfl", "pfl", prepare)

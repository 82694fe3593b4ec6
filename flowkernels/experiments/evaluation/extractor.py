"""Feature extractors for FID, KID, precision and recall.

These scores are distances between features and are comparable only for the same extractor.
Inception's weights are not always available, and were not trained on grey 28x28 clothing. So the
study trains two small networks on the data set itself, for different tasks, and reports both: a
ranking on which they disagree depends on the extractor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels.experiments.data.dataset import ImageDataset
from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.tensor_file import load_tensors, save_tensors
from flowkernels.experiments.evaluation.noise import fixed_noise

__all__ = ["TASKS", "Classifier", "Extractor", "inception", "trained_extractor"]

_log = logging.getLogger("flowkernels.experiments.data")
_SEED = 20_171_106
# What a network can be trained to tell -> what the accuracy in its label is of.
TASKS = {"classes": "classes", "rotations": "rotations by multiples of 90 degrees"}
_FEWEST_STEPS = 250


class Extractor(nn.Module):
    """Maps images (B, C, H, W) of levels 0 to 255 to features (B, num_features).

    Attributes:
        num_features: number of features.
        label: its name in tables.
    """

    num_features: int
    label: str


class Classifier(Extractor):
    """Four convolutions, two of stride 2, a hidden layer (the features), and an output layer.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes.
        num_features: width of the hidden layer.
        task: what the classes are, see :data:`TASKS`.

    Example:
        >>> net = Classifier((1, 28, 28), classes=10)
        >>> net(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape
        torch.Size([2, 128])
    """

    unit: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        num_features: int = 128,
        *,
        task: str = "classes",
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.classes = classes
        self.task = task
        self.accuracy = math.nan
        channels, height, width = shape
        layers: list[nn.Module] = []
        for given, made, stride in ((channels, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)):
            layers += [
                nn.Conv2d(given, made, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(made),
                nn.ReLU(),
            ]
        cells = math.ceil(height / 4) * math.ceil(width / 4)
        hidden = nn.Linear(64 * cells, num_features)
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), hidden, nn.ReLU())
        # Scales the features to unit variance on average, which fixes the scale of distances.
        self.register_buffer("unit", torch.ones(()))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(num_features, classes))
        # torch's type hints lack this overload of `to`.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def label(self) -> str:  # type: ignore[override]
        """Its task, its size and its accuracy on the test images."""
        return (
            f"own network for {TASKS[self.task]}, {self.num_features} features, test accuracy "
            f"{self.accuracy:.1%}"
        )

    def forward(self, images: Tensor) -> Tensor:
        """The hidden layer, scaled to a mean variance of 1 on the training images."""
        return self._hidden(images) / self.unit

    def logits(self, images: Tensor) -> Tensor:
        """Scores of the classes (B, classes)."""
        scores: Tensor = self.head(self._hidden(images))
        return scores

    def _hidden(self, images: Tensor) -> Tensor:
        levels = images.to(self.unit.dtype).contiguous(memory_format=torch.channels_last)
        hidden: Tensor = self.trunk(levels / 255)
        return hidden


def trained_extractor(
    dataset: ImageDataset,
    file: Path,
    *,
    task: str = "classes",
    epochs: int = 8,
    batch_size: int = 128,
) -> Classifier:
    """The network of a data set, loaded from ``file`` or trained and saved there.

    AdamW with a one-cycle schedule. The result depends only on the data.

    Args:
        dataset: with labels for the task ``classes``, of square images for ``rotations``.
        file: its file.
        task: ``classes``, or ``rotations``: an image is turned by 0, 90, 180 or 270 degrees, and
            the network tells which (Gidaris et al. 2018, arXiv 1803.07728). This needs no labels.
        epochs: passes over the training images; more of a small data set, for 250 steps at least.
        batch_size: images per step.

    Raises:
        DataError: the data set does not have what the task needs, or the file is of other images.
    """
    if task == "classes":
        if dataset.train_labels is None or dataset.test_labels is None:
            raise DataError(
                f"data set {dataset.name}: expected labels to train a feature extractor on, found "
                "none"
            )
        classes = int(dataset.train_labels.max()) + 1
        test = dataset.test, dataset.test_labels.long()
    else:
        if dataset.shape[1] != dataset.shape[2]:
            raise DataError(
                f"data set {dataset.name}: expected square images to tell rotations, got "
                f"{dataset.shape[1]}x{dataset.shape[2]}"
            )
        classes = 4
        test = rotated(dataset.test.repeat(4, 1, 1, 1), _turns(4 * len(dataset.test)))
    with fixed_noise(_SEED):
        net = Classifier(dataset.shape, classes, task=task)
        if file.is_file():
            return _read(net, file)
        _log.info("training a network on %s for FID and KID (%s) ...", dataset.name, task)
        labels = None if task == "rotations" else dataset.train_labels
        _train(net, dataset.train, labels, epochs, batch_size)
    _set_unit(net, dataset.train)
    net.accuracy = _accuracy(net, *test)
    save_tensors(file, {"accuracy": net.accuracy, "state": net.state_dict()})
    return net.eval()


def _read(net: Classifier, file: Path) -> Classifier:
    kept = load_tensors(file)
    try:
        net.load_state_dict(kept["state"])
        net.accuracy = float(kept["accuracy"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{file}: expected a classifier of these images ({error}); remove it to train one"
        ) from error
    return net.eval()


def _train(
    net: Classifier, images: Tensor, labels: Tensor | None, epochs: int, batch_size: int
) -> None:
    """Train on labels, or without them on rotations."""
    batches = math.ceil(len(images) / batch_size)
    epochs = max(epochs, math.ceil(_FEWEST_STEPS / batches))
    steps = epochs * batches
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch_size):
            batch = images[chosen]
            if labels is None:
                batch, wanted = rotated(batch, torch.randint(4, (len(batch),)))
            else:
                wanted = labels[chosen].long()
            optimizer.zero_grad()
            F.cross_entropy(net.logits(batch), wanted, label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()


def rotated(images: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """The images (B, C, N, N), each turned by its number of quarter turns, and these numbers."""
    turned = images.clone()
    for number in (1, 2, 3):
        chosen = turns == number
        turned[chosen] = torch.rot90(images[chosen], number, (2, 3))
    return turned, turns


def _turns(count: int) -> Tensor:
    """Each of 0, 1, 2 and 3 for a fourth of `count` images."""
    return torch.arange(4).repeat_interleave(count // 4)


@torch.no_grad()
def _set_unit(net: Classifier, images: Tensor) -> None:
    hidden = torch.cat([net.eval()(batch) for batch in images[:10_000].split(1000)])
    net.unit.copy_(hidden.var(0).mean().sqrt())


@torch.no_grad()
def _accuracy(net: Classifier, images: Tensor, labels: Tensor) -> float:
    net.eval()
    parts = zip(images.split(1000), labels.split(1000), strict=True)
    right = sum(int((net.logits(x).argmax(1) == y).sum()) for x, y in parts)
    return right / len(images)


class _Inception(Extractor):
    num_features = 2048
    label = "Inception-v3, 2048 features"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        colour = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        features: Tensor = self.network(colour.to(torch.uint8))
        return features


def inception(weights: Path) -> Extractor:
    """The Inception network of the papers, from a file of its weights.

    Args:
        weights: ``pt_inception-2015-12-05-6726825d.pth``, as torch-fidelity publishes it.

    Raises:
        DataError: the file is missing.
        MissingExtraError: torch-fidelity is not installed.
    """
    if not weights.is_file():
        raise DataError(
            f"{weights}: expected the weights of Inception (torch-fidelity's "
            "pt_inception-2015-12-05-6726825d.pth), found no file"
        )
    require("torch_fidelity", extra="inception", purpose="features of Inception")
    from torchmetrics.image.fid import NoTrainInceptionV3

    network: Any = NoTrainInceptionV3(
        name="inception-v3-compat",
        features_list=["2048"],
        feature_extractor_weights_path=str(weights),
    )
    return _Inception(network).eval()


@torch.no_grad()
def features(extractor: Extractor, images: Tensor, batch_size: int = 1000) -> Iterator[Tensor]:
    """Features of many images (N, C, H, W), batch by batch, on the CPU in float64."""
    device = next(extractor.parameters()).device
    for batch in images.split(batch_size):
        yield extractor(batch.to(device)).double().cpu()

"""Feature extractors for FID and KID.

FID and KID are distances between features and are comparable only for the same extractor.
Inception's weights are not always available, and were not trained on grey 28x28 clothing. So the
default is a small classifier trained on the data set, reported with its accuracy.
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

__all__ = ["Classifier", "Extractor", "inception", "trained_classifier"]

_log = logging.getLogger("flowkernels.experiments.data")
_SEED = 20_171_106


class Extractor(nn.Module):
    """Maps images (B, C, H, W) of levels 0 to 255 to features (B, num_features).

    Attributes:
        num_features: number of features.
        label: its name in tables.
    """

    num_features: int
    label: str


class Classifier(Extractor):
    """Two strided convolutions, a hidden layer (the features), and an output layer.

    Args:
        shape: (C, H, W) of the images.
        classes: number of classes.
        num_features: width of the hidden layer.

    Example:
        >>> net = Classifier((1, 28, 28), classes=10)
        >>> net(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape
        torch.Size([2, 128])
    """

    unit: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int, num_features: int = 128) -> None:
        super().__init__()
        channels, height, width = shape
        self.num_features = num_features
        self.classes = classes
        self.accuracy = math.nan
        cells = math.ceil(height / 4) * math.ceil(width / 4)
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * cells, num_features),
            nn.ReLU(),
        )
        # Scales the features to unit variance on average, which fixes the scale of distances.
        self.register_buffer("unit", torch.ones(()))
        self.head = nn.Linear(num_features, classes)

    @property
    def label(self) -> str:  # type: ignore[override]
        """Its size and its accuracy on the test images."""
        return f"own classifier, {self.num_features} features, test accuracy {self.accuracy:.1%}"

    def forward(self, images: Tensor) -> Tensor:
        """The hidden layer, scaled to a mean variance of 1 on the training images."""
        return self._hidden(images) / self.unit

    def logits(self, images: Tensor) -> Tensor:
        """Scores of the classes (B, classes)."""
        scores: Tensor = self.head(self._hidden(images))
        return scores

    def _hidden(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.trunk(images.to(self.head.weight.dtype) / 255)
        return hidden


def trained_classifier(
    dataset: ImageDataset, file: Path, *, epochs: int = 6, batch_size: int = 128
) -> Classifier:
    """The classifier of a data set, loaded from ``file`` or trained and saved there.

    Adam with a one-cycle schedule. The result depends only on the data.

    Args:
        dataset: with labels.
        file: its file.
        epochs: passes over the training images.
        batch_size: images per step.

    Raises:
        DataError: the data set has no labels, or the file is of other images.
    """
    if dataset.train_labels is None or dataset.test_labels is None:
        raise DataError(
            f"data set {dataset.name}: expected labels to train a feature extractor on, found none"
        )
    with fixed_noise(_SEED):
        net = Classifier(dataset.shape, int(dataset.train_labels.max()) + 1)
        if file.is_file():
            return _read(net, file)
        _log.info("training a classifier on %s for FID and KID ...", dataset.name)
        _train(net, dataset.train, dataset.train_labels.long(), epochs, batch_size)
    _set_unit(net, dataset.train)
    net.accuracy = _accuracy(net, dataset.test, dataset.test_labels.long())
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


def _train(net: Classifier, images: Tensor, labels: Tensor, epochs: int, batch_size: int) -> None:
    steps = epochs * math.ceil(len(images) / batch_size)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    net.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(net.logits(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()


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

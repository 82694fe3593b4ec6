"""An exponential moving average of the weights, with which a run is validated and read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.recovery import AVERAGED

__all__ = ["AveragedWeights", "WeightAverage", "decay_at"]


def decay_at(step: int, decay: float) -> float:
    """The decay of the update after ``step`` steps: min(decay, (1 + step) / (10 + step)).

    The average of a young run forgets its start quickly. The formula is that of TensorFlow's
    ``tf.train.ExponentialMovingAverage(decay, num_updates=step)``.

    Example:
        >>> decay_at(0, 0.999), decay_at(80, 0.999), decay_at(10**6, 0.999)
        (0.1, 0.9, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))


class AveragedWeights:
    """The average of a module's parameters: averaged = d averaged + (1 - d) weights.

    Its buffers are not averaged: with the averaged parameters go the buffers as they are.

    Args:
        module: in training; its parameters stay the same tensors.
        decay: the largest d, see :func:`decay_at`.

    Example:
        >>> layer = torch.nn.Linear(1, 1, bias=False)
        >>> average = AveragedWeights(layer, 0.5)
        >>> for step in range(5):
        ...     _ = torch.nn.init.constant_(layer.weight, 2.0**step)
        ...     average.update(step)
        >>> round(average.values["weight"].item(), 3)
        12.643
        >>> average.exchange()
        >>> round(layer.weight.item(), 3), average.values["weight"].item()
        (12.643, 16.0)
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {name: weight.detach() for name, weight in module.named_parameters()}
        self.values: dict[str, Tensor] = {
            name: weight.clone() for name, weight in self._weights.items()
        }

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Continue from these.

        Raises:
            ValueError: they are of another module.
        """
        shapes = {name: weight.shape for name, weight in self._weights.items()}
        if {name: value.shape for name, value in values.items()} != shapes:
            raise ValueError("values: expected those of this module's parameters")
        for name, value in values.items():
            self.values[name].copy_(value)

    def update(self, step: int) -> None:
        """Add the weights after a step; ``step`` is the number of steps before it.

        The first step sets the average: before it, layers that start from their first batch have
        no weights yet. Nothing is read from the device or copied to it.
        """
        values, weights = [*self.values.values()], [*self._weights.values()]
        if step == 0:
            torch._foreach_copy_(values, weights)
        else:
            torch._foreach_lerp_(values, weights, 1 - decay_at(step, self.decay))

    def exchange(self) -> None:
        """Put the averages in the place of the weights, and these in theirs; undone by a second."""
        values, weights = [*self.values.values()], [*self._weights.values()]
        kept = [weight.clone() for weight in weights]
        torch._foreach_copy_(weights, values)
        torch._foreach_copy_(values, kept)


class WeightAverage(pl.Callback):
    """Averages the weights after every step; validation uses the average.

    Lightning's ``EMAWeightAveraging`` has no warm-up, and the ``AveragedModel`` in it reads the
    number of updates from the device at every step.

    Args:
        decay: see :class:`AveragedWeights`.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedWeights | None = None
        self._saved: Mapping[str, Tensor] | None = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the averages until the module is on its device."""
        saved = checkpoint.get(AVERAGED)
        if not isinstance(saved, dict):
            raise RunError(
                f"{trainer.ckpt_path}: has no averaged weights, so it cannot be resumed with "
                f"ema_decay {self.decay:g}"
            )
        self._saved = saved

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or with the averages of the checkpoint."""
        self._average = AveragedWeights(pl_module, self.decay)
        if self._saved is not None:
            self._average.restore(self._saved)
            self._saved = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights after the step."""
        self._of_training.update(trainer.global_step - 1)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate the averages."""
        self._of_training.exchange()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Train on with the weights."""
        self._of_training.exchange()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the averages."""
        checkpoint[AVERAGED] = dict(self._of_training.values)

    @property
    def _of_training(self) -> AveragedWeights:
        assert self._average is not None
        return self._average

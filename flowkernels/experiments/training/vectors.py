"""Fits flows on vectors with any loss, for a number of steps, without a run's folder."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.training.module import FlowModule
from flowkernels.flows import Flow

__all__ = ["fit_vectors", "negative_log_likelihood"]

Loss = Callable[[Flow, Any], Tensor]


def negative_log_likelihood(flow: Flow, x: Tensor) -> Tensor:
    """The mean of -log p(x) over a batch (B, d), in nats."""
    return -flow.log_prob(x).mean()


class _Batches:
    """An iterable that Lightning treats as one loader; it treats a list as several."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class _VectorModule(FlowModule):
    """A FlowModule with any loss."""

    def __init__(self, flow: Flow, loss: Loss, **options: Any) -> None:
        super().__init__(flow, **options)
        self._loss_of = loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self._loss_of(self.flow, batch)
        self._loss = loss.detach()
        return loss


def fit_vectors(
    flow: Flow,
    batches: Iterable[Any],
    *,
    steps: int,
    loss: Loss = negative_log_likelihood,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    schedule: str = "cosine",
    warmup_steps: int = 0,
    gradient_clip: float = 10.0,
    seed: int = 0,
) -> Flow:
    """Train a flow in place for a number of steps, on the CPU, and return it in evaluation mode.

    The result depends only on the arguments, the weights and the number of threads: random numbers
    come from `seed`, and torch's random state is restored afterwards.

    Args:
        flow: the flow to train.
        batches: the batches for the loss, iterated repeatedly: ``TensorBatches`` of a table, or a
            list.
        steps: AdamW steps.
        loss: (flow, batch) -> scalar; default the negative log-likelihood of a batch (B, d).
        learning_rate: the peak, see
            :func:`flowkernels.experiments.training.module.learning_rate_factor`.
        weight_decay: decoupled.
        schedule: ``cosine`` or ``constant``.
        warmup_steps: of the learning rate.
        gradient_clip: largest Euclidean norm of the gradient.
        seed: of all random numbers.

    Raises:
        ValueError: `steps` is below 1.
        NonFiniteError: the loss or its gradient stopped being finite.

    Example:
        >>> import torch
        >>> from flowkernels.flows import realnvp
        >>> data = torch.randn(256, 2) * 3 + 1
        >>> flow = fit_vectors(realnvp(2, layers=2, hidden=8), [data], steps=3)
        >>> flow.training
        False
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    module = _VectorModule(
        flow,
        loss,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        warmup_steps=warmup_steps,
        total_steps=steps,
    )
    quiet = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        with warnings.catch_warnings(), fixed_noise(seed):
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
            warnings.filterwarnings("ignore", module="lightning.*", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*is deprecated.*")
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=1,
                max_steps=steps,
                max_epochs=-1,
                gradient_clip_val=gradient_clip,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
            )
            trainer.fit(
                module.train(),
                train_dataloaders=_Batches(batches) if isinstance(batches, list) else batches,
            )
    finally:
        quiet.setLevel(level)
    return flow.eval()

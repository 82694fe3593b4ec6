"""A flow under training, as Lightning wants it."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from flowkernels.experiments.evaluation.metrics import BitsPerDim
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.training.finite import FiniteSteps, NonFiniteError
from flowkernels.flows import Flow

__all__ = ["FlowModule", "NonFiniteError", "learning_rate_factor"]

# Validation draws its dequantisation noise from here, the same at every visit.
_VALIDATION_SEED = 20_101_205


def learning_rate_factor(step: int, *, warmup: int, total: int, schedule: str) -> float:
    """The share of the peak learning rate that step number ``step`` (from 0) takes.

    (step + 1) / warmup while it rises; then 1, or (1 + cos(pi u)) / 2 with u from 0 to 1 over the
    steps that remain.

    Example:
        >>> [learning_rate_factor(s, warmup=2, total=6, schedule="cosine") for s in (0, 1, 4, 6)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class FlowModule(pl.LightningModule):
    """Maximum likelihood: the loss is the mean of -log_prob / (D log 2), in bits per dimension.

    AdamW with a linear warm-up and a cosine or constant schedule; the gradient's Euclidean norm is
    clipped at ``Trainer(gradient_clip_val)``. A step whose loss or gradient is not finite does not
    reach the weights, and nothing after it does. On the CPU it raises at once; on a GPU, where
    AdamW is fused and skips such steps itself, within ``look_every`` steps: between, the host does
    not wait for the device.

    Args:
        flow: the flow to train; batches go to its ``bits_per_dim``.
        learning_rate: the peak.
        weight_decay: decoupled.
        schedule: ``cosine`` or ``constant``.
        warmup_steps: of the learning rate.
        total_steps: where the cosine reaches zero. Given rather than asked of the trainer, whose
            estimate loads the data before a resumed position in it is restored.
        look_every: steps on a GPU after which its numbers are looked at.

    Raises:
        NonFiniteError: while training, see above.
    """

    def __init__(
        self,
        flow: Flow,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        schedule: str = "cosine",
        warmup_steps: int = 0,
        total_steps: int = 1,
        look_every: int = 1,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.look_every = look_every
        self.val_bpd = BitsPerDim()
        # Of the step just taken, for the log.
        self.gradient_norm: Tensor = torch.tensor(0.0)
        self.step_learning_rate = 0.0
        # Of the last row of the history, and of the last validation; nan before the first.
        self.train_score = math.nan
        self.val_score = math.nan
        self._finite: FiniteSteps | None = None
        self._looked_at = 0
        self._loss: Tensor = torch.tensor(0.0)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The mean of a batch (B, C, H, W)'s bits per dimension."""
        loss: Tensor = self.flow.bits_per_dim(batch).mean()
        self._loss = loss.detach()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Adds a batch of held-out images to the validation score."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        with fixed_noise(_VALIDATION_SEED + batch_idx * world_size + rank, self.device):
            self.val_bpd.update(self.flow.bits_per_dim(batch))

    def on_validation_epoch_end(self) -> None:
        """Reports the validation score over all processes."""
        # Kept besides: what Lightning logs may be rounded to float32 on the way.
        self.val_score = float(self.val_bpd.compute()["bpd"])
        self.val_bpd.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the shape of the images, without which the flow cannot be built again."""
        checkpoint["event_shape"] = list(self.flow.event_shape)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm of the gradient; notes whether it and the loss are finite."""
        limit = math.inf if gradient_clip_val is None else float(gradient_clip_val)
        self.gradient_norm = nn.utils.clip_grad_norm_(self.parameters(), limit).detach()
        # Read here: by the end of the batch the schedule has set that of the next step.
        self.step_learning_rate = float(optimizer.param_groups[0]["lr"])
        if all(group.get("fused") for group in optimizer.param_groups):
            if self._finite is None:
                self._finite = FiniteSteps(self._loss.device)
            self._finite.add(self._loss, self.gradient_norm)
            optimizer.found_inf = self._finite.stop  # type: ignore[attr-defined]
            if (self.global_step + 1) % self.look_every == 0:
                self._look(self.global_step + 1)
            return
        finite = bool(torch.isfinite(self.gradient_norm) & torch.isfinite(self._loss))
        if self.trainer.world_size > 1:
            # One process alone that raised would leave the others waiting for its gradient.
            finite = self.trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            self._stop(self.global_step, float(self._loss), float(self.gradient_norm))

    def on_train_start(self) -> None:
        """Count from here."""
        self._finite, self._looked_at = None, self.global_step

    def check_finite(self) -> None:
        """Raises where a step since the last look was not finite; waits for the device."""
        self._look(self.global_step)

    def on_validation_start(self) -> None:
        """Nothing is validated that has stopped."""
        self.check_finite()

    def on_train_epoch_end(self) -> None:
        """Nothing ends that has stopped."""
        self.check_finite()

    def _look(self, steps: int) -> None:
        """`steps`: how many have been taken, the present one included."""
        bad = None if self._finite is None else self._finite.look()
        before, self._looked_at = self._looked_at, steps
        if bad is not None:
            self._stop(before + bad.after, bad.loss, bad.gradient_norm)

    def _stop(self, good_steps: int, loss: float, gradient_norm: float) -> NoReturn:
        raise NonFiniteError(
            f"step {good_steps + 1} (epoch {self.current_epoch + 1}): the loss is {loss:g} bits "
            f"per dimension and its gradient's norm {gradient_norm:g}",
            good_steps=good_steps,
        )

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule, stepped after every batch."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=self._fuses() or None,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learning_rate_factor(
                step,
                warmup=self.warmup_steps,
                total=self.total_steps,
                schedule=self.schedule,
            ),
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _fuses(self) -> bool:
        """Whether all of AdamW is one kernel: on a GPU, for which each small one is a launch."""
        return all(p.is_cuda for p in self.parameters())

"""The Lightning module that trains a flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from flowkernels.experiments.evaluation.metrics import BitsPerDim, MeanScore
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.experiments.training.captured import CapturedStep
from flowkernels.experiments.training.finite import FiniteSteps, NonFiniteError
from flowkernels.flows import Flow

__all__ = ["FlowModule", "NonFiniteError", "learning_rate_factor"]

# Seed of the dequantisation noise of every validation.
_VALIDATION_SEED = 20_101_205


def learning_rate_factor(step: int, *, warmup: int, total: int, schedule: str) -> float:
    """The learning rate of step ``step`` (from 0) relative to its peak.

    (step + 1) / warmup during warm-up; then 1, or (1 + cos(pi u)) / 2 with u from 0 to 1 over the
    remaining steps.

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
    clipped at ``Trainer(gradient_clip_val)``. A step with a non-finite loss or gradient, and all
    steps after it, leave the weights unchanged. On the CPU such a step raises immediately. On a
    GPU, fused AdamW skips it, and the error is raised within ``look_every`` steps; in between,
    there is no host synchronization. A single GPU replays loss, gradients and clipping from a CUDA
    graph.

    Subclasses define another score of a datum, whose mean is the loss: `score` and `score_name`.

    Attributes:
        score_name: of the score, in records of training.
        score_unit: of the score, for messages.
        data_name: what a batch holds, for messages.

    Args:
        flow: the flow to train; batches go to its ``bits_per_dim``.
        learning_rate: the peak.
        weight_decay: decoupled.
        schedule: ``cosine`` or ``constant``.
        warmup_steps: of the learning rate.
        total_steps: the step at which the cosine reaches zero. Not taken from the trainer, whose
            estimate loads the data before a resumed position is restored.
        look_every: on a GPU, steps between two checks for non-finite values.
        cuda_graph: on a single GPU, whether to replay steps from a CUDA graph.
        accumulate: the number of parts in which a batch is computed, one after the other. Their
            gradients add up to that of the batch, with the memory of one part. Not for several
            devices.
        compile: whether training computes the score by torch.compile, from the first step on that
            finds all layers started: ActNorm starts from its first batch without it. A captured
            step then replays the compiled kernels. Dequantisation draws other noise. Validation is
            not compiled.

    Raises:
        NonFiniteError: while training, see above.
    """

    score_name: ClassVar[str] = "bpd"
    score_unit: ClassVar[str] = "bits per dimension"
    data_name: ClassVar[str] = "images"

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
        cuda_graph: bool = True,
        accumulate: int = 1,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.look_every = look_every
        self.cuda_graph = cuda_graph
        self.accumulate = accumulate
        self.compiles = compile  # nn.Module has a method `compile`
        self.val_mean: MeanScore = BitsPerDim()
        # Of the step just taken, for the log.
        self.gradient_norm: Tensor = torch.tensor(0.0)
        self.step_learning_rate = 0.0
        # Of the last row of the history, and of the last validation; nan before the first.
        self.train_score = math.nan
        self.val_score = math.nan
        # Whether training began: until then a checkpoint is being restored.
        self.started = False
        self._finite: FiniteSteps | None = None
        self._looked_at = 0
        self._loss: Tensor = torch.tensor(0.0)
        self._captured: CapturedStep | None = None
        self._compiled: Callable[[Tensor], Tensor] | None = None

    def score(self, batch: Tensor) -> Tensor:
        """The scores (B,) of a batch: of images (B, C, H, W) their bits per dimension."""
        return self.flow.bits_per_dim(batch)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The mean score of a batch."""
        if self._captured is not None:
            return self._captured(batch)
        if self._steps_whole:
            return self._whole_step(batch)
        loss: Tensor = self._training_score(batch).mean()
        self._loss = loss.detach()
        return loss

    def _training_score(self, batch: Tensor) -> Tensor:
        """`score`, compiled where that is wished and possible."""
        if self.compiles and self._compiled is None and not self._awaits_start():
            # Sizes are those of one batch or its parts, and code for any size is slower.
            self._compiled = torch.compile(self.score, dynamic=False)
        return self.score(batch) if self._compiled is None else self._compiled(batch)

    @property
    def _steps_whole(self) -> bool:
        """Whether `training_step` computes the gradients, too, and clips them."""
        return self._captured is not None or self.accumulate > 1

    def _whole_step(self, batch: Tensor) -> Tensor:
        """The mean score of a batch and its clipped gradients; reads nothing from the device."""
        for parameter in self.parameters():
            parameter.grad = None
        parts = batch.tensor_split(min(self.accumulate, len(batch)))
        if len(parts) > 1 and self._awaits_start():
            with torch.no_grad():
                self.score(batch)  # from all of it, as without parts
        losses = [self._add_gradients(part, len(part) / len(batch)) for part in parts]
        self._loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        with torch.autocast(batch.device.type, enabled=False):
            self.gradient_norm = self._clip(self.trainer.gradient_clip_val)
        if self._finite is not None:
            self._finite.add(self._loss, self.gradient_norm)
        return self._loss

    def _add_gradients(self, part: Tensor, share: float) -> Tensor:
        """The part of the loss that a share of the batch has; adds its gradients."""
        loss: Tensor = self._training_score(part).mean()
        if share < 1:
            loss = loss * share
            # Weights that autocast has cast would keep the graph of the part before.
            torch.clear_autocast_cache()
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        return loss.detach()

    def _awaits_start(self) -> bool:
        """Whether a layer starts from the next batch, as ActNorm does from its first."""
        return any(getattr(layer, "awaits_start", False) for layer in self.flow.modules())

    def optimizer_zero_grad(self, *args: Any) -> None:
        """Clear the gradients, unless the step has just computed them."""
        if not self._steps_whole:
            super().optimizer_zero_grad(*args)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients, unless the step has just done it."""
        if not self._steps_whole:
            super().backward(loss, *args, **kwargs)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Add a batch of held-out data to the validation score."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        with fixed_noise(_VALIDATION_SEED + batch_idx * world_size + rank, self.device):
            self.val_mean.update(self.score(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the validation score over all processes."""
        # Stored too, because Lightning may round logged values to float32.
        self.val_score = float(self.val_mean.compute()[self.val_mean.score_name])
        self.val_mean.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the shape of the data, which is needed to build the flow again."""
        checkpoint["event_shape"] = list(self.flow.event_shape)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient; record whether it and the loss are finite."""
        if not self._steps_whole:
            self.gradient_norm = self._clip(gradient_clip_val)
        # Read here: at the end of the batch the schedule has already set the next learning rate.
        self.step_learning_rate = float(optimizer.param_groups[0]["lr"])
        if self._defers():
            if self._finite is None:
                self._finite = FiniteSteps(self._loss.device)
            if not self._steps_whole:
                self._finite.add(self._loss, self.gradient_norm)
            optimizer.found_inf = self._finite.stop  # type: ignore[attr-defined]
            if (self.global_step + 1) % self.look_every == 0:
                self._look(self.global_step + 1)
            return
        finite = bool(torch.isfinite(self.gradient_norm) & torch.isfinite(self._loss))
        if self.trainer.world_size > 1:
            # If only one process raised, the others would wait for its gradient forever.
            finite = self.trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            self._stop(self.global_step, float(self._loss), float(self.gradient_norm))

    def _clip(self, limit: float | None) -> Tensor:
        """Clip the gradient; its norm before."""
        limit = math.inf if limit is None else float(limit)
        return nn.utils.clip_grad_norm_(self.parameters(), limit).detach()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with fused AdamW, whatever wrote the checkpoint."""
        for state in checkpoint["optimizer_states"]:
            for group in state["param_groups"]:
                group["fused"] = True

    def on_train_start(self) -> None:
        """Start counting steps; set the learning rate of the next one.

        A checkpoint has the learning rate of the schedule that wrote it, which may have had
        another end.
        """
        self.started = True
        self._finite, self._looked_at = None, self.global_step
        self._captured = None
        if self._captures():
            self._captured = CapturedStep(self._whole_step)
        if self._steps_whole and self._defers():
            self._finite = FiniteSteps(self.device)
        for entry in self.trainer.lr_scheduler_configs:
            schedule = entry.scheduler
            assert isinstance(schedule, torch.optim.lr_scheduler.LambdaLR)
            rates = [
                base * factor(schedule.last_epoch)
                for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
            ]
            schedule._last_lr = rates
            for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def on_train_end(self) -> None:
        """Free the graph: it holds the memory of a step, and cannot be copied or pickled."""
        self._captured = self._compiled = None

    def check_finite(self) -> None:
        """Raise if a step since the last look was not finite; synchronises with the device."""
        self._look(self.global_step)

    def on_validation_start(self) -> None:
        """Check for non-finite steps before a validation."""
        self.check_finite()

    def on_train_epoch_end(self) -> None:
        """Check for non-finite steps at the end of an epoch."""
        self.check_finite()

    def _look(self, steps: int) -> None:
        """Check after `steps` steps, including the current one."""
        bad = None if self._finite is None else self._finite.look()
        before, self._looked_at = self._looked_at, steps
        if bad is not None:
            self._stop(before + bad.after, bad.loss, bad.gradient_norm)

    def _stop(self, good_steps: int, loss: float, gradient_norm: float) -> NoReturn:
        raise NonFiniteError(
            f"step {good_steps + 1} (epoch {self.current_epoch + 1}): the loss is {loss:g} "
            f"{self.score_unit} and its gradient's norm {gradient_norm:g}",
            good_steps=good_steps,
        )

    def configure_optimizers(self) -> Any:
        """AdamW and its learning-rate schedule, stepped after every batch."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            # One pass over the weights: 1 ms instead of 5 of a step of 140 on a CPU, and few
            # launches on a GPU.
            fused=True,
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

    def _captures(self) -> bool:
        """Whether to replay steps from a CUDA graph: several devices would wait for each other."""
        return self.cuda_graph and self.trainer.world_size == 1 and self.device.type == "cuda"

    def _defers(self) -> bool:
        """Whether to look for non-finite steps only now and then: a look would wait for a GPU."""
        return all(p.is_cuda for p in self.parameters())

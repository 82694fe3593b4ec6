"""Trains a flow from a configuration, new or resumed."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core.rank_zero import rank_zero_only

from flowkernels.experiments.data.errors import short
from flowkernels.experiments.data.module import InMemoryDataModule, TableDataModule
from flowkernels.experiments.training.averaging import WeightAverage
from flowkernels.experiments.training.checkpoint import (
    AtomicCheckpointIO,
    RandomState,
    RunCheckpoints,
)
from flowkernels.experiments.training.config import RunConfig, TrainingConfig
from flowkernels.experiments.training.data import data_of
from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.history import History
from flowkernels.experiments.training.lock import training_lock
from flowkernels.experiments.training.module import FlowModule, NonFiniteError
from flowkernels.experiments.training.progress import progress_callback
from flowkernels.experiments.training.recovery import (
    newest_whole,
    read_checkpoint,
    replace_damaged,
)
from flowkernels.experiments.training.resume import check_changes, total_steps
from flowkernels.experiments.training.run import Run, flow_of
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.size import check_memory
from flowkernels.experiments.training.table_config import TableConfig
from flowkernels.experiments.training.table_flow import standardize
from flowkernels.experiments.training.table_training import TableModule
from flowkernels.experiments.training.time_limit import TimeLimit
from flowkernels.flows import Flow

__all__ = ["cpu_threads", "fit", "make_trainer"]


def fit(
    config: RunConfig | TableConfig,
    folder: str | Path,
    *,
    resume: bool = False,
    tensorboard: bool = False,
    progress: bool = True,
    limit: TimeLimit | None = None,
) -> FlowModule:
    """Train a flow; writes ``config.json``, ``metrics.csv`` and ``checkpoints/`` to ``folder``.

    The newest state is ``checkpoints/last.ckpt``, the best validated one ``checkpoints/best.ckpt``.
    Where the weights are averaged, these are validated, and the checkpoints have both.
    On the CPU a run that was killed and resumed gives exactly the results of an uninterrupted run,
    weights and metrics.csv included.

    Args:
        config: the configuration. When resuming, that of the run; settings that do not declare
            why a run keeps them may differ. The schedule then goes on by
            :func:`flowkernels.experiments.training.resume.total_steps`.
        folder: the run's folder.
        resume: continue from the newest undamaged checkpoint, or start if there is none.
        tensorboard: also write TensorBoard events.
        progress: show the progress.
        limit: of the time. When it is up, training saves its state after a step and stops;
            resumed, it gives the results of a run without a limit, bit for bit on the CPU. A step
            that ends an epoch is first followed by its validation. Every call trains for one step
            at least, if any is left.

    Returns:
        The module in its final state.

    Raises:
        RunError: the folder already contains a run and ``resume`` is not set, another process
            trains in it, or all its checkpoints are damaged.
        ConfigError: the configuration does not fit the data, or differs from the run's.
        DataError: the data are missing or damaged.
        NonFiniteError: the loss is not finite; the message names the last good checkpoint.
        TimeLimitError: the time is up before the run is finished.
        KeyboardInterrupt: the user interrupted training.
    """
    run = Run(folder)
    if run.path.exists() and not run.path.is_dir():
        raise RunError(f"{run.path}: is a file; a run needs a folder")
    # Lightning starts further processes by running the command again, after the first has written
    # to the folder; they train under its lock.
    first = not getattr(rank_zero_only, "rank", 0)
    with contextlib.ExitStack() as held:
        if first and run.config_file.exists():
            held.enter_context(training_lock(run.path))
        config = _settled(run, config, resume, first)
        data = data_of(config)
        flow = flow_of(config, data.event_shape)
        trainer = make_trainer(config, run, tensorboard=tensorboard, progress=progress, limit=limit)
        _check_size(config, data, trainer)
        # After the checks, so that a run that cannot be trained leaves no folder.
        if first and not run.config_file.exists():
            held.enter_context(training_lock(run.path))
            config = _settled(run, config, resume, first)  # another process may have been faster
        run.check_links()
        state = _resumed_state(run, first) if resume else None
        module = _module(
            flow,
            data,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            schedule=config.schedule,
            warmup_steps=config.warmup_steps,
            total_steps=total_steps(config, data.steps_in_epoch(config.devices), state),
            look_every=config.log_every,
            cuda_graph=config.cuda_graph == "auto",
            accumulate=config.accumulate,
            compile=config.compile == "on",
        )
        if first and not (run.config_file.exists() and run.config() == config):
            config.save(run.config_file)
        if len(data.val_part) == 0:
            trainer.limit_val_batches = 0
        checkpoint = None if state is None else str(run.last)
        del state  # as large as the weights and the optimiser's state
        _fit(trainer, module, data, config, run, checkpoint)
    return module


def _module(flow: Flow, data: InMemoryDataModule, **options: Any) -> FlowModule:
    """The module that trains a flow on these data."""
    if isinstance(data, TableDataModule):
        return TableModule(standardize(flow, data.dataset), data.dataset, **options)
    return FlowModule(flow, **options)


def _fit(
    trainer: pl.Trainer,
    module: FlowModule,
    data: InMemoryDataModule,
    config: TrainingConfig,
    run: Run,
    checkpoint: str | None,
) -> None:
    """Lightning's training, with this package's errors."""
    try:
        with warnings.catch_warnings(), cpu_threads(config.threads):
            _silence_lightning()
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except NonFiniteError as error:
        raise NonFiniteError(f"{error}.\n{_recovery_advice(run)}", error.good_steps) from error
    except SystemExit as error:
        # Lightning converts Ctrl-C to exit(1).
        raise KeyboardInterrupt from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(config, error) from error
    except (RunError, OSError):
        raise
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        if "can't allocate memory" in str(error):
            raise _out_of_memory(config, error) from error
        if config.compile == "on" and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            raise ConfigError(
                f"compile: expected off, the training step cannot be compiled here ({short(error)})"
            ) from error
        if config.devices > 1 and isinstance(error, RuntimeError) and _is_lost_process(error):
            raise RunError(
                f"another process of this training ended, so this one cannot go on "
                f"({str(error).strip().splitlines()[0][:200]}). To resume: "
                f"{run.command('train', '--resume')}"
            ) from error
        if checkpoint is not None and not module.started:
            raise RunError(
                f"{checkpoint}: undamaged, but not a checkpoint of this run, so it cannot be "
                f"resumed ({type(error).__name__}: {str(error)[:300]})"
            ) from error
        raise


def _resumed_state(run: Run, first: bool) -> dict[str, Any] | None:
    """The newest whole checkpoint, which is then ``last``; None if there is none."""
    found = newest_whole(run.known)
    if found is None:
        return None
    name, state = found
    if first and name != "last":
        replace_damaged(run.known, name)
    return state


def _check_size(config: TrainingConfig, data: InMemoryDataModule, trainer: pl.Trainer) -> None:
    """Raise if a training step on the CPU certainly does not fit the memory."""
    if trainer.strategy.root_device.type == "cpu":
        batch = min(config.batch_size, len(data.train_part))
        check_memory(config, data.event_shape, batch=math.ceil(batch / config.accumulate))


def _out_of_memory(config: TrainingConfig, error: BaseException) -> ConfigError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    names = ("batch_size", *reversed(config.size_settings))
    *values, last = (str(getattr(config, name)) for name in names)
    return ConfigError(
        f"{', '.join(names)}: a training step with {', '.join(values)} and {last} needs more "
        f"memory than there is ({reason}); a larger accumulate, now {config.accumulate}, takes less"
    )


def _is_lost_process(error: RuntimeError) -> bool:
    """Whether a collective operation failed because a process at its other end is gone."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(
        sign in text for sign in ("gloo", "connection closed by peer", "connection reset", "nccl")
    )


@contextlib.contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """A context in which torch uses `count` CPU threads; None changes nothing.

    Example:
        >>> with cpu_threads(1):
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_trainer(
    config: TrainingConfig,
    run: Run,
    *,
    tensorboard: bool = False,
    progress: bool = True,
    limit: TimeLimit | None = None,
) -> pl.Trainer:
    """Lightning's trainer with this package's checkpoints and records.

    Raises:
        ConfigError: the devices or the accelerator are not there.
    """
    accelerator = _accelerator(config)
    if accelerator == "cpu" and config.devices > max(2, os.cpu_count() or 1):
        raise ConfigError(
            f"devices: expected at most {max(2, os.cpu_count() or 1)} on this machine's CPU, got "
            f"{config.devices}"
        )
    callbacks: list[pl.Callback] = [
        RandomState(config.seed),
        History(run.history_file, config.log_every, _module_kind(config).score_name),
        RunCheckpoints(
            run, every=config.checkpoint_every, limit=limit, look_every=config.log_every
        ),
    ]
    if config.ema_decay:
        callbacks.append(WeightAverage(config.ema_decay))
    shown = progress_callback() if progress else None
    if shown is not None:
        callbacks.insert(0, shown)
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=config.devices,
            strategy="ddp" if config.devices > 1 else "auto",
            precision=config.precision,  # type: ignore[arg-type]
            max_epochs=config.epochs,
            gradient_clip_val=config.gradient_clip,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(_bytes(config.checkpoint_mib))],
            logger=_tensorboard(run) if tensorboard else False,
            num_sanity_val_steps=0,
            log_every_n_steps=config.log_every,
            enable_checkpointing=True,
            enable_model_summary=False,
            # Otherwise Lightning adds its own bar to our lines.
            enable_progress_bar=isinstance(shown, ProgressBar),
            use_distributed_sampler=False,
            default_root_dir=run.path,
        )
    except MisconfigurationException as error:
        raise ConfigError(f"devices: {error}") from error


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib << 20


def _module_kind(config: TrainingConfig) -> type[FlowModule]:
    return TableModule if isinstance(config, TableConfig) else FlowModule


def _settled(
    run: Run, config: RunConfig | TableConfig, resume: bool, first: bool
) -> RunConfig | TableConfig:
    """The configuration with its number of threads: the current one, or that of a resumed run."""
    threads = config.threads or max(1, torch.get_num_threads() // config.devices)
    settled = dataclasses.replace(config, threads=threads)
    if not run.config_file.exists():
        return settled
    existing = run.config()
    if config.threads is None:
        settled = dataclasses.replace(config, threads=existing.threads)
    if not first:
        return settled
    if not resume:
        raise RunError(
            f"{run.path}: already contains a run; resume it with --resume, or choose another folder"
        )
    check_changes(run, existing, settled)
    return settled


def _accelerator(config: TrainingConfig) -> str:
    # Lightning's "auto" would use Apple's GPU, for which the ops have no kernels.
    if config.accelerator != "auto":
        if config.accelerator == "gpu" and not torch.cuda.is_available():
            raise ConfigError("accelerator: expected a GPU that torch can use, found none")
        return config.accelerator
    return "gpu" if torch.cuda.is_available() else "cpu"


def _tensorboard(run: Run) -> TensorBoardLogger:
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "TensorBoard logs need the package 'tensorboard', which is not installed: "
            "pip install tensorboard"
        )
    return TensorBoardLogger(run.path, name="", version="tensorboard")


def _recovery_advice(run: Run) -> str:
    advice = (
        "A new run with a smaller --learning-rate, a smaller --gradient-clip or more "
        "--warmup-steps may help."
    )
    if run.last.exists():
        step = read_checkpoint(run.last)["global_step"]
        return f"The last good checkpoint is {run.last} (step {step}). {advice}"
    return f"No checkpoint was written before that. {advice}"


def _silence_lightning() -> None:
    # Not applicable: the data are in memory and need no workers, and torchmetrics has already
    # summed the scores over processes.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    # Lightning's own use of torch.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")

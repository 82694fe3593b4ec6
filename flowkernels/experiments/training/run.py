"""The folder of a run and its flow."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.training.config import RunConfig, TrainingConfig
from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.recovery import (
    AVERAGED,
    read_checkpoint,
    whole_checkpoints,
)
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.size import (
    check_columns,
    check_memory,
    check_shape,
    fewest_parameters,
)
from flowkernels.experiments.training.table_config import TableConfig, load_config
from flowkernels.experiments.training.table_flow import build_table_flow
from flowkernels.flows import Flow, glow

__all__ = ["Run", "build_flow", "flow_of", "on_device"]


def build_flow(config: RunConfig, event_shape: tuple[int, int, int]) -> Flow:
    """A new flow for images of ``event_shape`` (C, H, W); its weights depend only on the seed.

    Its convolutions use channels_last, which is a third faster on a CPU.

    Raises:
        ConfigError: the architecture does not fit the images or this machine's memory.
    """
    check_shape(event_shape)
    check_memory(config, event_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            flow = glow(
                event_shape,
                levels=config.levels,
                steps=config.steps,
                hidden=config.hidden,
                alpha=config.alpha,
                dequantize=config.dequantization,
                base=config.base,
                concentration_scale=config.concentration_scale,
            )
        except ValueError as error:
            raise ConfigError(f"flow for images of shape {event_shape}: {error}") from error
    # torch's type hints lack this overload of `to`.
    flow.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return flow


def flow_of(config: TrainingConfig, event_shape: tuple[int, ...]) -> Flow:
    """A new flow for the data of a run of either kind."""
    if isinstance(config, TableConfig):
        return build_table_flow(config, check_columns(event_shape))
    assert isinstance(config, RunConfig)
    return build_flow(config, check_shape(event_shape))


def on_device(flow: Flow, config: TrainingConfig) -> Flow:
    """The flow on the GPU, if there is one and the run may use it."""
    gpu = torch.cuda.is_available() and config.accelerator != "cpu"
    return flow.cuda() if gpu else flow


def _of_flow(values: dict[Any, Any]) -> dict[str, torch.Tensor]:
    """The tensors of the flow among those of the module that trained it."""
    prefix = "flow."
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, torch.Tensor)
    }


@dataclass(frozen=True)
class Run:
    """The files of a run: ``config.json``, ``metrics.csv``, ``checkpoints/`` and pictures.

    Attributes:
        folder: the run's folder.

    Example:
        >>> Run("runs/first").last
        PosixPath('runs/first/checkpoints/last.ckpt')
    """

    folder: str | os.PathLike[str]

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.folder)

    def command(self, name: str, *options: str) -> str:
        """A command of the command line for this run, as a shell takes it.

        Example:
            >>> Run("my runs/first").command("train", "--resume")
            "flowkernels train 'my runs/first' --resume"
        """
        return shlex.join(["flowkernels", name, str(self.path), *options])

    @property
    def config_file(self) -> Path:
        """The configuration file."""
        return self.path / "config.json"

    @property
    def history_file(self) -> Path:
        """The scores of training."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The one before the newest."""
        return self.checkpoints / "previous.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation score."""
        return self.checkpoints / "best.ckpt"

    @property
    def known(self) -> dict[str, Path]:
        """The checkpoints of a run by name."""
        return {"last": self.last, "previous": self.previous, "best": self.best}

    def check_links(self) -> None:
        """Raise if a file or folder to which training writes is a link that leads elsewhere.

        The run's folder itself may be a link.

        Raises:
            RunError: there is one; the message names it and where it leads.
        """
        here = self.path.resolve()
        written = (self.config_file, self.history_file, self.checkpoints, self.path / "tensorboard")
        for path in written:
            try:
                leads_to = path.resolve()
            except (OSError, RuntimeError) as error:  # links in a circle
                raise RunError(f"{path}: expected a part of the run's folder ({error})") from error
            if not leads_to.is_relative_to(here):
                raise RunError(
                    f"{path}: expected a part of the run's folder, found a link to {leads_to}; "
                    f"training does not write outside {here}"
                )

    def config(self) -> RunConfig | TableConfig:
        """Read the configuration.

        Raises:
            RunError: the folder contains no run.
            ConfigError: its configuration is damaged.
        """
        if not self.config_file.is_file():
            raise RunError(
                f"{self.path}: expected the folder of a run, found no config.json there; "
                "'flowkernels train' creates one"
            )
        return load_config(self.config_file)

    def image_config(self) -> RunConfig:
        """Read the configuration of a run on images.

        Raises:
            RunError: the folder contains no run, or one on a table.
        """
        config = self.config()
        if not isinstance(config, RunConfig):
            raise RunError(f"{self.path}: expected a run on images, found one on {config.subject}")
        return config

    def checkpoint(self, which: str = "best") -> Path:
        """The path of a checkpoint.

        Args:
            which: ``best`` (``last`` if nothing was validated), ``last``, ``previous``, or a path.

        Raises:
            RunError: there is none.
        """
        known = {name: (path,) for name, path in self.known.items()}
        candidates = (self.best, self.last) if which == "best" else known.get(which, (Path(which),))
        for path in candidates:
            if path.is_file():
                return path
        raise RunError(
            f"{self.path}: expected a checkpoint ({which}), found none at "
            f"{' or '.join(str(path) for path in candidates)}{self._others()}"
        )

    def load_flow(
        self, which: str = "best", *, averaged: bool = True
    ) -> tuple[Flow, dict[str, Any]]:
        """The trained flow, in evaluation mode, on the CPU.

        Args:
            which: see :meth:`checkpoint`.
            averaged: with the averaged weights, of a run with ``ema_decay``. False for the weights
                that training goes on with.

        Returns:
            The flow, and its origin: ``checkpoint`` (path), ``step`` and ``epoch``; of a table also
            ``columns``, the names of all its columns; of a run with ``ema_decay`` also
            ``averaged``.

        Raises:
            RunError: the checkpoint is missing, damaged or of another flow; the message names
                the whole ones of the run.
        """
        path = self.checkpoint(which)
        try:
            state = read_checkpoint(path)
        except RunError as error:
            raise RunError(f"{error}{self._others(path)}") from error
        weights = _of_flow(state["state_dict"])
        averages = state.get(AVERAGED)
        if isinstance(averages, dict) and averaged:
            weights |= _of_flow(averages)
        flow = self._empty_flow(path, state["event_shape"], weights)
        try:
            flow.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(
                f"{path}: the weights do not fit {self.config_file} ({error})"
            ) from error
        origin = {"checkpoint": str(path), "step": state["global_step"], "epoch": state["epoch"]}
        if isinstance(columns := state.get("columns"), list):
            origin["columns"] = [str(name) for name in columns]
        if isinstance(averages, dict):
            origin["averaged"] = averaged
        return flow.eval(), origin

    def _empty_flow(
        self, path: Path, event_shape: list[Any], weights: dict[str, torch.Tensor]
    ) -> Flow:
        """The flow of the configuration, for the data of a checkpoint."""
        config = self.config()
        shape: tuple[int, ...]
        try:
            if isinstance(config, TableConfig):
                shape = check_columns(event_shape)
            else:
                shape = check_shape(event_shape)
        except ConfigError as error:
            raise RunError(f"{path}: {error}") from error
        # Before it is built: a configuration of another flow may need all memory.
        there = sum(value.numel() for value in weights.values())
        if (fewest := fewest_parameters(config, shape)) > there:
            names = config.size_settings
            raise RunError(
                f"{path}: the weights do not fit {self.config_file}: its {', '.join(names[:-1])} "
                f"and {names[-1]} need at least {fewest:,} parameters, the checkpoint has "
                f"{there:,}"
            )
        flow = flow_of(config, shape)
        return flow.double() if config.precision == "64-true" else flow

    def _others(self, besides: Path | None = None) -> str:
        """The end of a message about a checkpoint: the whole ones, and how to take one."""
        whole = whole_checkpoints(self.known, besides=besides)
        if not whole:
            return "" if besides is None else ". No other checkpoint of this run is whole"
        steps = ", ".join(f"{name} (step {step})" for name, step in whole.items())
        return f". Whole in this run: {steps}; take one with --checkpoint {next(iter(whole))}"

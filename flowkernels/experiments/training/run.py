"""The folder of a run and its flow."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flowkernels.experiments.training.config import RunConfig
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.flows import Flow, glow

__all__ = ["Run", "RunError", "build_flow", "on_device"]


class RunError(RuntimeError):
    """A run's folder lacks a file or has a wrong one."""


def build_flow(config: RunConfig, event_shape: tuple[int, int, int]) -> Flow:
    """A new flow for images of ``event_shape`` (C, H, W); its weights depend only on the seed.

    Its convolutions use channels_last, which is a third faster on a CPU.

    Raises:
        ConfigError: the architecture does not fit the images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            flow = glow(
                event_shape,
                levels=config.levels,
                steps=config.steps,
                hidden=config.hidden,
                alpha=config.alpha,
                base=config.base,
                concentration_scale=config.concentration_scale,
            )
        except ValueError as error:
            raise ConfigError(f"flow for images of shape {event_shape}: {error}") from error
    # torch's type hints lack this overload of `to`.
    flow.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return flow


def on_device(flow: Flow, config: RunConfig) -> Flow:
    """The flow on the GPU, if there is one and the run may use it."""
    gpu = torch.cuda.is_available() and config.accelerator != "cpu"
    return flow.cuda() if gpu else flow


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

    def config(self) -> RunConfig:
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
        return RunConfig.load(self.config_file)

    def checkpoint(self, which: str = "best") -> Path:
        """The path of a checkpoint.

        Args:
            which: ``best`` (``last`` if nothing was validated), ``last``, or a path.

        Raises:
            RunError: there is none.
        """
        known = {"best": (self.best, self.last), "last": (self.last,)}
        candidates = known.get(which, (Path(which),))
        for path in candidates:
            if path.is_file():
                return path
        raise RunError(
            f"{self.path}: expected a checkpoint ({which}), found none at "
            f"{' or '.join(str(path) for path in candidates)}"
        )

    def load_flow(self, which: str = "best") -> tuple[Flow, dict[str, Any]]:
        """The trained flow, in evaluation mode, on the CPU.

        Args:
            which: see :meth:`checkpoint`.

        Returns:
            The flow, and its origin: ``checkpoint`` (path), ``step`` and ``epoch``.

        Raises:
            RunError: the checkpoint is missing, damaged or of another flow.
        """
        path = self.checkpoint(which)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"{path}: expected a checkpoint, could not read it ({error})") from error
        config = self.config()
        if "event_shape" not in state:
            raise RunError(f"{path}: expected a checkpoint of a flow's training, found another one")
        flow = build_flow(config, tuple(state["event_shape"]))
        if config.precision == "64-true":
            flow = flow.double()
        prefix = "flow."
        weights = {
            name.removeprefix(prefix): value
            for name, value in state.get("state_dict", {}).items()
            if name.startswith(prefix)
        }
        try:
            flow.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(
                f"{path}: the weights do not fit {self.config_file} ({error})"
            ) from error
        origin = {"checkpoint": str(path), "step": state["global_step"], "epoch": state["epoch"]}
        return flow.eval(), origin

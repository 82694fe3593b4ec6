"""Training flows with Lightning: configuration, exact resumption, checkpoints and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernels.experiments.data.extras import lazy

if TYPE_CHECKING:
    from flowkernels.experiments.training.config import RunConfig
    from flowkernels.experiments.training.errors import RunError
    from flowkernels.experiments.training.history import read_history
    from flowkernels.experiments.training.module import FlowModule, NonFiniteError
    from flowkernels.experiments.training.run import Run, build_flow, on_device
    from flowkernels.experiments.training.trainer import cpu_threads, data_module, fit, make_trainer

__all__ = [
    "ConfigError",
    "FlowModule",
    "NonFiniteError",
    "Run",
    "RunConfig",
    "RunError",
    "build_flow",
    "cpu_threads",
    "data_module",
    "fit",
    "make_trainer",
    "on_device",
    "read_history",
]

_LIGHTNING = ("lightning.pytorch", "torchmetrics")
__getattr__ = lazy(
    __name__,
    {
        "config": ("RunConfig",),
        "settings": ("ConfigError",),
        "trainer": ("cpu_threads", "data_module", "fit", "make_trainer"),
        "history": ("read_history",),
        "module": ("FlowModule", "NonFiniteError"),
        "errors": ("RunError",),
        "run": ("Run", "build_flow", "on_device"),
    },
    {"trainer": _LIGHTNING, "history": _LIGHTNING, "module": _LIGHTNING},
)

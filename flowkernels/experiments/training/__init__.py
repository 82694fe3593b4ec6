"""Training flows with Lightning: configuration, exact resumption, checkpoints and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernels.experiments.data.extras import lazy

if TYPE_CHECKING:
    from flowkernels.experiments.training.config import RunConfig
    from flowkernels.experiments.training.data import data_module, table_module
    from flowkernels.experiments.training.errors import RunError, TimeLimitError
    from flowkernels.experiments.training.history import read_history
    from flowkernels.experiments.training.module import FlowModule, NonFiniteError
    from flowkernels.experiments.training.run import Run, build_flow, on_device
    from flowkernels.experiments.training.table_config import TableConfig
    from flowkernels.experiments.training.time_limit import TimeLimit
    from flowkernels.experiments.training.trainer import cpu_threads, fit, make_trainer

__all__ = [
    "ConfigError",
    "FlowModule",
    "NonFiniteError",
    "Run",
    "RunConfig",
    "RunError",
    "TableConfig",
    "TimeLimit",
    "TimeLimitError",
    "build_flow",
    "cpu_threads",
    "data_module",
    "fit",
    "make_trainer",
    "on_device",
    "read_history",
    "table_module",
]

_LIGHTNING = ("lightning.pytorch", "torchmetrics")
__getattr__ = lazy(
    __name__,
    {
        "config": ("RunConfig",),
        "settings": ("ConfigError",),
        "data": ("data_module", "table_module"),
        "table_config": ("TableConfig",),
        "trainer": ("cpu_threads", "fit", "make_trainer"),
        "history": ("read_history",),
        "module": ("FlowModule", "NonFiniteError"),
        "errors": ("RunError", "TimeLimitError"),
        "time_limit": ("TimeLimit",),
        "run": ("Run", "build_flow", "on_device"),
    },
    {"data": _LIGHTNING, "trainer": _LIGHTNING, "history": _LIGHTNING, "module": _LIGHTNING},
)

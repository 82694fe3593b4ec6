"""Training flows on Lightning: configuration, exact resumption, checkpoints and records."""

from flowkernels.data.extras import require

require("lightning.pytorch", extra="train", purpose="training")
require("torchmetrics", extra="train", purpose="training")

from flowkernels.training.config import ConfigError, RunConfig
from flowkernels.training.fit import data_module, fit, make_trainer
from flowkernels.training.module import FlowModule, NonFiniteError
from flowkernels.training.run import Run, RunError, build_flow

__all__ = [
    "ConfigError",
    "FlowModule",
    "NonFiniteError",
    "Run",
    "RunConfig",
    "RunError",
    "build_flow",
    "data_module",
    "fit",
    "make_trainer",
]

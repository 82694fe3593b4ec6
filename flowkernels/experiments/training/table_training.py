"""The Lightning module that trains a flow on a table."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowkernels.experiments.data.columns import TableDataset
from flowkernels.experiments.evaluation.metrics import MeanScore
from flowkernels.experiments.training.errors import RunError
from flowkernels.experiments.training.module import FlowModule
from flowkernels.flows import Flow

__all__ = ["TableModule"]


class TableModule(FlowModule):
    """Maximum likelihood: the loss is the mean of -log p(x | context) of rows, in nats.

    Args:
        flow: on the modelled columns, in the table's own units.
        table: its columns are saved with the weights, for samples; a checkpoint of a table of
            other columns is refused.
        **options: see :class:`FlowModule`.

    Raises:
        RunError: the checkpoint is of a table of other columns.
    """

    score_name = "nll"
    score_unit = "nats"
    data_name = "rows"

    def __init__(self, flow: Flow, table: TableDataset, **options: Any) -> None:
        super().__init__(flow, **options)
        self.val_mean = MeanScore()
        self._table = table

    def score(self, batch: Tensor) -> Tensor:
        """-log p(x | context) of rows (B, d + c), in nats a row."""
        x, context = self._table.split(batch)
        return -self.flow.log_prob(x, context)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of modelled columns and the names of all."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["columns"] = list(self._table.columns)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the columns are those of the checkpoint."""
        trained, found = checkpoint.get("columns"), list(self._table.columns)
        if trained != found:
            raise RunError(
                f"{self._table.name}: expected the columns with which training began, {trained}, "
                f"found {found}"
            )
        super().on_load_checkpoint(checkpoint)

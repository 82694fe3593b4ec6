"""The flow of a table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.bijections import Compose, Standardize
from flowkernels.experiments.data.columns import TableDataset, context_names
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.size import check_memory
from flowkernels.experiments.training.table_config import TableConfig
from flowkernels.flows import Flow, maf, nsf, realnvp

__all__ = ["StandardizedContext", "build_table_flow", "standardize"]


class StandardizedContext(nn.Module):
    """The embedding of contexts that standardises them: (c - loc) / scale.

    Example:
        >>> embedding = StandardizedContext(Standardize(torch.ones(2), torch.full((2,), 2.0)))
        >>> embedding(torch.tensor([[3.0, -1.0]]))
        tensor([[ 1., -1.]])
    """

    def __init__(self, standardize: Standardize) -> None:
        super().__init__()
        self.standardize = standardize

    def forward(self, context: Tensor) -> Tensor:
        """Maps (n, c) to (n, c)."""
        z: Tensor = self.standardize(context)[0]
        return z


def build_table_flow(config: TableConfig, event_shape: tuple[int]) -> Flow:
    """A new flow for rows of d columns; its weights depend only on the seed.

    Its first layer is a :class:`flowkernels.bijections.Standardize`, so that its densities are in
    the table's own units; its embedding standardises the context. The numbers of both are 0 and 1
    until :func:`standardize`, or a checkpoint, sets them.

    Raises:
        ConfigError: the architecture does not fit the table or this machine's memory.
    """
    check_memory(config, event_shape)
    (dim,) = event_shape
    context = len(context_names(config.context))
    if dim < 2 and config.flow != "maf":
        raise ConfigError(
            f"flow: expected maf for one modelled column (a coupling splits the columns in two), "
            f"got {config.flow}"
        )
    options: dict[str, Any] = {
        "layers": config.layers, "hidden": config.hidden, "context": context, "actnorm": False,
        "base": config.base, "concentration_scale": config.concentration_scale,
    }  # fmt: skip
    if context:
        options["embedding"] = StandardizedContext(_unit(context))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            if config.flow == "nsf":
                flow = nsf(dim, bins=config.bins, **options)
            elif config.flow == "realnvp":
                flow = realnvp(dim, **options)
            elif config.transform == "spline":
                flow = maf(dim, transform="spline", bins=config.bins, **options)
            else:
                flow = maf(dim, **options)
        except ValueError as error:
            raise ConfigError(f"flow for {dim} columns: {error}") from error
    layers = flow.bijection
    assert isinstance(layers, Compose)
    return Flow(
        Compose([_unit(dim), *layers.bijections]),
        flow.base,
        embedding=flow.embedding,
    )


def standardize(flow: Flow, table: TableDataset) -> Flow:
    """Set the numbers of a flow of :func:`build_table_flow` from the training rows, in place.

    The flow takes the table's dtype: float32 numbers would be too coarse for float64 rows.
    """
    flow.to(table.train.dtype)
    x, context = table.split(table.train.double())
    layers = flow.bijection
    assert isinstance(layers, Compose)
    first = layers.bijections[0]
    assert isinstance(first, Standardize)
    _copy(first, Standardize.of(x))
    if context is not None:
        assert isinstance(flow.embedding, StandardizedContext)
        _copy(flow.embedding.standardize, Standardize.of(context))
    return flow


def _unit(features: int) -> Standardize:
    return Standardize(torch.zeros(features), torch.ones(features))


def _copy(target: Standardize, source: Standardize) -> None:
    target.loc.copy_(source.loc)
    target.scale.copy_(source.scale)

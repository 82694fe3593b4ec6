"""Density estimators for simulation-based inference with the library sbi (extra ``sbi``).

:func:`posterior_nn` and :func:`likelihood_nn` have the names and defaults of sbi's own functions;
its trainers take what they return: ``NPE(prior, density_estimator=posterior_nn("nsf"))``.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.bases import StandardNormal
from flowkernels.bijections import Bijection, Compose, ReluNetwork, Standardize
from flowkernels.flows import Flow, maf, nsf, realnvp

try:
    from sbi.utils.sbiutils import standardizing_net, z_standardization
except ImportError as error:
    raise ImportError(
        "flowkernels.adapters.sbi needs sbi 0.27 or newer: pip install 'flowkernels[sbi]'"
    ) from error

from .sbi_estimator import FlowEstimator

__all__ = ["FlowBuilder", "FlowEstimator", "likelihood_nn", "posterior_nn"]

Model = Literal["maf", "maf_rqs", "nsf", "realnvp"]
ZScore = Literal["independent", "structured", "none"]


def posterior_nn(
    model: Model,
    z_score_theta: ZScore | None = "independent",
    z_score_x: ZScore | None = "independent",
    hidden_features: int = 50,
    num_transforms: int = 5,
    num_bins: int = 10,
    embedding_net: nn.Module | None = None,
    **options: Any,
) -> FlowBuilder:
    """What sbi's NPE takes as density estimator: a builder of flows p(theta | x).

    Args:
        model: ``"maf"``, affine autoregressive layers; ``"maf_rqs"``, autoregressive layers of
            rational-quadratic splines; ``"nsf"``, couplings by such splines with linear layers
            between them; ``"realnvp"``, affine couplings. For a theta of one number, ``"maf"`` is a
            Gaussian, ``"nsf"`` the same as ``"maf_rqs"``, and there is no ``"realnvp"``.
        z_score_theta: how the flow standardises theta, by mean and standard deviation over the
            simulations that the builder gets: ``"independent"``, of each dimension;
            ``"structured"``, of all dimensions together, for series and images; ``"none"``.
        z_score_x: the same for x, before the embedding network.
        hidden_features: width of the networks' hidden layers.
        num_transforms: number of couplings or autoregressive layers.
        num_bins: of each spline.
        embedding_net: from x (n, *x_shape) to features (n, ...), which are flattened; default
            none.
        **options: num_blocks (2), one less than the number of hidden layers; tail_bound (3.0),
            splines are the identity outside [-tail_bound, tail_bound]; min_bin_width,
            min_bin_height and min_derivative (1e-3) of splines.

    Returns:
        builder(batch_theta, batch_x) -> :class:`FlowEstimator`; sbi calls it.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Example:
        >>> builder = posterior_nn("nsf", hidden_features=16, num_transforms=2)
        >>> theta, x = torch.randn(100, 3), torch.randn(100, 5)
        >>> builder(theta, x).loss(theta, x).shape
        torch.Size([100])
    """
    return _builder(
        "posterior_nn", "theta", options, model, z_score_theta, z_score_x, hidden_features,
        num_transforms, num_bins, embedding_net,
    )  # fmt: skip


def likelihood_nn(
    model: Model,
    z_score_theta: ZScore | None = "independent",
    z_score_x: ZScore | None = "independent",
    hidden_features: int = 50,
    num_transforms: int = 5,
    num_bins: int = 10,
    embedding_net: nn.Module | None = None,
    **options: Any,
) -> FlowBuilder:
    """What sbi's NLE takes as density estimator: a builder of flows p(x | theta).

    Args:
        embedding_net: from theta (n, *theta_shape) to features (n, ...); default none.
        model, z_score_theta, z_score_x, hidden_features, num_transforms, num_bins, options: see
            :func:`posterior_nn`, theta and x in exchanged roles.

    Returns:
        builder(batch_theta, batch_x) -> :class:`FlowEstimator`; sbi calls it.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Example:
        >>> theta, x = torch.randn(100, 3), torch.randn(100, 5)
        >>> likelihood_nn("maf", hidden_features=16)(theta, x).log_prob(x, theta).shape
        torch.Size([1, 100])
    """
    return _builder(
        "likelihood_nn", "x", options, model, z_score_theta, z_score_x, hidden_features,
        num_transforms, num_bins, embedding_net,
    )  # fmt: skip


_OPTIONS = ("num_blocks", "tail_bound", "min_bin_width", "min_bin_height", "min_derivative")


def _builder(owner: str, inputs: str, options: dict[str, Any], *given: Any) -> FlowBuilder:
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"{owner}: options are {', '.join(_OPTIONS)}, got {name}")
    return FlowBuilder(owner, inputs, *given, **options)


@dataclass(frozen=True, eq=False)
class FlowBuilder:
    """Builds a :class:`FlowEstimator` for given simulations; see :func:`posterior_nn`.

    An object, not a closure, so that the trainer that holds it can be pickled.
    """

    owner: str  # for errors
    inputs: str  # what the density is of: theta or x
    model: Model
    z_score_theta: ZScore | None
    z_score_x: ZScore | None
    hidden_features: int
    num_transforms: int
    num_bins: int
    embedding_net: nn.Module | None
    num_blocks: int = 2
    tail_bound: float = 3.0
    min_bin_width: float = 1e-3
    min_bin_height: float = 1e-3
    min_derivative: float = 1e-3

    def __post_init__(self) -> None:
        owner = self.owner
        arguments.choice(owner, "model", self.model, get_args(Model))
        for name in ("z_score_theta", "z_score_x"):
            if getattr(self, name) is not None:
                arguments.choice(owner, name, getattr(self, name), get_args(ZScore))
        for name in ("hidden_features", "num_transforms", "num_bins"):
            arguments.integer(owner, name, getattr(self, name))
        arguments.integer(owner, "num_blocks", self.num_blocks, 0)
        if self.embedding_net is not None:
            arguments.module_with(owner, "embedding_net", self.embedding_net)
        with torch.device("meta"):  # no memory, no random numbers
            self._layers(2, 1)  # checks the rest

    def __call__(self, batch_theta: Tensor, batch_x: Tensor) -> FlowEstimator:
        """A new estimator for simulations theta (n, *theta_shape) and x (n, *x_shape), n > 1.

        It takes their shapes, their dtype and, for z-scoring, their means and deviations.
        """
        for name, batch in (("batch_theta", batch_theta), ("batch_x", batch_x)):
            arguments.floating_tensor(self.owner, name, batch)
            if batch.ndim < 2 or len(batch) < 2 or not batch[0].numel():
                raise ValueError(
                    f"{self.owner}: {name} must have shape (n, *event), n at least 2, and events "
                    f"of at least one number, got {tuple(batch.shape)}"
                )
        theta, x = (batch_theta, self.z_score_theta), (batch_x, self.z_score_x)
        (inputs, z_score), given = (theta, x) if self.inputs == "theta" else (x, theta)
        conditions = given[0]
        embedding, features = _embedding(*given, self.embedding_net)
        dim = inputs[0].numel()
        flow = Flow(
            Compose([*_standardize(inputs, z_score), *self._layers(dim, features)]),
            StandardNormal(dim),
            embedding=embedding,
            context_shape=conditions.shape[1:],
        )
        shapes = inputs.shape[1:], conditions.shape[1:]
        return FlowEstimator(flow.to(inputs), *shapes, pack=True)

    def _layers(self, dim: int, context: int) -> list[Bijection]:
        common: dict[str, Any] = {
            "layers": self.num_transforms, "context": context, "actnorm": False,
            "hidden": [self.hidden_features] * (self.num_blocks + 1),
        }  # fmt: skip
        spline: dict[str, Any] = {
            "bins": self.num_bins, "bound": self.tail_bound, "min_width": self.min_bin_width,
            "min_height": self.min_bin_height, "min_derivative": self.min_derivative,
        }  # fmt: skip
        if self.model == "maf":
            if dim == 1:
                warnings.warn(
                    f"{self.owner}: of one number, 'maf' can only model a Gaussian; use 'nsf'",
                    stacklevel=3,
                )
            flow = maf(dim, **common)
        elif self.model == "maf_rqs" or (self.model == "nsf" and dim == 1):
            flow = maf(dim, transform="spline", **common, **spline)
        elif self.model == "nsf":
            flow = nsf(dim, **common, **spline)
            _start_near_identity(flow)
        else:
            arguments.integer(self.owner, f"elements of {self.inputs}", dim, 2, "model='realnvp'")
            flow = realnvp(dim, **common)
        assert isinstance(flow.bijection, Compose)
        return list(flow.bijection.bijections)  # type: ignore[arg-type]


def _start_near_identity(flow: Flow) -> None:
    """Last layers with a tenth of the usual random weights, where `nsf` has zeros.

    Posteriors with narrow features gain by it, and Gaussian ones lose little.
    """
    for network in flow.modules():
        if isinstance(network, ReluNetwork):
            last = network[-1]
            assert isinstance(last, nn.Linear)
            nn.init.uniform_(last.weight, -0.1, 0.1)
            last.weight.data.div_(math.sqrt(last.in_features))


def _standardize(batch: Tensor, z_score: ZScore | None) -> list[Bijection]:
    """Of events in one dimension, by sbi's means and deviations."""
    if z_score in (None, "none"):
        return []
    event = batch.shape[1:]
    loc, scale = z_standardization(batch, z_score == "structured")
    return [Standardize(loc.expand(event).flatten(), scale.expand(event).flatten())]


def _embedding(
    batch: Tensor, z_score: ZScore | None, network: nn.Module | None
) -> tuple[nn.Module | None, int]:
    """What maps conditions to features (n, c), None for features as they are, and c."""
    parts: list[nn.Module] = []
    if z_score not in (None, "none"):
        parts.append(standardizing_net(batch, z_score == "structured"))
    if network is not None and not isinstance(network, nn.Identity):
        parts.append(network.to(batch.device))
    if parts or batch.ndim > 2:
        parts.append(nn.Flatten())
    if not parts:
        return None, batch.shape[1]
    embedding = nn.Sequential(*parts)
    with torch.no_grad():
        # Two conditions, as batch normalisation needs.
        return embedding, embedding(batch[:2]).shape[1]

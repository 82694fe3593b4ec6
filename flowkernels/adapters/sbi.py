"""Density estimators for simulation-based inference with the library `sbi`.

:func:`posterior_nn` and :func:`likelihood_nn` have the names and defaults of sbi's own functions
and return what its trainers take as ``density_estimator``:

    from flowkernels.adapters.sbi import posterior_nn
    trainer = NPE(prior, density_estimator=posterior_nn("nsf"))

Needs the extra ``sbi``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.bases import StandardNormal
from flowkernels.bijections import Bijection, Compose, Standardize
from flowkernels.flows import Flow, maf, nsf, realnvp

try:
    from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
    from sbi.utils.sbiutils import standardizing_net, z_standardization
except ImportError as error:
    raise ImportError(
        "flowkernels.adapters.sbi needs sbi 0.27 or newer: pip install 'flowkernels[sbi]'"
    ) from error

__all__ = ["FlowBuilder", "FlowEstimator", "likelihood_nn", "posterior_nn"]

Model = Literal["maf", "maf_rqs", "nsf", "realnvp"]
ZScore = Literal["independent", "structured", "none"]


class FlowEstimator(ConditionalDensityEstimator):  # type: ignore[misc]
    """A conditional flow as sbi's density estimator: p(input | condition).

    The leading dimensions are sbi's: samples, then batch, each entry of the batch with a condition
    of its own. What the flow computes from a condition alone, an embedding network in the first
    place, it computes once for all samples of that condition.

    Args:
        net: a flow on R^n that reads a context, n the number of elements of an input.
        input_shape: of one input.
        condition_shape: of one condition; the flow's ``context_shape``.

    Raises:
        ValueError: the flow's shapes are others, or an input or a condition has a wrong shape.
        RuntimeError: the batches of an input and a condition do not broadcast.

    Example:
        >>> from flowkernels.flows import realnvp
        >>> flow = realnvp(3, layers=2, hidden=8, context=2)
        >>> estimator = FlowEstimator(flow, input_shape=(3,), condition_shape=(2,))
        >>> theta, x = torch.randn(100, 5, 3), torch.randn(5, 2)
        >>> estimator.log_prob(theta, x).shape, estimator.sample((7,), x).shape
        (torch.Size([100, 5]), torch.Size([7, 5, 3]))
    """

    net: Flow

    def __init__(
        self, net: Flow, input_shape: Sequence[int], condition_shape: Sequence[int]
    ) -> None:
        if not isinstance(net, Flow):
            raise TypeError(f"FlowEstimator: net must be a Flow, got {type(net).__name__}")
        input_shape = arguments.shape("FlowEstimator", "input_shape", input_shape)
        condition_shape = arguments.shape("FlowEstimator", "condition_shape", condition_shape)
        if not net.context_features:
            raise ValueError("FlowEstimator: net must be a flow that reads a context")
        if net.event_shape != (input_shape.numel(),):
            raise ValueError(
                f"FlowEstimator: net must have event_shape ({input_shape.numel()},), that of an "
                f"input {tuple(input_shape)} flattened, got {tuple(net.event_shape)}"
            )
        if net.context_shape != condition_shape:
            raise ValueError(
                f"FlowEstimator: condition_shape must be {tuple(net.context_shape)}, the flow's "
                f"context_shape, got {tuple(condition_shape)}"
            )
        super().__init__(net, input_shape=input_shape, condition_shape=condition_shape)

    @property
    def embedding_net(self) -> nn.Module:
        """What maps conditions to the features that the flow reads, z-scoring included."""
        return nn.Identity() if self.net.embedding is None else self.net.embedding

    def log_prob(self, input: Tensor, condition: Tensor) -> Tensor:
        """Log densities (sample, batch).

        Args:
            input: (sample, batch, *input_shape) or (batch, *input_shape).
            condition: (batch, *condition_shape) or (sample, batch, *condition_shape). Batches
                broadcast.
        """
        rows = self._leading("input", input, self.input_shape)
        given = self._leading("condition", condition, self.condition_shape)
        _check_batches(rows.shape[:2], given.shape[:2])
        # The flow takes the rows of one context together: batch first.
        rows, given = rows.transpose(0, 1), given.transpose(0, 1)
        rows = rows.expand(max(len(rows), len(given)), *rows.shape[1:])
        flat = rows.reshape(*rows.shape[:2], -1)
        return self.net.log_prob(flat, given).transpose(0, 1)

    def loss(self, input: Tensor, condition: Tensor) -> Tensor:
        """-log density (batch,) of inputs (batch, *input_shape), one for each condition."""
        self._check_input_shape(input)
        return -self.net.log_prob(input.flatten(1), condition)

    def sample(self, sample_shape: Sequence[int], condition: Tensor) -> Tensor:
        """Draws (*sample_shape, batch, *input_shape) given conditions (batch, *condition_shape)."""
        return self._as_inputs(self.net.sample(sample_shape, condition), sample_shape)

    def sample_and_log_prob(
        self, sample_shape: Sequence[int], condition: Tensor, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Draws as those of :meth:`sample`, differentiable, and their log densities."""
        drawn, log_prob = self.net.rsample_and_log_prob(sample_shape, condition)
        return self._as_inputs(drawn, sample_shape), log_prob.movedim(0, -1)

    def inverse_transform(self, input: Tensor, condition: Tensor) -> Tensor:
        """The latents (*batch, n) of inputs (*batch, *input_shape), n elements each.

        They are standard normal if the estimator is exact. Batch shapes broadcast.
        """
        self._check_input_shape(input)
        self._check_condition_shape(condition)
        events = len(self.input_shape), len(self.condition_shape)
        batches = (
            input.shape[: input.ndim - events[0]],
            condition.shape[: condition.ndim - events[1]],
        )
        batch = torch.broadcast_shapes(*batches)
        rows = input.expand(*batch, *self.input_shape).reshape(*batch, -1)
        return self.net(rows, condition)[0]

    def _leading(self, name: str, value: Tensor, shape: torch.Size) -> Tensor:
        """A tensor (sample, batch, *shape) of one that may lack the first dimension."""
        ndim = value.ndim - len(shape)
        if ndim not in (1, 2) or value.shape[ndim:] != shape:
            event = ", ".join(map(str, shape))
            raise ValueError(
                f"FlowEstimator: {name} must have shape (batch, {event}) or "
                f"(sample, batch, {event}), got {tuple(value.shape)}"
            )
        return value if ndim == 2 else value.unsqueeze(0)

    def _as_inputs(self, drawn: Tensor, sample_shape: Sequence[int]) -> Tensor:
        """(*sample_shape, batch, *input_shape) of draws (batch, *sample_shape, n)."""
        drawn = drawn.movedim(0, -2)
        return drawn.reshape(*drawn.shape[:-1], *self.input_shape)


def _check_batches(rows: torch.Size, given: torch.Size) -> None:
    samples = given[0] in (1, rows[0])
    if not samples or (rows[1] != given[1] and 1 not in (rows[1], given[1])):
        raise RuntimeError(
            "FlowEstimator: input and condition must have dimensions (sample, batch) that "
            f"broadcast, got {tuple(rows)} and {tuple(given)}"
        )


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
        self._layers(2, 1)  # the rest

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
        return FlowEstimator(flow.to(inputs), inputs.shape[1:], conditions.shape[1:])

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
                    f"{self.owner}: a 'maf' of one number is a Gaussian; 'nsf' is not",
                    stacklevel=3,
                )
            flow = maf(dim, **common)
        elif self.model == "maf_rqs" or (self.model == "nsf" and dim == 1):
            flow = maf(dim, transform="spline", **common, **spline)
        elif self.model == "nsf":
            flow = nsf(dim, **common, **spline)
        else:
            arguments.integer(self.owner, f"elements of {self.inputs}", dim, 2, "model='realnvp'")
            flow = realnvp(dim, **common)
        assert isinstance(flow.bijection, Compose)
        return list(flow.bijection.bijections)  # type: ignore[arg-type]


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

"""One Glow step, and K steps together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from flowkernels import arguments
from flowkernels.synchronization import uncompiled

from . import context as contexts
from .base import (
    Bijection,
    check_channels,
    constant_log_det,
    module_list,
    positions,
    total_log_det,
)
from .conv1x1 import ActNormConv1x1, fold, fold_inverse, mix_channels, mix_channels_backward
from .coupling import AffineCoupling
from .recompute import Chain, Layer, Pulled, Tensors, keeps_activations, run_chain, trainable


class GlowStep(Bijection):
    """Fused actnorm and 1x1 convolution, then an affine coupling, on (B, C, *S).

    Kingma & Dhariwal, "Glow" (2018), figure 2a.

    Args:
        channels: C.
        coupling: the affine coupling of C channels; the step reads the context that it reads.

    Example:
        >>> import torch
        >>> from flowkernels.bijections import AffineCoupling, conv_conditioner
        >>> step = GlowStep(4, AffineCoupling(conv_conditioner(2, 4, hidden=8)))
        >>> z, log_det = step(torch.randn(2, 4, 6, 6))
        >>> z.shape, log_det.shape
        (torch.Size([2, 4, 6, 6]), torch.Size([2]))
    """

    reversible = True
    shares_context = True

    def __init__(self, channels: int, coupling: AffineCoupling) -> None:
        super().__init__()
        arguments.module_with("GlowStep", "coupling", coupling, "inverse")
        self.mix = ActNormConv1x1(channels)
        self.coupling = coupling
        self.context_features = contexts.features_of(coupling)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(x, context)
        x, log_det = self.mix(x)
        z, rest = contexts.forward(self.coupling, x, context)
        return z, log_det + rest

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(z, context)
        z, log_det = contexts.inverse(self.coupling, z, context)
        x, rest = self.mix.inverse(z)
        return x, log_det + rest


class GlowSteps(Bijection):
    """K Glow steps of equal width whose mixing matrices are built together.

    The same map and parameters as ``Compose(steps)``, with fewer small ops: one
    batched product builds the weights of all actnorms and 1x1 convolutions, and
    their log-dets, which do not depend on the data, are added once.

    Args:
        steps: the Glow steps, all of the same number of channels. Those that read a context
            must all read the same number of features.

    Attributes:
        recompute: keep no activations for the backward pass, see :mod:`.recompute`.
    """

    shares_context = True

    def __init__(self, steps: Iterable[GlowStep]) -> None:
        super().__init__()
        self.recompute = False
        self._chain = Chain()
        self.steps = module_list("GlowSteps", "steps", steps)
        channels = [mix.actnorm.channels for mix in self._mixes]
        if len(set(channels)) != 1:
            raise ValueError(
                "GlowSteps: steps must be at least one step, all of the same number of channels, "
                f"got channels {channels}"
            )
        self.context_features = contexts.common_features("GlowSteps", self.steps)

    @property
    def _mixes(self) -> list[ActNormConv1x1]:
        return [step.mix for step in self.steps]  # type: ignore[misc]

    @property
    def _couplings(self) -> list[AffineCoupling]:
        return [step.coupling for step in self.steps]  # type: ignore[misc]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixes = self._mixes
        self._check_context(x, context)
        if any(mix.actnorm.awaits_start for mix in mixes):
            self._start(x, context)
        check_channels("GlowSteps", x, mixes[0].actnorm.channels)
        affine = fold(mixes)
        log_det = constant_log_det(x, positions(x) * affine.log_det)
        weights, biases = affine.weight.unbind(), affine.bias.unbind()
        if self.recompute and keeps_activations():
            z, rest = run_chain(self._layers(weights, biases, context), x, self._chain)
            return z, log_det + rest
        log_dets = [log_det]
        for coupling, weight, bias in zip(self._couplings, weights, biases, strict=True):
            x, log_det = contexts.forward(coupling, mix_channels(x, weight, bias), context)
            log_dets.append(log_det)
        return x, total_log_det(x, log_dets)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixes = self._mixes
        self._check_context(z, context)
        check_channels("GlowSteps", z, mixes[0].actnorm.channels)
        affine = fold_inverse(mixes)
        log_det = constant_log_det(z, positions(z) * affine.log_det)
        weights, biases = affine.weight.unbind(), affine.bias.unbind()
        log_dets = [log_det]
        layers = list(zip(self._couplings, weights, biases, strict=True))
        for coupling, weight, bias in reversed(layers):
            z, log_det = contexts.inverse(coupling, z, context)
            z = mix_channels(z, weight, bias)
            log_dets.append(log_det)
        return z, total_log_det(z, log_dets)

    def _layers(
        self, weights: Sequence[Tensor], biases: Sequence[Tensor], context: Tensor | None
    ) -> list[Layer]:
        """The steps for `run_chain`: the mixing and coupling of a step form one layer."""
        with torch.no_grad():
            back = fold_inverse(self._mixes)

        def layer(k: int, coupling: AffineCoupling) -> Layer:
            own = context if contexts.features_of(coupling) else None
            given = () if own is None else (own,)
            networks = (*trainable(coupling), *contexts.differentiated(own))

            def pull(z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors) -> Pulled:
                mixed, grad_mixed, grads = coupling.pull(
                    z, grad_z, grad_log_det, tensors[2:], *given
                )
                x = mix_channels(mixed, back.weight[k], back.bias[k])
                of_x, of_weight, of_bias = mix_channels_backward(grad_mixed, x, tensors[0])
                return x, of_x, (of_weight, of_bias, *grads)

            return Layer(
                lambda x: contexts.forward(coupling, mix_channels(x, weights[k], biases[k]), own),
                pull,
                (weights[k], biases[k], *networks),
            )

        return [layer(k, coupling) for k, coupling in enumerate(self._couplings)]

    @uncompiled
    @torch.no_grad()
    def _start(self, x: Tensor, context: Tensor | None) -> None:
        """Initialise each normalisation from the output of the steps before it."""
        for step in self.steps:
            x, _ = contexts.forward(step, x, context)

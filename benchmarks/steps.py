"""Training steps: our flow, its networks alone, and the same flow in other libraries."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowkernels.bijections import AffineCoupling, GlowSteps
from flowkernels.flows import Flow, glow, realnvp

Step = Callable[[], object]
PEERS = ("nflows", "normflows", "zuko")  # extra `peers`


def have(package: str) -> bool:
    """Whether a library is installed."""
    return importlib.util.find_spec(package) is not None


def adam(module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all implementations, in its fastest form."""
    # In a CUDA graph the optimiser must count its steps on the device.
    on_gpu = next(module.parameters()).is_cuda
    return torch.optim.Adam(module.parameters(), lr=1e-4, fused=True, capturable=on_gpu)


def training_step(module: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """A step: zero the gradients, loss, backward, update."""
    optimizer = adam(module)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    step()
    return step


def flow_step(flow: Flow, x: Tensor, autocast: bool = False) -> Step:
    """A training step of our flow."""

    def loss() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return -flow.log_prob(x).mean()

    assert loss().isfinite()
    return training_step(flow, loss)


def networks_step(flow: Flow, x: Tensor) -> Step:
    """A step of the flow's networks and the optimiser, without the rest of the flow.

    The networks get the inputs that they have in the flow, which require gradients as there.
    Glow's 1x1 convolutions are included, with precomputed weights.
    """
    calls: list[tuple[Callable[..., Tensor], tuple[Tensor, ...], Tensor]] = []

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((module, _leaves(*inputs), torch.ones_like(output)))

    def record_mixes(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels = inputs[0].shape[1]
        for _ in module.steps:  # type: ignore[union-attr]
            kernel = torch.randn(channels, channels, 1, 1)
            given = _leaves(inputs[0], kernel, torch.randn(channels))
            calls.append((nn.functional.conv2d, given, torch.ones_like(inputs[0])))

    flow.log_prob(x)  # the data-dependent initialisation also runs the networks
    hooks: list[Any] = []
    for module in flow.modules():
        if isinstance(module, AffineCoupling):
            hooks.append(module.conditioner.register_forward_hook(record))
        if isinstance(module, GlowSteps):
            hooks.append(module.register_forward_pre_hook(record_mixes))
    flow.log_prob(x)
    for hook in hooks:
        hook.remove()
    optimizer = adam(flow)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for _, inputs, _ in calls:
            for t in inputs:
                t.grad = None
        outputs = [function(*inputs) for function, inputs, _ in calls]
        torch.autograd.backward(outputs, [grad for *_, grad in calls])
        optimizer.step()

    step()
    return step


def _leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.detach().clone().requires_grad_() for t in tensors)


# ---- RealNVP: 16 layers, D = 6, hidden 64, batch 512 -----------------------------------

LAYERS, DIM, HIDDEN, BATCH = 16, 6, 64, 512


def vectors() -> Tensor:
    """A batch for the RealNVPs."""
    return torch.randn(BATCH, DIM, generator=torch.Generator().manual_seed(0))


def our_realnvp() -> Flow:
    """Couplings without actnorm, as in the other libraries."""
    return realnvp(DIM, layers=LAYERS, hidden=HIDDEN, actnorm=False)


def our_realnvp_unfused() -> Flow:
    """The same, with networks of separate torch layers."""
    flow = our_realnvp()
    for module in flow.modules():
        if isinstance(module, AffineCoupling):
            module.conditioner = nn.Sequential(*cast(nn.Sequential, module.conditioner))
    return flow


def nflows_realnvp(x: Tensor) -> Step:
    """nflows: AffineCouplingTransform with its MLP and alternating masks."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as Peer
    from nflows.nn.nets import MLP
    from nflows.transforms import AffineCouplingTransform, CompositeTransform

    class Network(MLP):  # type: ignore[misc]
        """Adds the `context` argument that couplings pass and nflows' MLP does not accept."""

        def forward(self, inputs: Tensor, context: None = None) -> Tensor:
            """The MLP; ignores the context."""
            out: Tensor = super().forward(inputs)
            return out

    def network(given: int, wanted: int) -> nn.Module:
        return Network([given], [wanted], [HIDDEN, HIDDEN])

    masks = [torch.arange(DIM).ge(DIM // 2), torch.arange(DIM).lt(DIM // 2)]
    layers = [AffineCouplingTransform(masks[i % 2].int(), network) for i in range(LAYERS)]
    peer = Peer(CompositeTransform(layers), StandardNormal([DIM]))
    return training_step(peer, lambda: -peer.log_prob(x).mean())


def normflows_realnvp(x: Tensor) -> Step:
    """normflows: AffineCouplingBlock with its MLP, then a swap."""
    import normflows as nf

    layers: list[nn.Module] = []
    for _ in range(LAYERS):
        network = nf.nets.MLP([DIM // 2, HIDDEN, HIDDEN, DIM], init_zeros=True)
        layers += [nf.flows.AffineCouplingBlock(network), nf.flows.Permute(DIM, mode="swap")]
    peer = nf.NormalizingFlow(nf.distributions.DiagGaussian(DIM, trainable=False), layers)
    return training_step(peer, lambda: peer.forward_kld(x))


def zuko_realnvp(x: Tensor) -> Step:
    """zuko: RealNVP."""
    import zuko

    peer = zuko.flows.RealNVP(DIM, transforms=LAYERS, hidden_features=(HIDDEN, HIDDEN))
    return training_step(peer, lambda: -peer().log_prob(x).mean())


REALNVP_PEERS = {"nflows": nflows_realnvp, "normflows": normflows_realnvp, "zuko": zuko_realnvp}

# ---- Glow: 2 levels x 4 steps, hidden 64, batch 32, 32x32 --------------------------------

IMAGE, LEVELS, STEPS, IMAGES = (3, 32, 32), 2, 4, 32


def images() -> Tensor:
    """A batch for the Glows."""
    return torch.randn(IMAGES, *IMAGE, generator=torch.Generator().manual_seed(0))


def our_glow(steps: int = STEPS, *, recompute: bool = False) -> Flow:
    """Real-valued images and a Gaussian base, as in normflows."""
    return glow(
        IMAGE, levels=LEVELS, steps=steps, hidden=HIDDEN, base="normal", dequantize=False,
        recompute=recompute,
    )  # fmt: skip


def normflows_glow(x: Tensor) -> Step:
    """normflows: GlowBlock, squeeze and merge, as in its documentation's example."""
    import normflows as nf

    bases, merges, flows = [], [], []
    channels, height, width = IMAGE
    for i in range(LEVELS):
        wide = channels * 2 ** (LEVELS + 1 - i)
        level = [nf.flows.GlowBlock(wide, HIDDEN, split_mode="channel") for _ in range(STEPS)]
        flows.append([*level, nf.flows.Squeeze()])
        size = (height // 2 ** (LEVELS - i), width // 2 ** (LEVELS - i))
        if i > 0:
            merges.append(nf.flows.Merge())
            shape = (wide // 2, *size)
        else:
            shape = (wide, *size)
        bases.append(nf.distributions.DiagGaussian(shape, trainable=False))
    peer = nf.MultiscaleFlow(bases, flows, merges, class_cond=False).to(x.device)
    return training_step(peer, lambda: peer.forward_kld(x))


GLOW_PEERS = {"normflows": normflows_glow}


@dataclass(frozen=True)
class StepComparison:
    """Our training step and its peers by name."""

    name: str
    ours: Callable[[], Step]
    peers: dict[str, Callable[[], Step]]


def step_comparisons() -> list[StepComparison]:
    """RealNVP, Glow, Glow in bfloat16, and Glow with recomputed activations."""
    x, y = vectors(), images()

    def peers(makers: dict[str, Callable[[Tensor], Step]], data: Tensor) -> dict[str, Any]:
        return {n: lambda m=m: m(data) for n, m in makers.items() if have(n)}

    return [
        StepComparison(
            "realnvp",
            lambda: flow_step(our_realnvp(), x),
            {
                "networks": lambda: networks_step(our_realnvp(), x),
                "networks in torch": lambda: networks_step(our_realnvp_unfused(), x),
                **peers(REALNVP_PEERS, x),
            },
        ),
        StepComparison(
            "glow",
            lambda: flow_step(our_glow(), y),
            {"networks": lambda: networks_step(our_glow(), y), **peers(GLOW_PEERS, y)},
        ),
        StepComparison(
            "glow bfloat16",
            lambda: flow_step(our_glow(), y, autocast=True),
            {"float32": lambda: flow_step(our_glow(), y)},
        ),
        StepComparison(
            "glow recompute",
            lambda: flow_step(our_glow(8, recompute=True), y),
            {"stored": lambda: flow_step(our_glow(8), y)},
        ),
    ]

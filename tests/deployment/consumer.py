"""A program that uses the package, for mypy --strict and pyright in strict mode."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import assert_type

import flowkernels
from flowkernels import cluster, distributions, flows, interpolation, ops
from flowkernels.adapters import cpp, onnx
from flowkernels.bases import Base, SphericalBase
from flowkernels.bijections import AffineCoupling, Compose, mlp_conditioner
from flowkernels.distributions import VonMisesFisher


class Coupling(torch.nn.Module):
    """A layer on an op."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = torch.nn.Linear(dim - dim // 2, 2 * (dim // 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, x = ops.identity_split(x, x.shape[1] // 2)
        params: Tensor = self.net(kept)
        return ops.affine_coupling_split(x, params, scale_fn="softplus", transform="second")


def use_ops(x: Tensor) -> Tensor:
    y, log_det = ops.stereographic(x)
    assert_type(y, Tensor)
    assert_type(log_det, Tensor)
    assert_type(ops.slerp(y, y, 0.5), Tensor)
    assert_type(ops.log_iv(3.5, x), Tensor)
    assert_type(ops.vmf_sample(y, 3.0, (5,)), Tensor)
    spline, _ = ops.rational_quadratic_spline(x, x, bins=8, boundary="circular", inverse=True)
    return spline + ops.mlp(x, [x], [x], activation="tanh")


def use_flows(x: Tensor, context: Tensor) -> Tensor:
    flow = flows.nsf(2, layers=3, context=1)
    assert_type(flow, flows.Flow)
    assert_type(flow.log_prob(x, context), Tensor)
    assert_type(flow.sample(10, context), Tensor)
    assert_type(flow.sample_and_log_prob((10,)), tuple[Tensor, Tensor])
    image = flows.glow((1, 8, 8), levels=2, steps=2, base="vmf")
    assert_type(image.bits_per_dim(x), Tensor)
    own = flows.Flow(
        Compose([AffineCoupling(mlp_conditioner(1, 2, [8]), transform="second")]), SphericalBase(2)
    )
    base: Base = own.base
    assert_type(base.event_shape, torch.Size)
    return own.interpolate(x, x, torch.linspace(0, 1, 3), path="slerp")


def use_distributions(x: Tensor) -> Tensor:
    distribution = VonMisesFisher(x, torch.tensor(64.0))
    fitted = VonMisesFisher.fit(distribution.rsample(torch.Size((10,))))
    assert_type(fitted.loc, Tensor)
    assert_type(distribution.log_prob(x), Tensor)
    uniform = distributions.HypersphericalUniform(3)
    return torch.distributions.kl_divergence(distribution, uniform) + interpolation.linear(
        x, x, 0.5
    )


def use_clusters(x: Tensor) -> None:
    model = cluster.SphericalKMeans(n_clusters=3).fit(x)
    assert_type(model, cluster.SphericalKMeans)
    mixture = cluster.VonMisesFisherMixture(n_components=3).fit(x)
    mixture.predict(x)


def deploy(flow: flows.Flow, x: Tensor) -> None:
    onnx.export(flow, (x,), "flow.onnx", method="log_prob")
    assert_type(str(cpp.ops_library()), str)
    assert_type(flowkernels.backends(), dict[str, dict[str, str]])
    assert_type(flowkernels.__version__, str)

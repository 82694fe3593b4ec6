"""zuko's flows with and without `accelerate`, value by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import adapters

from .parity import DTYPES, SPLINES, TOLERANCES, check

pytest.importorskip("zuko", reason="zuko is not installed (extra `peers`)")

from zuko import flows
from zuko.transforms import AutoregressiveTransform, CouplingTransform

WIDE = {"hidden_features": (16, 16), "transforms": 2}
AFFINE: dict[str, Any] = {
    "NICE": lambda d, c: flows.NICE(d, c, **WIDE),
    "NICE random": lambda d, c: flows.NICE(d, c, randmask=True, activation=nn.ELU, **WIDE),
    "NICE normalize": lambda d, c: flows.NICE(d, c, normalize=True, **WIDE),
    "MAF": lambda d, c: flows.MAF(d, c, **WIDE),
    "MAF random": lambda d, c: flows.MAF(d, c, randperm=True, activation=nn.Tanh, **WIDE),
    "MAF residual": lambda d, c: flows.MAF(d, c, residual=True, **WIDE),
    "MAF 2 passes": lambda d, c: flows.MAF(d, c, passes=2, **WIDE),
}
SPLINE: dict[str, Any] = {
    "NSF": lambda d, c: flows.NSF(d, c, **WIDE),
    "NSF random": lambda d, c: flows.NSF(d, c, randperm=True, slope=1e-2, bins=5, **WIDE),
    "NSF 2 passes": lambda d, c: flows.NSF(d, c, passes=2, **WIDE),
}


def everything(context: Tensor | None) -> Any:
    """All that a flow is asked."""

    def run(flow: Any, x: Sequence[Tensor]) -> list[Tensor]:
        d = flow(context)
        z, ladj = d.transform.call_and_ladj(x[0])
        back, back_ladj = d.transform.inv.call_and_ladj(x[0])
        return [
            d.log_prob(x[0]), z, ladj, d.transform(x[0]), d.transform.inv(x[0]), back, back_ladj,
            d.transform.log_abs_det_jacobian(x[0], z),
        ]  # fmt: skip

    return run


@DTYPES
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("dim", [5, 6])
@pytest.mark.parametrize("name", [*AFFINE, *SPLINE])
def test_flows(name: str, dim: int, context: int, dtype: torch.dtype) -> None:
    tolerances = SPLINES if name in SPLINE else TOLERANCES
    flow = (AFFINE | SPLINE)[name](dim, context)
    for batch in ((9,), (), (2, 3)):
        x = torch.randn(*batch, dim)
        c = torch.randn(*batch[-1:], context, dtype=dtype) if context else None
        if dtype is torch.float64 or batch == (9,):
            check(flow, [x], [everything(c)], dtype, tolerances)


def test_a_user_sees_zukos_transforms() -> None:
    flow = flows.NICE(4, **WIDE)
    before = str(flow)
    adapters.accelerate(flow)
    layer = flow().transform.transforms[0]
    assert isinstance(layer, CouplingTransform)
    assert type(layer).__name__ == "CouplingTransform"
    assert isinstance(adapters.accelerate(flows.MAF(4))().transform.transforms[0],
                      AutoregressiveTransform)  # fmt: skip
    assert str(flow) == before
    # What zuko's own has.
    kept, coupled = layer.split(torch.randn(3, 4))
    assert kept.shape == coupled.shape == (3, 2)
    assert layer.meta(kept)(coupled).shape == (3, 2)


def test_samples() -> None:
    flow = flows.NSF(4, 2, **WIDE).double()
    ours = adapters.accelerate(flows.NSF(4, 2, **WIDE).double())
    ours.load_state_dict(flow.state_dict())
    c = torch.randn(3, 2, dtype=torch.float64)
    drawn = []
    for module in (flow, ours):
        torch.manual_seed(1)
        drawn.append(module(c).rsample_and_log_prob((7,)))
    for a, b in zip(*drawn, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_what_is_left_alone() -> None:
    def reasons(module: nn.Module) -> list[str]:
        adapters.report().reset()
        adapters.accelerate(module)
        return [why for r in adapters.report().records.values() for why in r.left_modules]

    for kind in (flows.NCSF, flows.SOSPF):
        assert reasons(kind(4, **WIDE)) == ["a univariate transform that is not known"]

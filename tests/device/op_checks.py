"""Every public op and distribution under the watch; run by test_no_copies.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.distributions.kl import _KL_REGISTRY

from flowkernels import distributions, ops
from flowkernels.ops._declaration import PUBLIC, PublicOp

from ..ops.case import Case, Sample
from ..ops.cases import CASES
from .watch import INHERENT, Refused, fake_device, like, watched

DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def samples(case: Case) -> list[Sample]:
    """The small samples and those of moderate size; together they cover every option."""
    return [
        *case.small(),
        *(s for s in case.samples() if sum(t.numel() for t in s.tensors) < 100_000),
        *case.empty(),
    ]


def on_device(sample: Sample) -> Sample:
    options = {k: like(v) if isinstance(v, Tensor) else v for k, v in sample.options.items()}
    return Sample(sample.label, tuple(like(t) for t in sample.tensors), options).leaves()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_op(case: Case, dtype: torch.dtype) -> None:
    """Forward and backward of every sample of the shared checker."""
    for sample in samples(case):
        rounded = sample.to(dtype)
        with fake_device():
            leaves = on_device(rounded)
            with watched() as watch:
                outputs = case.outputs(case.call, leaves)
                assert all(o.is_cuda for o in outputs)
                torch.autograd.grad(sum(o.sum() for o in outputs), leaves.tensors)
            assert not watch.inherent


def _x(*shape: int) -> Tensor:
    return torch.rand(*shape, device="cuda", requires_grad=True)


# Calls with numbers where users may give numbers, beside the one of the declaration.
NUMBERS: dict[str, Callable[[], Any]] = {
    "iv_ratio": lambda: (ops.iv_ratio(_x(3).detach(), 2.0), ops.iv_ratio(2, _x(3))),
    "log_iv": lambda: ops.log_iv(_x(3).detach(), 2.0),
    "slerp": lambda: (
        ops.slerp(_x(3, 4), _x(3, 4), torch.tensor(0.5)), ops.slerp(_x(3, 4), _x(3, 4), _x(5)),
    ),
    "stereographic_vmf_log_prob": lambda: ops.stereographic_vmf_log_prob(_x(5, 3), _x(4), 2.0),
    "tangent_normal": lambda: ops.tangent_normal(_x(3), _x(5), _x(5)),
    "vmf_log_normalizer": lambda: ops.vmf_log_normalizer(_x(5), 3, relative=True),
    "vmf_log_prob": lambda: ops.vmf_log_prob(_x(5, 3), _x(3), 2.0),
    "vmf_mean_resultant": lambda: ops.vmf_mean_resultant(_x(5), 3, complement=True),
    "vmf_sample": lambda: (
        ops.vmf_sample(_x(3), 2.0, (7,)), ops.vmf_sample(_x(5, 3), _x(5), (2, 3)),
    ),
}  # fmt: skip


def declared_call(op: PublicOp) -> Callable[[], Any]:
    """A call of an op, with the arguments that it is declared with on the device."""
    size = (6, 4)
    tensors = tuple(like(t.float()).requires_grad_() for t in op.inputs.tensors(size))
    options = {
        k: like(v) if isinstance(v, Tensor) else v for k, v in op.inputs.options(size).items()
    }
    return functools.partial(
        op.function, *op.inputs.before, *op.inputs.arguments(tensors), **options
    )


def differentiate(outputs: Any) -> None:
    flat = [o for o in torch.utils._pytree.tree_leaves(outputs) if o.requires_grad]
    assert flat
    torch.stack([o.sum() for o in flat]).sum().backward()


@pytest.mark.parametrize("name", PUBLIC)
def test_public_op(name: str) -> None:
    with fake_device():
        call = declared_call(PUBLIC[name])
        with watched() as watch:
            differentiate((call(), NUMBERS.get(name, tuple)()))
        assert not watch.inherent


def test_gradient_of_a_cpu_t_is_copied() -> None:
    """The gradient of a `t` on the CPU is the only allowed copy."""
    with fake_device():
        t = torch.tensor(0.5, requires_grad=True)
        with watched() as watch:
            ops.slerp(_x(3, 4), _x(3, 4), t).sum().backward()
    assert watch.inherent == list(INHERENT)


# ---- distributions ------------------------------------------------------------------

DISTRIBUTIONS: dict[str, Callable[[], list[Any]]] = {
    "HypersphericalUniform": lambda: [
        distributions.HypersphericalUniform(3, device="cuda", validate_args=False)
    ],
    "IsotropicCauchy": lambda: [
        distributions.IsotropicCauchy(_x(3), validate_args=False),
        distributions.IsotropicCauchy(_x(5, 3), 2.0, validate_args=False),
    ],
    "MixtureOfVonMisesFisher": lambda: [
        distributions.MixtureOfVonMisesFisher(_x(2).detach(), _x(2, 3), 2.0, validate_args=False),
        distributions.MixtureOfVonMisesFisher(
            _x(5, 2).detach(), _x(5, 2, 3), _x(5, 2), validate_args=False
        ),
    ],
    "PowerSpherical": lambda: [
        distributions.PowerSpherical(_x(3), 2.0, validate_args=False),
        distributions.PowerSpherical(_x(5, 3), _x(5), validate_args=False),
    ],
    "SphericalCauchy": lambda: [
        distributions.SphericalCauchy(_x(3), 0.5, validate_args=False),
        distributions.SphericalCauchy(_x(5, 3), _x(5), validate_args=False),
    ],
    "VonMisesFisher": lambda: [
        distributions.VonMisesFisher(_x(3), 2.0, validate_args=False),
        distributions.VonMisesFisher(_x(5, 3), _x(5), validate_args=False),
    ],
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name: str) -> None:
    with fake_device():
        for law in DISTRIBUTIONS[name]():
            with watched():
                x = law.rsample((4,))
                parts = [x, law.log_prob(x), law.mean, law.variance]
                if not isinstance(law, distributions.MixtureOfVonMisesFisher):  # it has neither
                    parts += [law.entropy(), law.mode]
                total = torch.stack([p.sum() for p in parts]).sum()
                if total.requires_grad:
                    total.backward()


DIVERGENCES = [
    (p.__name__, q.__name__)
    for p, q in _KL_REGISTRY
    if p.__module__.startswith("flowkernels") and q.__module__.startswith("flowkernels")
]


@pytest.mark.parametrize(("first", "second"), DIVERGENCES)
def test_divergence(first: str, second: str) -> None:
    with fake_device():
        for p in DISTRIBUTIONS[first]():
            for q in DISTRIBUTIONS[second]():
                with watched():
                    try:
                        value = kl_divergence(p, q)
                    except NotImplementedError:
                        continue  # docs/divergences.md says why
                    if value.requires_grad:
                        value.sum().backward()


def test_every_distribution_is_covered() -> None:
    assert set(DISTRIBUTIONS) == set(distributions.__all__) - {"unit_sphere"}


# ---- the watch itself ------------------------------------------------------------------

PLANTED: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.detach().sum()),
    "bool": lambda x: bool((x > 0).all()),
    "tolist": lambda x: x.tolist(),
    "tensor": lambda x: torch.tensor(1.0, device="cuda"),
    "as_tensor": lambda x: torch.as_tensor([1.0, 2.0], device="cuda"),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "to device": lambda x: torch.zeros(3).to("cuda"),
    "to device, later": lambda x: torch.zeros(3).to("cuda", non_blocking=True),
    "to host": lambda x: x.cpu(),
    "copy": lambda x: x.detach().copy_(torch.zeros(4)),
    "copy of a number": lambda x: x.detach().copy_(torch.tensor(1.0)),
    "mask": lambda x: x[x > 0],
    "mask, assigned": lambda x: x.detach().__setitem__(x > 0, x.detach()[x > 0]),
    "indices on the host": lambda x: x[torch.tensor([0, 1])],
    "nonzero": lambda x: (x > 0).nonzero(),
    "unique": lambda x: x.unique(),
    "masked_select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x.clone()),
    "allclose": lambda x: torch.allclose(x, x.clone()),
    "is_nonzero": lambda x: x.sum().is_nonzero(),
    "repeat_interleave": lambda x: x.repeat_interleave(torch.ones(4, device="cuda").long()),
    "cholesky": lambda x: torch.linalg.cholesky(x[:, None] * x),
    "random state": lambda x: torch.cuda.get_rng_state(),
}
ALLOWED: dict[str, Callable[[Tensor], Any]] = {
    "number": lambda x: 2 * x + 1,
    "0-d tensor on the CPU": lambda x: x * torch.tensor(2.0),
    "full": lambda x: x.new_full((), 1.0) + torch.full((2, 1), 1.0, device="cuda"),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "index of the device": lambda x: x[torch.zeros(2, dtype=torch.long, device="cuda")],
    "cast": lambda x: x.double(),
    "random": lambda x: torch.randn_like(x) + torch.randint(9, (), device="cuda"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_watch_detects(name: str) -> None:
    with fake_device():
        x = _x(4)
        with watched(), pytest.raises(Refused):
            PLANTED[name](x)


@pytest.mark.parametrize("name", ALLOWED)
def test_watch_allows(name: str) -> None:
    with fake_device():
        x = _x(4)
        with watched():
            ALLOWED[name](x)


def test_watch_covers_backward() -> None:
    class Reads(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad * grad.sum().item()

    with fake_device():
        x = _x(4)
        with watched(), pytest.raises(Refused):
            Reads.apply(x).sum().backward()  # type: ignore[no-untyped-call]

"""Networks in a compiler's graph: the kernels are called, and give what eager calls give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

from flowkernels import ops

from .mlp import network_sample

OPTIONS: list[dict[str, Any]] = [
    {},
    {"activation": "elu", "residual": True},
    {"activation": "leaky_relu", "negative_slope": 0.2},
    {"activation": "tanh"},
]


def compiled(
    function: Callable[..., Any], dynamic: bool | None = None
) -> tuple[Callable[..., Any], list[str]]:
    """A compiled function, and the ops of its graphs."""
    targets: list[str] = []

    def collect(graph: Any, _: Any) -> Any:
        targets.extend(str(n.target) for n in graph.graph.nodes if n.op == "call_function")
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=collect, bw_compiler=collect)
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, dynamic=dynamic, backend=backend), targets


def sample(dtype: torch.dtype, rows: int = 20) -> tuple[Tensor, Sequence[Tensor]]:
    x, *layers = network_sample((rows,), 3, 9, 5, 9, 6).tensors
    return x.to(dtype), [t.to(dtype).requires_grad_() for t in layers]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_graph_calls_the_kernels(options: dict[str, Any], dtype: torch.dtype) -> None:
    x, layers = sample(dtype)

    def network(x: Tensor) -> Tensor:
        return ops.mlp(x, layers[::2], layers[1::2], **options)

    function, targets = compiled(network)
    results = []
    for call in (network, function):
        leaf = x.clone().requires_grad_()
        y = call(leaf)
        results.append((y, *torch.autograd.grad(y.square().sum(), (leaf, *layers))))
    assert targets.count("flowkernels.mlp_rows.default") == 1
    assert targets.count("flowkernels.mlp_rows_backward.default") == 1
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)  # the same kernels


def test_a_coupling_layer_with_any_number_of_rows() -> None:
    _, layers = sample(torch.float32)

    def layer(x: Tensor) -> tuple[Tensor, Tensor]:
        return ops.affine_coupling_mlp(x, layers[::2], layers[1::2], transform="odd", residual=True)

    function, targets = compiled(layer, dynamic=True)
    for rows in (20, 7, 0):
        x = torch.randn(rows, 6)
        got, want = function(x), layer(x)
        torch.testing.assert_close(got, want, rtol=0, atol=0)
        gradients = [torch.autograd.grad(o[0].sum() + o[1].sum(), layers) for o in (got, want)]
        torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert "flowkernels.mlp_rows.default" in targets


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.jacfwd, torch.func.jacrev])
def test_transforms_take_the_layers(transform: Callable[..., Any]) -> None:
    x, layers = sample(torch.float64)
    layers = [t.detach() for t in layers]

    def of_a_row(x: Tensor) -> Tensor:
        return ops.mlp(x[None], layers[::2], layers[1::2])[0]

    call = torch.func.vmap(of_a_row) if transform is torch.func.vmap else transform(of_a_row)
    given = x if transform is torch.func.vmap else x[0]
    function, _ = compiled(call)
    torch.testing.assert_close(function(given), call(given))


@pytest.mark.parametrize("autocast", [False, True])
def test_what_has_no_kernels_stays_layers(autocast: bool) -> None:
    width = 9 if autocast else 130
    x, *layers = (t.float() for t in network_sample((20,), 3, width, 6).tensors)

    def network(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return ops.mlp(x, layers[::2], layers[1::2])

    function, targets = compiled(network)
    torch.testing.assert_close(function(x), network(x))
    assert not any("mlp_rows" in name for name in targets)


def test_exported_programs_have_layers() -> None:
    x, *layers = (t.float() for t in network_sample((20,), 3, 9, 6).tensors)

    class Network(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ops.mlp(x, layers[::2], layers[1::2])

    program = torch.export.export(Network(), (x,))
    assert "mlp_rows" not in str(program.graph)

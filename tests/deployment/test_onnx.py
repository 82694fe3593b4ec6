"""Models in ONNX compute what our ops compute, in onnxruntime."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import ops
from flowkernels.flows import glow, nsf, realnvp
from flowkernels.ops._declaration import OPS, PUBLIC, PublicOp

for needed in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(needed, reason=f"{needed} is not installed (extra `onnx`)")

from flowkernels.adapters import onnx  # noqa: E402

SIZES = {"rows": (5, 4), "images": (5, 4, 3, 2), "elements": (5,), "matrices": (5, 4),
         "networks": (5, 8)}  # fmt: skip
BATCH = torch.export.Dim("batch")
# Of an element, in units of the last place of the largest one, or of what formulas cancel in.
ULPS = 16


def run(program: torch.onnx.ONNXProgram, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """What onnxruntime computes."""
    import onnxruntime

    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    quiet.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), quiet, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_inputs()]
    given = {n: t.numpy() for n, t in zip(names, inputs, strict=True)}
    return [torch.from_numpy(out) for out in session.run(None, given)]


def assert_same(found: list[Tensor], wanted: Any, label: str = "", ulps: float = ULPS) -> None:
    """Equal up to `ulps` of the largest element."""
    wanted = list(wanted) if isinstance(wanted, tuple) else [wanted]
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype, label
        assert a.shape == b.shape, label
        largest = b[b.isfinite()].abs().max() if b.isfinite().any() else torch.ones(())
        bound = float(ulps * torch.finfo(b.dtype).eps * largest)
        torch.testing.assert_close(a, b.detach(), rtol=0, atol=bound, msg=lambda m: f"{label}: {m}")


class Calls(nn.Module):
    """Public ops one after the other: one export for all."""

    def __init__(self, called: list[PublicOp], counts: list[int]) -> None:
        super().__init__()
        self.called, self.counts = called, counts

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        for op, count in zip(self.called, self.counts, strict=True):
            given, tensors = tensors[:count], tensors[count:]
            out = op.inputs.call(op.function, SIZES[op.inputs.sizes], given)
            outputs += out if isinstance(out, tuple) else (out,)
        return tuple(outputs)


# In float32 too these compute in float64, by the same graph.
IN_FLOAT64 = {"bessel", "vmf", "vmf_mixture"}
# Their graphs are long: they are exported for smaller networks.
LONG = {"affine_autoregressive_inverse", "spline_autoregressive_inverse"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_op(dtype: torch.dtype) -> None:
    called = [op for op in PUBLIC.values() if not op.random and op.name not in LONG]
    assert len(called) == len(PUBLIC) - len(LONG) - 1
    if dtype == torch.float32:
        called = [op for op in called if op.family not in IN_FLOAT64 or "log_prob" in op.name]
    torch.manual_seed(0)
    given = [tuple(t.to(dtype) for t in op.inputs.tensors(SIZES[op.inputs.sizes])) for op in called]
    inputs = tuple(t for tensors in given for t in tensors)
    module = Calls(called, [len(tensors) for tensors in given])
    program = onnx.export(module, inputs)
    domains = {node.domain for node in program.model_proto.graph.node}
    assert not any("flowkernels" in domain for domain in domains), domains
    found = run(program, inputs)
    for op, tensors in zip(called, given, strict=True):
        wanted = op.inputs.call(op.function, SIZES[op.inputs.sizes], tensors)
        count = len(wanted) if isinstance(wanted, tuple) else 1
        own, found = found[:count], found[count:]
        assert_same(own, wanted, op.name)
    assert not found


class Inverses(nn.Module):
    """Both autoregressive inverses of three features, of any number of rows."""

    def forward(self, z: Tensor, first: Tensor, bias: Tensor, last: Tensor, spline: Tensor) -> Any:
        degrees = [(1, 1, 2, 2)]
        affine = ops.affine_autoregressive_inverse(
            z, [first, last], [bias, last[:, 0]], degrees=degrees, input_order=(2, 0, 1)
        )
        return *affine, *ops.spline_autoregressive_inverse(
            z, [first, spline], [bias, spline[:, 0]], degrees=degrees, bins=3
        )


def test_autoregressive_inverses_of_any_batch() -> None:
    torch.manual_seed(0)
    weights = (torch.randn(4, 3), torch.randn(4), torch.randn(6, 4), torch.randn(3 * 8, 4))
    program = onnx.export(
        Inverses(), (torch.randn(5, 3), *weights),
        dynamic_shapes=({0: BATCH}, None, None, None, None),
    )  # fmt: skip
    for rows in (1, 5, 17):
        inputs = (2 * torch.randn(rows, 3), *weights)
        assert_same(run(program, inputs), Inverses()(*inputs), ulps=64)


class Options(nn.Module):
    """The couplings and splines with each of their options."""

    def forward(self, x: Tensor, params: Tensor, raw: Tensor) -> tuple[Tensor, ...]:
        from flowkernels.ops.affine_coupling import CHOICES

        out: list[Tensor] = []
        for option, values in CHOICES.items():
            for value in values:
                whole = option == "transform"
                function = ops.affine_coupling_split if whole else ops.affine_coupling
                out += function(x, params[:, : 4 if whole else 8], **{option: value})  # type: ignore
        for function in (ops.affine_coupling, ops.rational_quadratic_spline):
            given = params if function is ops.affine_coupling else raw[:, : 4 * 23]
            out += function(x, given, inverse=True)  # type: ignore[operator]
        for boundary, parts in (("circular", 24), ("none", 25)):
            out += ops.rational_quadratic_spline(x, raw[:, : 4 * parts], boundary=boundary)  # type: ignore
        out += ops.rational_quadratic_spline(x, raw[:, : 4 * 23], convention="zuko")
        return tuple(out)


def test_options() -> None:
    torch.manual_seed(0)
    inputs = tuple(2 * torch.randn(6, n, dtype=torch.float64) for n in (4, 8, 100))
    found = run(onnx.export(Options(), inputs), inputs)
    for i, (a, b) in enumerate(zip(found, Options()(*inputs), strict=True)):
        assert_same([a], b, str(i), ulps=64)


class Activations(nn.Module):
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        layers = [weight] * 4, [bias] * 4
        return [
            ops.mlp(x, *layers, activation=a, residual=r)
            for a in ("relu", "leaky_relu", "elu", "tanh") for r in (False, True)
        ]  # fmt: skip


def test_activations_in_float64() -> None:
    torch.manual_seed(0)
    inputs = tuple(torch.randn(shape, dtype=torch.float64) for shape in ((5, 3), (3, 3), (3,)))
    found = run(onnx.export(Activations(), inputs), inputs)
    assert_same(found, tuple(Activations()(*inputs)))


ORDERS = (0.0, 3.7, 12.0, 28.0, 1e6)  # on both sides of 10 and of 28, where formulas change
DIMS = (3, 785)


class Bessel(nn.Module):
    """Every function of the family at a few orders."""

    def forward(self, x: Tensor) -> list[Tensor]:
        out = []
        for v in ORDERS:
            out += [ops.log_iv(v, x), ops.iv_ratio(v + 1, x)]
        for dim in DIMS:
            out += [
                ops.vmf_log_normalizer(x, dim), ops.vmf_log_normalizer(x, dim, relative=True),
                ops.vmf_log_peak(x, dim), ops.vmf_divergence(x, dim),
                ops.vmf_mean_resultant(x, dim), ops.vmf_mean_resultant(x, dim, complement=True),
            ]  # fmt: skip
        return out


def test_bessel_functions_in_all_ranges() -> None:
    """Element by element: from 0 to 1e12, the orders on both sides of each case."""
    x = torch.cat([torch.zeros(1), torch.logspace(-8, 12, 61)]).double()
    found = run(onnx.export(Bessel(), (x,)), (x,))
    wanted = Bessel()(x)
    names = [(name, v) for v in ORDERS for name in ("log_iv", "iv_ratio")]
    names += [
        (name, dim) for dim in DIMS
        for name in ("normalizer", "relative", "peak", "divergence", "resultant", "complement")
    ]  # fmt: skip
    for (name, order), a, b in zip(names, found, wanted, strict=True):
        # The size of the terms that log I and the normaliser are sums of.
        size = b.abs()
        if name in ("log_iv", "normalizer", "peak"):
            size = size + torch.hypot(x, torch.tensor(float(order))) * (name != "peak")
            size = size + order * torch.asinh(order / x.clamp(min=1e-300)) + 2 * order
        error = ((a - b).abs() / size.clamp(min=1e-300)).masked_fill(a == b, 0)
        assert error.max() < 2e-13, (name, order, error.max(), x[error.argmax()])


def test_concentration_by_its_resultant() -> None:
    class Concentration(nn.Module):
        def forward(self, r: Tensor) -> list[Tensor]:
            return [ops.vmf_concentration(r, 3), ops.vmf_concentration(r, 785, complement=True)]

    r = torch.tensor([1e-6, 0.01, 0.3, 0.7, 0.99, 0.9999], dtype=torch.float64)
    for a, b in zip(run(onnx.export(Concentration(), (r,)), (r,)), Concentration()(r), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("flow", "shape"),
    [
        (lambda: realnvp(4, layers=2, hidden=8, base="vmf"), (4,)),
        (lambda: nsf(3, layers=1, hidden=8, bins=4), (3,)),
    ],
    ids=["realnvp", "nsf"],
)
def test_flows_of_any_batch(flow: Any, shape: tuple[int, ...], tmp_path: Any) -> None:
    torch.manual_seed(0)
    model = flow()
    model.log_prob(torch.randn(64, *shape))  # ActNorm starts from data
    model.eval()
    example = (torch.randn(4, *shape),)
    for method in ("log_prob", "inverse"):
        path = tmp_path / f"{method}.onnx"
        program = onnx.export(model, example, path, method=method, dynamic_shapes=({0: BATCH},))
        assert path.exists()
        for rows in (1, 4, 33):
            x = torch.randn(rows, *shape)
            with torch.no_grad():
                wanted = getattr(model, method)(x)
            assert_same(run(program, (x,)), wanted, method, ulps=256)


def test_glow_of_any_batch() -> None:
    torch.manual_seed(0)
    model = glow((1, 4, 4), levels=1, steps=2, hidden=4, base="normal", dequantize=False)
    model.log_prob(torch.rand(16, 1, 4, 4))
    model.eval()
    for method, shape in (("forward", (1, 4, 4)), ("inverse", (16,))):
        program = onnx.export(
            model, (torch.rand(2, *shape),), method=method, dynamic_shapes=({0: BATCH},)
        )
        for rows in (1, 5):
            x = torch.rand(rows, *shape)
            with torch.no_grad():
                wanted = getattr(model, method)(x)
            assert_same(run(program, (x,)), wanted, method, ulps=256)


def test_random_ops_are_refused_by_name() -> None:
    class Draws(nn.Module):
        def __init__(self, seeded: bool) -> None:
            super().__init__()
            self.seeded = seeded

        def forward(self, loc: Tensor, angle: Tensor) -> Tensor:
            if self.seeded:
                return ops.tangent_normal(loc, angle.cos(), angle.sin())
            return ops.vmf_sample(loc, 3.0, (2,))

    given = torch.eye(3)[0], torch.rand(2)
    with pytest.raises(NotImplementedError, match=r"vmf_sample draws .* `inverse`"):
        onnx.export(Draws(False), given)
    with pytest.raises(NotImplementedError, match=r"tangent_normal without `seed`"):
        onnx.export(Draws(True), given)


def test_orders_as_a_tensor_are_refused() -> None:
    class Orders(nn.Module):
        def forward(self, v: Tensor, x: Tensor) -> Tensor:
            return ops.log_iv(v, x)

    with pytest.raises(NotImplementedError, match=r"log_iv .* a number"):
        onnx.export(Orders(), (torch.rand(3), torch.rand(3)))


def test_arguments() -> None:
    with pytest.raises(TypeError, match=r"onnx.export: module must be a module with `decode`"):
        onnx.export(nn.Linear(1, 1), (torch.rand(1, 1),), method="decode")


def test_decompositions_cover_every_op() -> None:
    table = {str(op) for op in onnx.decompositions()}
    for name, op in OPS.items():
        assert f"flowkernels.{name}.default" in table
        assert (f"flowkernels.{name}_backward.default" in table) == op.backward

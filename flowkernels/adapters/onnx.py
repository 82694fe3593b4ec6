"""Export to ONNX: our ops as graphs of ONNX's own operators.

An ONNX model needs neither torch nor this package to run. Each op is written as its formula in
plain torch (:mod:`flowkernels.ops.composite`), of which torch's exporter makes ONNX; nothing is
translated op by op, so that every op of the package is covered, its backward too.

Needs the extra `onnx` (onnx, onnxscript; onnxruntime to run the models).
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from flowkernels import arguments
from flowkernels.ops._declaration import OPS, dispatched

from . import onnx_bessel
from .onnx_constants import invert_triangular, keep_digits
from .onnx_functions import ELEMENTARY

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

__all__ = ["decompositions", "export"]

# Ops that draw random numbers, and what to export in their place.
_RANDOM = {
    "vmf_sample_cosine": "vmf_sample draws random numbers, for which ONNX has no reproducible "
    "generator. Draw the latents outside the model and export the flow's `inverse` of them",
    "tangent_normal": "tangent_normal without `seed` draws one, for which ONNX has no reproducible "
    "generator. Give `seed` as an input of the model",
}
_DRAWS = ("randint", "random", "rand", "randn", "bernoulli")


def _as_forward(module: nn.Module, method: str) -> nn.Module:
    """A module whose forward is a method of `module`, with its arguments by name."""

    @functools.wraps(getattr(type(module), method))
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, method)(*args, **kwargs)

    wrapper: nn.Module = type(type(module).__name__, (nn.Module,), {"forward": forward})()
    wrapper.module = module
    return wrapper.train(module.training)


def _refuse(program: torch.export.ExportedProgram) -> None:
    """Raises for calls of ours that have no ONNX form."""
    for node in program.graph.nodes:
        name = str(node.target).removeprefix("flowkernels.").removesuffix(".default")
        if name not in _RANDOM and name != "bessel_order":
            continue
        seed = node.args[-1] if name == "tangent_normal" else None
        if isinstance(seed, fx.Node) and not any(draw in str(seed.target) for draw in _DRAWS):
            continue
        if name == "bessel_order":
            op = node.args[2].removesuffix("_slope")
            raise NotImplementedError(
                f"onnx.export: {op} with a tensor of orders has no ONNX form; give the order `v` "
                "as a number"
            )
        raise NotImplementedError(f"onnx.export: {_RANDOM[name]}")


def _require_libraries() -> None:
    for library in ("onnx", "onnxscript"):
        if importlib.util.find_spec(library) is None:
            raise ModuleNotFoundError(
                f"onnx.export: {library} is not installed (pip install 'flowkernels[onnx]')",
                name=library,
            )


def decompositions() -> dict[Any, Callable[..., Any]]:
    """Our ops in plain torch, for `ExportedProgram.run_decompositions`.

    The table also has functions of torch that ONNX lacks or torch's exporter writes with a loss of
    digits (log1p, expm1, log-gamma, hypot, frexp), and those that onnxruntime has in float32 only.
    :func:`export` uses it; the table is for programs that are exported step by step, or to formats
    other than ONNX.

    Example:
        >>> import torch
        >>> from flowkernels.adapters import onnx
        >>> from flowkernels.flows import realnvp
        >>> flow = realnvp(2, layers=2, hidden=8).eval()
        >>> program = torch.export.export(flow, (torch.randn(4, 2),))
        >>> plain = program.run_decompositions(onnx.decompositions())
        >>> any("flowkernels" in str(node.target) for node in plain.graph.nodes)
        False
    """
    table = dict(ELEMENTARY)
    for name, op in OPS.items():
        table[dispatched(name)] = op.formula
        if op.backward_formula is not None:
            table[dispatched(f"{name}_backward")] = op.backward_formula
    return table


def export(
    module: nn.Module,
    args: Sequence[Any] = (),
    path: str | Path | None = None,
    *,
    method: str = "forward",
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    **options: Any,
) -> ONNXProgram:
    """Exports a module that calls our ops to ONNX.

    The model runs wherever ONNX does. Its results are those of the module up to rounding; what the
    kernels refuse with an error (a negative concentration, say) it computes as the formulas do.
    Autoregressive inverses become one block of operators for each feature. Functions of the Bessel
    family take their order (or `dim`) as a number; they, and splines, compute in float64, the
    former with relative errors below 2e-13 of the terms that they are sums of.

    Args:
        module: a flow, a distribution's module, any module; call `eval()` first.
        args: example inputs.
        path: of the model, usually with the suffix .onnx; None writes no file.
        method: which method of the module the model computes: ``"log_prob"`` or ``"inverse"`` of a
            flow, say.
        kwargs: example inputs by name.
        dynamic_shapes: as `torch.export.export` takes them for args (and kwargs), or None for
            fixed shapes. ``({0: torch.export.Dim("batch")},)`` is any batch size for one input.
        **options: of `torch.onnx.export`, such as input_names, output_names and opset_version.

    Returns:
        torch's ONNXProgram, which has `model_proto`, `save` and can be called.

    Raises:
        ModuleNotFoundError: onnx or onnxscript is missing.
        NotImplementedError: the module draws random numbers by an op of ours, or has one that has
            no ONNX form; the message names it and says what to do.
        TypeError, ValueError: an argument does not fit.

    Example:
        >>> import torch
        >>> from flowkernels.adapters import onnx
        >>> from flowkernels.flows import realnvp
        >>> flow = realnvp(2, layers=2, hidden=8).eval()
        >>> program = onnx.export(flow, (torch.randn(4, 2),), method="log_prob")
        >>> type(program).__name__
        'ONNXProgram'
    """
    arguments.module_with("onnx.export", "module", module, method)
    _require_libraries()
    if method != "forward":
        module = _as_forward(module, method)
    table = decompositions()
    del table[dispatched("bessel")], table[dispatched("bessel_order")]
    settings = {"verbose": False, "optimize": False, **options}
    with warnings.catch_warnings(), torch.no_grad():
        # torch's own, about its own code.
        warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec", FutureWarning)
        program = torch.export.export(
            module, tuple(args), dict(kwargs or {}), dynamic_shapes=dynamic_shapes
        )
        _refuse(program)
        program = program.run_decompositions(table)
        onnx_bessel.inline(program)
        invert_triangular(program)
        keep_digits(program)
        exported = torch.onnx.export(program, dynamo=True, **settings)
    assert exported is not None
    if path is not None:
        exported.save(str(path))
    return exported

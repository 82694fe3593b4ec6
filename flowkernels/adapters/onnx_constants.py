"""Constants of an exported program, and numbers that keep their digits on the way to ONNX.

torch's exporter (2.9 to 2.13) writes a Python number beside a float64 tensor as a float32: pi gets
an error of 9e-8. `keep_digits` makes float64 constants of such numbers.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

aten = torch.ops.aten

_BINARY = {
    "add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "atan2",
}  # fmt: skip


class Constants:
    """Adds constants to a program, and calls to its graph."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program, self.graph = program, program.graph_module.graph
        values = (node.meta.get("val") for node in self.graph.nodes)
        self.mode = next((v.fake_mode for v in values if hasattr(v, "fake_mode")), None)
        self.numbers: dict[float, fx.Node] = {}

    def tensor(self, value: Tensor) -> fx.Node:
        """An input of the graph that holds a constant."""
        assert self.mode is not None
        name = f"_flowkernels_constant{len(self.program.constants)}"
        first = next(iter(self.graph.nodes))
        with self.graph.inserting_before(first):
            node = self.graph.placeholder(name)
        node.meta["val"] = self.mode.from_tensor(value, static_shapes=True)
        spec = InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(node.name), target=name)
        self.program.graph_signature.input_specs.insert(0, spec)
        self.program.constants[name] = value
        return node

    def number(self, value: float) -> fx.Node:
        """A 0-d float64 constant; equal ones are one."""
        if value not in self.numbers:
            self.numbers[value] = self.tensor(torch.tensor(value, dtype=torch.float64))
        return self.numbers[value]

    def call(self, target: Any, *args: Any, **options: Any) -> fx.Node:
        """A call, with the fake tensor that stands for its result."""
        node = self.graph.call_function(target, args, options)

        def value(argument: fx.Node) -> Any:
            return argument.meta["val"]

        assert self.mode is not None
        with self.mode:
            node.meta["val"] = target(*fx.map_arg(args, value), **fx.map_arg(options, value))
        return node


def _is_inexact(argument: Any) -> bool:
    """Whether it is a number that loses digits as a float32."""
    if not isinstance(argument, float) or not math.isfinite(argument):
        return False
    try:
        return bool(struct.unpack("f", struct.pack("f", argument))[0] != argument)
    except OverflowError:
        return True


def _is_float64(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float64


def _with_tensors(to: Constants, node: fx.Node) -> fx.Node | None:
    """`node` with tensors for its numbers; None for an op that takes no tensors there."""
    args: tuple[Any, ...] = node.args
    options = dict(node.kwargs)
    name = node.target._schema.name.removeprefix("aten::")  # type: ignore[union-attr]

    def tensor(argument: Any) -> Any:
        return to.number(float(argument)) if isinstance(argument, (int, float)) else argument

    if name in _BINARY and not options.keys() - {"alpha"} and len(args) == 2:
        overloads = getattr(aten, name)
        target = overloads.Tensor if "Tensor" in overloads.overloads() else overloads.default
        second, alpha = tensor(args[1]), options.pop("alpha", 1)
        scaled = second if alpha == 1 else to.call(aten.mul.Tensor, second, tensor(alpha))
        return to.call(target, args[0], scaled)
    if name == "rsub" and len(args) == 2 and not options:
        return to.call(aten.sub.Tensor, tensor(args[1]), args[0])
    if name == "where":
        return to.call(aten.where.self, args[0], tensor(args[1]), tensor(args[2]))
    if name == "full":
        return to.call(aten.expand.default, tensor(args[1]), args[0])
    if name == "full_like":
        return to.call(
            aten.mul.Tensor, to.call(aten.full_like.default, args[0], 1.0), tensor(args[1])
        )
    if name == "clamp":
        low = options.get("min", args[1] if len(args) > 1 else None)
        high = options.get("max", args[2] if len(args) > 2 else None)
        return to.call(aten.clamp.Tensor, args[0], tensor(low), tensor(high))
    if name in ("clamp_min", "clamp_max") and len(args) == 2:
        target = aten.maximum.default if name == "clamp_min" else aten.minimum.default
        return to.call(target, args[0], tensor(args[1]))
    if name == "pow" and isinstance(args[1], float):
        return to.call(aten.pow.Tensor_Tensor, args[0], tensor(args[1]))
    return None


def keep_digits(program: ExportedProgram) -> None:
    """Makes constants of the numbers in a program's float64 calls, in place."""
    to = Constants(program)
    for node in list(to.graph.nodes):
        given = [*node.args, *node.kwargs.values()]
        if node.op != "call_function" or not any(map(_is_inexact, given)):
            continue
        tensors = (each.meta.get("val") for each in (node, *node.all_input_nodes))
        if not any(map(_is_float64, tensors)) or not hasattr(node.target, "_schema"):
            continue
        with to.graph.inserting_before(node):
            new = _with_tensors(to, node)
        if new is not None:
            node.replace_all_uses_with(new)
            to.graph.erase_node(node)
    program.graph_module.recompile()


def _constant_value(program: ExportedProgram, node: fx.Node, known: dict[fx.Node, Any]) -> Any:
    """What a node computes of parameters and constants alone; None if of inputs, too."""
    if node in known:
        return known[node]
    value: Any = None
    if node.op == "placeholder":
        spec = next(s for s in program.graph_signature.input_specs if s.arg.name == node.name)
        of_target = spec.target or ""
        value = program.state_dict.get(of_target, program.constants.get(of_target))
    elif node.op == "call_function" and node.all_input_nodes:
        given = {n: _constant_value(program, n, known) for n in node.all_input_nodes}
        if all(v is not None for v in given.values()):
            args, options = fx.map_arg((node.args, node.kwargs), given.__getitem__)
            with torch.no_grad():
                value = node.target(*args, **options)  # type: ignore[operator]
    elif node.op == "call_function" and "rand" not in str(node.target):
        value = node.target(*node.args, **node.kwargs)  # type: ignore[operator]
    known[node] = value
    return value


def invert_triangular(program: ExportedProgram) -> None:
    """Writes solutions of triangular systems as products with the inverse, in place.

    ONNX has no such solver. The inverse, taken in float64, is a constant of the program.
    """
    to = Constants(program)
    known: dict[fx.Node, Any] = {}
    for node in list(to.graph.nodes):
        if node.target is not aten.linalg_solve_triangular.default:
            continue
        matrix, rows = node.args[:2]
        value = _constant_value(program, matrix, known)
        if value is None:
            raise NotImplementedError(
                "onnx.export: torch.linalg.solve_triangular is supported for matrices of "
                "parameters only; the model has one that depends on its inputs"
            )
        options = {name: bool(node.kwargs.get(name)) for name in ("upper", "unitriangular")}
        identity = torch.eye(value.shape[-1], dtype=torch.float64)
        inverse = torch.linalg.solve_triangular(value.detach().double(), identity, **options)
        constant = to.tensor(inverse.to(value.dtype))
        with to.graph.inserting_before(node):
            pair = (constant, rows) if node.kwargs.get("left", True) else (rows, constant)
            product = to.call(aten.matmul.default, *pair)
        node.replace_all_uses_with(product)
        to.graph.erase_node(node)
    program.graph_module.recompile()

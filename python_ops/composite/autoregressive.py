"""Inverses of autoregressive maps in plain torch, one feature after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from .affine_coupling import affine_coupling, affine_coupling_split_backward
from .rational_quadratic_spline import (
    Options,
    rational_quadratic_spline,
    rational_quadratic_spline_backward,
)


class Map(NamedTuple):
    """What a network's outputs do to a feature, by matrices (B, 1) and (B, n).

    solve(z, outputs)                    x and log|dx/dz| (B,)
    pull(grad_x, grad_log, z, outputs)   the gradients of z and outputs
    rows                                 where the outputs of each feature are
    """

    solve: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    pull: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    rows: list[tuple[int, ...]]


def affine(features: int, *, layout: str, **options: Any) -> Map:
    """x = (z - t) / s or x = z / s - t."""
    options |= {"inverse": True}
    match layout:
        case "shift_scale":
            rows = [(d, features + d) for d in range(features)]
        case "scale_shift":
            rows = [(features + d, d) for d in range(features)]
        case "interleaved":
            rows = [(2 * d, 2 * d + 1) for d in range(features)]
        case "interleaved_scale_shift":
            rows = [(2 * d + 1, 2 * d) for d in range(features)]
        case _:
            raise ValueError(f"unknown layout {layout!r}")
    return Map(
        lambda z, outputs: affine_coupling(z, outputs, **options),
        lambda *tensors: affine_coupling_split_backward(*tensors, **options),
        rows,  # type: ignore[arg-type]
    )


def spline(features: int, **options: Any) -> Map:
    """The inverse of a rational-quadratic spline."""
    o = Options(**options, inverse=True)
    return Map(
        lambda z, outputs: rational_quadratic_spline(z, outputs, o, "row"),
        lambda grad_x, grad_log, z, outputs: rational_quadratic_spline_backward(
            grad_x, grad_log, z, outputs, o, "row"
        ),
        [tuple(range(d * o.parts, (d + 1) * o.parts)) for d in range(features)],
    )


class Layer(NamedTuple):
    """A layer of a masked network: weight (out, in), bias (out) or (*batch, out), degrees."""

    weight: Tensor
    bias: Tensor
    degrees: tuple[int, ...]


def layers_of(
    offset: Tensor,
    parameters: Tensor,
    hidden: Sequence[int],
    degrees: Sequence[int],
    input_order: Sequence[int],
    rows: Sequence[int],
) -> list[Layer]:
    """The layers in flat parameters; inputs in the order of solution, outputs as `rows` say."""
    features, steps = len(input_order), len(rows) // max(len(input_order), 1)
    widths = [features, *hidden, len(rows)]
    of_outputs = [position // steps for position in range(len(rows))]
    units = [*degrees, *of_outputs]
    layers, start, unit = [], 0, 0
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        weight = parameters[start : start + width_out * width_in].view(width_out, width_in)
        start += width_out * width_in
        bias = offset
        if i > 0:
            bias = parameters[start : start + width_out]
            start += width_out
        if i == 0:
            # Slices: a list of indices would be copied to the device.
            weight = torch.stack([weight[:, d] for d in input_order], 1)
        if i + 1 == len(widths) - 1:
            weight = torch.stack([weight[r] for r in rows])
            bias = torch.stack([bias[..., r] for r in rows], -1)
        layers.append(Layer(weight, bias, tuple(units[unit : unit + width_out])))
        unit += width_out
    return layers


class Solver:
    """The steps of an inverse, and what they leave behind: a tensor for each degree.

    `known[l]` has what layer l reads; `outputs` are the network's for each feature.
    """

    def __init__(
        self,
        a_map: Map,
        offset: Tensor,
        parameters: Tensor,
        hidden: Sequence[int],
        degrees: Sequence[int],
        input_order: Sequence[int],
    ) -> None:
        self.map, self.input_order = a_map, input_order
        self.rows = [row for d in input_order for row in a_map.rows[d]]
        self.layers = layers_of(offset, parameters, hidden, degrees, input_order, self.rows)
        self.known: list[list[Tensor]] = [[] for _ in self.layers]
        self.outputs: list[Tensor] = []

    def run(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log_det) of z (B, D)."""
        log_dets = []
        for position, d in enumerate(self.input_order):
            outputs = self._outputs(z[:, :0], position)
            x_d, log_det = self.map.solve(z[:, d : d + 1], outputs)
            self.known[0].append(x_d)
            self.outputs.append(outputs)
            log_dets.append(log_det)
        x = [self.known[0][position] for position in _inverse_order(self.input_order)]
        return torch.cat(x, 1), torch.stack(log_dets).sum(0)

    def pull(self, grad_x: Tensor, grad_log_det: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """The gradients of z, of offset and of the flat parameters, after `run`."""
        count = len(self.input_order)
        grads: list[list[Tensor]] = [[] for _ in self.layers]  # from some degree on
        grad_z: list[Tensor] = []
        for position in reversed(range(count)):
            d = self.input_order[position]
            g = grad_x[:, d : d + 1]
            if grads[0]:
                weight = self.layers[0].weight[self._units(0, position)[1] :]
                g = g + torch.cat(grads[0], 1) @ weight[:, position : position + 1]
            g_z, g_outputs = self.map.pull(g, grad_log_det, z[:, d : d + 1], self.outputs[position])
            grads[-1].insert(0, g_outputs)
            grad_z.insert(0, g_z)
            for i in reversed(range(len(self.layers) - 1)):
                begin, end = self._units(i, position)
                above = self.layers[i + 1].weight[self._units(i + 1, position)[0] :, begin:end]
                h, g_h = self.known[i + 1][position], torch.cat(grads[i + 1], 1) @ above
                grads[i].insert(0, torch.where(h <= 0, torch.zeros_like(g_h), g_h))
        ordered = [grad_z[position] for position in _inverse_order(self.input_order)]
        return torch.cat(ordered, 1), *self._of_parameters(grads)

    def _outputs(self, nothing: Tensor, degree: int) -> Tensor:
        """The outputs of a degree; extends every hidden layer by its units of it."""
        new = nothing
        for i, layer in enumerate(self.layers):
            seen = torch.cat([nothing, *self.known[i]], -1)
            begin, end = self._units(i, degree)
            weight = layer.weight[begin:end, : seen.shape[-1]]
            new = linear(seen, weight) + layer.bias[..., begin:end]
            if i + 1 < len(self.layers):
                new = new.relu()
                self.known[i + 1].append(new)
        return new

    def _units(self, layer: int, degree: int) -> tuple[int, int]:
        """Where the units of a degree begin and end."""
        degrees = self.layers[layer].degrees
        return sum(d < degree for d in degrees), sum(d <= degree for d in degrees)

    def _of_parameters(self, grads: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """The gradients of offset and parameters from those of every layer's units."""
        pieces = []
        offset = torch.cat(grads[0], -1)
        for i, layer in enumerate(self.layers):
            last = i + 1 == len(self.layers)
            weight = self._of_weight(i, grads[i])
            bias = torch.cat([g.sum(0) for g in grads[i]])
            if last:
                places = _inverse_order(self.rows)
                weight = torch.stack([weight[r] for r in places])
                bias = torch.stack([bias[r] for r in places])
            if i == 0:
                places = _inverse_order(self.input_order)
                weight = torch.stack([weight[:, d] for d in places], 1)
            if i == 0 and last:
                places = _inverse_order(self.rows)
                offset = torch.stack([offset[..., r] for r in places], -1)
            pieces += [weight.reshape(-1)] if i == 0 else [weight.reshape(-1), bias]
            assert weight.shape == layer.weight.shape
        return offset, torch.cat(pieces)

    def _of_weight(self, layer: int, grads: list[Tensor]) -> Tensor:
        """The gradient of a weight, zero where a unit does not see an input."""
        wide = self.layers[layer].weight.shape[1]
        # Features are known a step after the units that see them.
        of_degree = range(len(grads)) if layer == 0 else range(1, len(grads) + 1)
        blocks = []
        for g, seen in zip(grads, of_degree, strict=True):
            inputs = torch.cat([g[..., :0], *self.known[layer][:seen]], -1)
            blocks.append(pad(g.mT @ inputs, (0, wide - inputs.shape[-1])))
        return torch.cat(blocks)


def _inverse_order(order: Sequence[int]) -> list[int]:
    """Where each of 0, 1, ... stands in an order."""
    return sorted(range(len(order)), key=order.__getitem__)


def _flat(t: Tensor, dtype: torch.dtype) -> Tensor:
    """(*batch, n) as rows in a dtype."""
    return t.reshape(math.prod(t.shape[:-1]), t.shape[-1]).to(dtype)


def autoregressive_inverse(
    a_map: Map, z: Tensor, offset: Tensor, parameters: Tensor, *structure: Any
) -> tuple[Tensor, Tensor]:
    """x and log|det dx/dz| of z (*batch, D), each step in turn."""
    compute = torch.promote_types(z.dtype, torch.float32)
    if not z.shape[-1]:
        return z.clone(), z.to(compute).sum(-1)
    solver = Solver(a_map, _flat(offset, compute), parameters.to(compute), *structure)
    x, log_det = solver.run(_flat(z, compute))
    return x.reshape(z.shape).to(z.dtype), log_det.reshape(z.shape[:-1])


def autoregressive_inverse_backward(
    a_map: Map,
    grad_x: Tensor,
    grad_log_det: Tensor,
    z: Tensor,
    offset: Tensor,
    parameters: Tensor,
    *structure: Any,
) -> tuple[Tensor, ...]:
    """The gradients of `autoregressive_inverse` in z, offset and parameters.

    They solve the transposed triangular system, from the last feature to the first.
    """
    compute = torch.promote_types(z.dtype, torch.float32)
    inputs = (z, offset, parameters)
    if not z.shape[-1]:
        return tuple(torch.zeros_like(t) for t in inputs)
    rows = _flat(z, compute)
    solver = Solver(a_map, _flat(offset, compute), parameters.to(compute), *structure)
    solver.run(rows)
    grads = solver.pull(_flat(grad_x, compute), grad_log_det.reshape(rows.shape[0]), rows)
    return tuple(g.reshape(t.shape).to(t.dtype) for g, t in zip(grads, inputs, strict=True))

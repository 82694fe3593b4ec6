"""The inverse of an autoregressive map in plain torch, one feature after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from .affine_coupling import scale_of


class Layer(NamedTuple):
    """A layer of a masked network: weight (out, in), bias (out) or (*batch, out), degrees."""

    weight: Tensor
    bias: Tensor
    degrees: tuple[int, ...]


def output_rows(features: int, layout: str) -> list[tuple[int, int]]:
    """Where the network's output has shift and raw scale of each feature."""
    match layout:
        case "shift_scale":
            return [(d, features + d) for d in range(features)]
        case "scale_shift":
            return [(features + d, d) for d in range(features)]
        case "interleaved":
            return [(2 * d, 2 * d + 1) for d in range(features)]
    raise ValueError(f"unknown layout {layout!r}")


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
    """The steps of the inverse, and what they leave behind: a tensor for each degree.

    `known[l]` has what layer l reads; `shift` and `raw` are the network's outputs.
    """

    def __init__(
        self,
        offset: Tensor,
        parameters: Tensor,
        hidden: Sequence[int],
        degrees: Sequence[int],
        input_order: Sequence[int],
        *,
        scale_fn: str,
        bound: float,
        layout: str,
        order: str,
    ) -> None:
        pairs = output_rows(len(input_order), layout)
        self.rows = [row for d in input_order for row in pairs[d]]
        self.layers = layers_of(offset, parameters, hidden, degrees, input_order, self.rows)
        self.input_order, self.scale, self.bound = input_order, scale_of(scale_fn), bound
        self.shift_last = order == "scale_then_shift"
        self.known: list[list[Tensor]] = [[] for _ in self.layers]
        self.shift: list[Tensor] = []
        self.raw: list[Tensor] = []

    def run(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log_det) of z (*batch, D)."""
        log_dets = []
        for position, d in enumerate(self.input_order):
            shift, raw = self._outputs(z[..., :0], position).split(1, -1)
            log_s = self.scale.log_s(raw, self.bound)
            s, z_d = log_s.exp(), z[..., d : d + 1]
            self.known[0].append((z_d - shift) / s if self.shift_last else z_d / s - shift)
            self.shift.append(shift)
            self.raw.append(raw)
            log_dets.append(log_s)
        x = [self.known[0][position] for position in _inverse_order(self.input_order)]
        return torch.cat(x, -1), -torch.cat(log_dets, -1).sum(-1)

    def pull(self, grad_x: Tensor, grad_log_det: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """The gradients of z, of offset and of the flat parameters, after `run`."""
        count = len(self.input_order)
        grads: list[list[Tensor]] = [[] for _ in self.layers]  # from some degree on
        grad_z: list[Tensor] = []
        row = grad_log_det.unsqueeze(-1)
        for position in reversed(range(count)):
            d = self.input_order[position]
            g = grad_x[..., d : d + 1]
            if grads[0]:
                weight = self.layers[0].weight[self._units(0, position)[1] :]
                g = g + torch.cat(grads[0], -1) @ weight[:, position : position + 1]
            shift, raw, z_d = self.shift[position], self.raw[position], z[..., d : d + 1]
            g_z = g / self.scale.log_s(raw, self.bound).exp()
            scaled = z_d - shift if self.shift_last else z_d
            g_raw = -(g_z * scaled + row) * self.scale.slope(raw, self.bound)
            grads[-1].insert(0, torch.cat([-g_z if self.shift_last else -g, g_raw], -1))
            grad_z.insert(0, g_z)
            for i in reversed(range(len(self.layers) - 1)):
                begin, end = self._units(i, position)
                above = self.layers[i + 1].weight[self._units(i + 1, position)[0] :, begin:end]
                h, g_h = self.known[i + 1][position], torch.cat(grads[i + 1], -1) @ above
                grads[i].insert(0, torch.where(h <= 0, torch.zeros_like(g_h), g_h))
        ordered = [grad_z[position] for position in _inverse_order(self.input_order)]
        return torch.cat(ordered, -1), *self._of_parameters(grads)

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
            bias = torch.cat([_rows(g).sum(0) for g in grads[i]])
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
            blocks.append(pad(_rows(g).mT @ _rows(inputs), (0, wide - inputs.shape[-1])))
        return torch.cat(blocks)


def _rows(t: Tensor) -> Tensor:
    return t.reshape(t.shape[:-1].numel(), t.shape[-1])


def _inverse_order(order: Sequence[int]) -> list[int]:
    """Where each of 0, 1, ... stands in an order."""
    return sorted(range(len(order)), key=order.__getitem__)


def affine_autoregressive_inverse(
    z: Tensor, offset: Tensor, parameters: Tensor, *structure: Any, **options: Any
) -> tuple[Tensor, Tensor]:
    """x_d = (z_d - t(x_<d)) / s(x_<d) and log|det dx/dz| = -sum log s, each step in turn."""
    compute = torch.promote_types(z.dtype, torch.float32)
    if not z.shape[-1]:
        return z.clone(), z.to(compute).sum(-1)
    solver = Solver(offset.to(compute), parameters.to(compute), *structure, **options)
    x, log_det = solver.run(z.to(compute))
    return x.to(z.dtype), log_det


def affine_autoregressive_inverse_backward(
    grad_x: Tensor,
    grad_log_det: Tensor,
    z: Tensor,
    offset: Tensor,
    parameters: Tensor,
    *structure: Any,
    **options: Any,
) -> tuple[Tensor, ...]:
    """The gradients of `affine_autoregressive_inverse` in z, offset and parameters.

    They solve the transposed triangular system, from the last feature to the first.
    """
    compute = torch.promote_types(z.dtype, torch.float32)
    inputs = (z, offset, parameters)
    if not z.shape[-1]:
        return tuple(torch.zeros_like(t) for t in inputs)
    wide_z = z.to(compute)
    solver = Solver(offset.to(compute), parameters.to(compute), *structure, **options)
    solver.run(wide_z)
    grads = solver.pull(grad_x.to(compute), grad_log_det, wide_z)
    return tuple(g.to(t.dtype) for g, t in zip(grads, inputs, strict=True))

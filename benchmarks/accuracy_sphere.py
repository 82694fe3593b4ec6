"""Errors of slerp and the stereographic projection in float32, ours and those of plain formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mpmath import mp
from torch import Tensor

from flowkernels import ops
from tests.ops.test_slerp_accuracy import Truth as SlerpTruth
from tests.ops.test_slerp_accuracy import pairs
from tests.ops.test_stereographic_accuracy import DIGITS, LENGTHS, exact, points
from tests.ops.test_stereographic_accuracy import Truth as StereographicTruth

from . import plain

Row = tuple[str, list[float]]
ANGLES: dict[str, float | str] = {
    "1e-6": 1e-6, "1e-3": 1e-3, "0.03": 0.03, "0.3": 0.3, "random": "random",
    "pi - 1e-2": np.pi - 1e-2, "pi - 1e-5": np.pi - 1e-5,
}  # fmt: skip
DIMS = (3, 128, 785)


def lerp_near_0(a: Tensor, b: Tensor, t: float) -> Tensor:
    """As in image pipelines: linear above a cosine of 0.9995, otherwise by acos."""
    cosine = (a * b).sum(-1, keepdim=True)
    omega = torch.acos(cosine)
    arc = (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / torch.sin(omega)
    return torch.where(cosine.abs() > 0.9995, (1 - t) * a + t * b, arc)


def slerp_rows() -> tuple[list[str], list[Row]]:
    """Headings, and for each method the largest error at each angle over three dimensions."""
    ways: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
        "flowkernels": ops.slerp,
        "acos, clamped": plain.slerp,
        "acos, lerp where the cosine passes 0.9995": lerp_near_0,
    }
    worst = {name: [0.0] * len(ANGLES) for name in ways}
    for column, angle in enumerate(ANGLES.values()):
        for dim in DIMS:
            a, b = pairs(dim, angle, 2).float()
            for t in (0.3, 0.999):
                got = {name: way(a, b, t).double().numpy() for name, way in ways.items()}
                with mp.workdps(60):
                    want = np.stack([SlerpTruth(x, y).value(t) for x, y in zip(a, b, strict=True)])
                for name, values in got.items():
                    worst[name][column] = max(worst[name][column], _largest(np.abs(values - want)))
    return list(ANGLES), list(worst.items())


def _largest(error: np.ndarray) -> float:
    """The largest element; infinite if an element is not finite."""
    return float(error.max()) if np.isfinite(error).all() else np.inf


def stereographic_rows() -> tuple[list[str], list[Row]]:
    """Errors of the image's coordinates, of log det, and of the round trip."""
    bounds = {"to 1e3": 1e3, "to 1e15": 1e15, "to 1e30": 1.1e30}
    headings = [f"{what}, {reach}" for what in ("z rho", "log det", "round trip")
                for reach in bounds]  # fmt: skip
    ways = {
        "flowkernels": (ops.stereographic, ops.stereographic_inverse),
        "plain": (plain.stereographic, plain.stereographic_inverse),
    }
    lengths = np.array(LENGTHS[torch.float32])
    rows = []
    for name, (there, back) in ways.items():
        found = np.zeros((3, len(lengths)))
        for dim in (3, 40):
            z = points(dim, torch.float32)
            s, log_det = there(z)
            again = back(s)[0].double().numpy()
            for k in range(len(z)):
                with mp.workdps(DIGITS):
                    truth = StereographicTruth(exact(z[k]))
                    head = np.array([float(x) for x in truth.head])
                    exact_log_det = float(truth.log_det)
                here = z[k].double().numpy()
                error = (
                    np.abs(s[k, :-1].double().numpy() - head).max() / np.abs(head).max(),
                    abs(log_det[k].item() - exact_log_det) / max(abs(exact_log_det), dim),
                    np.abs(again[k] - here).max() / np.abs(here).max(),
                )
                found[:, k] = np.maximum(
                    found[:, k], np.nan_to_num(error, nan=np.inf, posinf=np.inf)
                )
        rows.append(
            (name, [float(found[i, (lengths <= b) & (lengths >= 1e-30)].max())
                    for i in range(3) for b in bounds.values()])
        )  # fmt: skip
    return headings, rows

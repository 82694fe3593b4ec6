"""The ops beside their definitions on a device, without pytest.

    python -m benchmarks.gpu.parity [--device cuda] [--every 3] [--dtypes float32 bfloat16]

Values and gradients of every case of the test-suite, on the scale of the tests; exits with 1
where something differs. Small enough for compute-sanitizer.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from tests.ops.case import ULPS, Case, Sample
from tests.ops.cases import CASES


def _near(case: Case, got: Tensor, want: Tensor, factor: float) -> str | None:
    if got.shape != want.shape:
        return f"shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    if not want.numel():
        return None
    ulps = factor * (case.ulps.get(got.dtype) or ULPS[got.dtype])
    info = torch.finfo(got.dtype)
    scale = max(want.abs().max().item(), info.tiny)
    error = (got.double() - want).abs().max().item()
    allowed = ulps * info.eps * scale
    return None if error <= allowed else f"error {error:.3g}, allowed {allowed:.3g}"


def _cotangents(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(
        (torch.arange(o.numel(), dtype=torch.float64, device=o.device) + 0.5)
        .sin()
        .reshape(o.shape)
        .to(o.dtype)
        for o in outputs
    )


def problem(case: Case, sample: Sample) -> str | None:
    """What is wrong with the values or gradients of one call, if anything."""
    leaves, exact = sample.leaves(), sample.to(torch.float64).leaves()
    got, want = case.outputs(case.call, leaves), case.outputs(case.reference, exact)
    given = _cotangents(got)
    got_grads = torch.autograd.grad(got, leaves.tensors, given)
    want_grads = torch.autograd.grad(want, exact.tensors, tuple(g.double() for g in given))
    for what, ours, theirs, factor in (
        ("output", got, want, 1.0),
        ("gradient", got_grads, want_grads, 4.0),
    ):
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if found := _near(case, a.detach(), b.detach(), factor):
                return f"{what} {i}: {found}"
    return None


def check(device: str, dtypes: list[str], every: int = 1) -> dict[str, list[str]]:
    """What is wrong, by the op's name; a name without problems is one that was checked."""
    found: dict[str, list[str]] = {}
    for case in CASES:
        problems = found.setdefault(case.op, [])
        for sample in case.samples()[::every]:
            for dtype in dtypes:
                try:
                    what = problem(case, sample.to(getattr(torch, dtype)).on(device))
                except Exception as error:
                    what = f"{type(error).__name__}: {error}"
                    if "CUDA error" in str(error):  # nothing runs after it
                        problems.append(f"{sample.label}, {dtype}: {what}")
                        return found
                if what:
                    problems.append(f"{sample.label}, {dtype}: {what}")
    return found


def main() -> int:
    """Checks and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--every", type=int, default=1, help="every how many samples")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16", "float64"])
    chosen = parser.parse_args()
    found = check(chosen.device, chosen.dtypes, chosen.every)
    for op, problems in found.items():
        print(f"{op}: {len(problems)} problems")
        for line in problems[:20]:
            print(f"  FAILED {line}")
    return 1 if any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

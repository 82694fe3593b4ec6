"""Sizes at the edge: more than 2^31 elements, 10^7 rows of 2, one row of 10^8, nothing at all.

Each trial runs in a process of its own that may use 10 GiB, and compares with the same op on small
slices. What would not fit is made of one row or one value that is repeated without being copied.

    python -m tests.reliability.limits TRIAL OP
"""

from __future__ import annotations

import itertools
import math
import os
import resource
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops._declaration import PUBLIC, PublicOp

from ..ops.case import ALL_DTYPES
from . import calls
from .campaign import Campaign, Outcome

ROOT = Path(__file__).parents[2]
GIBIBYTE = 2**30
ALLOWED = 10 * GIBIBYTE
BEYOND = 2**31
EMPTY = {
    "rows": [(0, 3), (3, 0), (0, 0), (2, 0, 3), (0,)],
    "images": [(0, 4), (3, 0), (0, 0), (0, 2, 4, 4), (2, 2, 0, 4), (2, 0, 3, 3)],
    "elements": [(0,), (0, 3), (3, 0), (2, 0, 5)],
    "matrices": [(0, 3), (2, 0), (0, 0)],
    "networks": [(0, 4), (5, 0), (0, 0)],
}  # fmt: skip


def tile(base: Tensor, times: int) -> Tensor:
    """A row of `base`, repeated; 256 MB at a time are held twice."""
    out = torch.empty(base.numel() * times, dtype=base.dtype)
    out.view(times, -1).copy_(base.expand(times, -1))
    return out


def expect(got: Tensor, want: Tensor, what: str, rtol: float, atol: float = 0.0) -> None:
    """Values near each other, in the double of their precision."""
    torch.testing.assert_close(
        got.double(), want.double(), rtol=rtol, atol=atol, msg=lambda m: f"{what}: {m}"
    )


def expect_repeated(got: Tensor, want: Tensor, what: str) -> None:
    """Every row (or piece of a row) of `got` has the bits of `want`; piece by piece."""
    pieces = got.reshape(-1, want.numel())
    for piece in pieces.split(max(2**26 // want.numel(), 1)):
        assert bool((piece == want.reshape(1, -1)).all()), f"{what}: not what a slice of it gives"


# ---- many rows ---------------------------------------------------------------------


def _one_row(op: PublicOp, width: int, dtype: torch.dtype) -> calls.Call:
    size = (1, width) if op.inputs.sizes in ("rows", "images") else (1,)
    return calls.of_size(op, size, dtype)


def _repeated(tensors: tuple[Tensor, ...], rows: int) -> tuple[Tensor, ...]:
    """Batches of one as batches of many, without memory of their own."""
    return tuple(t.expand(rows, *t.shape[1:]) if t.ndim and t.shape[0] == 1 else t for t in tensors)


def many_rows(name: str, width: int = 6, elements: int = BEYOND) -> None:
    """More than 2^31 elements in many rows: bfloat16, forward."""
    op = PUBLIC[name]
    if op.random or "seed" in op.inputs.options((1, width)):
        rows, width = elements // 64 + 3, 64
        drawn = calls.of_size(op, (rows, width), torch.bfloat16)
        for part in drawn.function(*drawn.tensors).split(2**20):
            length = part.float().norm(dim=-1)
            assert bool(((length - 1).abs() < 0.02).all()), f"{name}: not of unit length"
        return
    small = _one_row(op, width, torch.bfloat16)
    want = small.function(*small.tensors)
    wants = want if isinstance(want, tuple) else (want,)
    largest = max(t.numel() for t in (*small.tensors, *wants))
    rows = elements // largest + 3
    out = small.function(*_repeated(small.tensors, rows))
    for i, got in enumerate(out if isinstance(out, tuple) else (out,)):
        if got.shape == wants[i].shape:  # a sum over rows, whose roundings are all the same
            expect(got, wants[i].double() * rows, f"{name}, output {i}, {rows} rows", rtol=3e-5)
        else:
            expect_repeated(got, wants[i], f"{name}, output {i}, {rows} rows")


def gradients_of_many_rows(name: str, width: int = 6, elements: int = BEYOND) -> None:
    """A gradient of more than 2^31 elements in many rows: bfloat16."""
    small = _one_row(PUBLIC[name], width, torch.bfloat16)
    rows = elements // max(t.numel() for t in small.tensors) + 3
    grads = []
    for tensors in (small.tensors, _repeated(small.tensors, rows)):
        leaves = [t.detach().requires_grad_() for t in tensors]
        out = small.function(*leaves)
        outputs = out if isinstance(out, tuple) else (out,)
        weights = [torch.full((1,), 0.75, dtype=o.dtype).expand(o.shape) for o in outputs]
        grads.append(torch.autograd.grad(outputs, leaves, weights))
    for i, (want, got) in enumerate(zip(*grads, strict=True)):
        if got.shape[:1] == (rows,):
            expect_repeated(got, want, f"{name}, gradient {i}, {rows} rows")


def rows_of_two(name: str, rows: int = 10_000_000) -> None:
    """10^7 rows of 2: float32, forward and backward, compared with slices."""
    op = PUBLIC[name]
    call = calls.of_size(op, (rows, 2), torch.float32)
    results = call()
    with torch.no_grad():
        outputs = call.function(*call.tensors)
    count = len(outputs) if isinstance(outputs, tuple) else 1
    parts = [slice(0, 1000), slice(rows - 1000, rows)]
    if "seed" in op.inputs.options((rows, 2)):
        parts = parts[:1]  # a row's random numbers are those of its place
    if op.random:
        parts = []
        assert bool(((outputs.norm(dim=-1) - 1).abs() < 1e-6).all()), f"{name}: not of unit length"
    for part in parts:
        tensors = tuple(t[part] if t.ndim and t.shape[0] == rows else t for t in call.tensors)
        want = calls.Call(name, "a slice", call.function, tensors)()
        for i in range(count):
            if results[i].shape[:1] != (rows,):  # a sum over the rows
                assert bool(results[i].isfinite().all()), f"{name}: output {i} is not finite"
                continue
            expect_repeated(results[i][part], want[i], f"{name}, rows {part.start} on")
    for i, (grad, tensor) in enumerate(zip(results[count:], call.tensors, strict=True)):
        assert grad.shape == tensor.shape, f"{name}: gradient {i} of shape {tuple(grad.shape)}"
        assert bool(grad.isfinite().all()), f"{name}: gradient {i} is not finite"


# ---- one row -----------------------------------------------------------------------

# A row of `times` pieces: a power of 4, so that its root scales a piece without rounding.
Row = tuple[Tensor, int]


def row_of(length: int, dtype: torch.dtype) -> Row:
    """A random row of at least `length` elements."""
    times = 1024 if length > 2**30 else 256
    piece = -(-length // times) + (1 if length % times == 0 and length > 2**30 else 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return (torch.randn(piece) + 0.1).to(dtype), times


def _projection(row: Row) -> None:
    """The projection of z depends on |z|^2 only: a piece times sqrt(times) has the same."""
    piece, times = row
    root = math.isqrt(times)
    small = piece / math.sqrt(piece.numel()) / root
    want, want_log_det = ops.stereographic((small * root)[None])
    out, log_det = ops.stereographic(tile(small, times)[None])
    eps = torch.finfo(piece.dtype).eps
    for part in out[0, :-1].view(times, -1)[:: times - 1]:
        expect(part * root, want[0, :-1], "stereographic", 2 * eps, 1e-6)
    expect(out[0, -1], want[0, -1], "stereographic, the last coordinate", 2 * eps, 1e-6)
    expect(log_det, want_log_det * times, "stereographic, log-det", 1e-3)


def _log_det(row: Row) -> None:
    piece, times = row
    want = ops.log_det_diagonal(piece.double()[None]) * times
    got = ops.log_det_diagonal(tile(piece, times)[None])
    expect(got, want, "log_det_diagonal", 1e-4)


def _slerp(row: Row) -> None:
    """Directions count only: a piece of the result is the piece's own, over sqrt(times)."""
    piece, times = row
    other = piece.flip(0).contiguous()
    want = ops.slerp(piece[None], other[None], 0.3)[0]
    out = ops.slerp(tile(piece, times)[None], other.repeat(times)[None], 0.3)
    eps = torch.finfo(piece.dtype).eps
    for part in out[0].view(times, -1)[:: times - 1]:
        largest = want.abs().max().item()
        expect(part * math.isqrt(times), want, "slerp", 2 * eps, 16 * eps * largest)


def _coupling(row: Row) -> None:
    piece, times = row
    params = torch.full((1, 1), 0.5, dtype=piece.dtype)
    want, log_det = ops.affine_coupling(piece[None], params.expand(1, 2 * piece.numel()))
    x = tile(piece, times)[None]
    out, total = ops.affine_coupling(x, params.expand(1, 2 * x.numel()))
    expect_repeated(out, want, "affine_coupling")
    expect(total, log_det * times, "affine_coupling, log-det", 1e-4)


def _density(row: Row) -> None:
    """peak - kappa |x - loc|^2 / 2, with a mean direction of one value."""
    piece, times = row
    p = piece.numel() * times
    small = (piece.double() / piece.double().norm() / math.sqrt(times)).to(piece.dtype)
    loc = torch.full((1,), p**-0.5, dtype=piece.dtype)
    kappa = torch.tensor(1000.0)
    square = (small.double() - loc.double()).square().sum() * times
    want = ops.vmf_log_peak(kappa.double(), p) - kappa.double() * square / 2
    got = ops.vmf_log_prob(tile(small, times), loc.expand(p), kappa)
    expect(got, want, "vmf_log_prob", 1e-5)


ONE_ROW: dict[str, Callable[[Row], None]] = {
    "affine_coupling": _coupling,
    "log_det_diagonal": _log_det,
    "slerp": _slerp,
    "stereographic": _projection,
    "vmf_log_prob": _density,
}
# Whose results and gradients together are not more than the process may use.
GRADIENTS = ("affine_coupling", "log_det_diagonal")
# More than the process may use.
TOO_LARGE = {"slerp": "two rows of 2^31 elements and their result take 12 GiB"}
ELEMENTS_TOO_LARGE = "2^31 float32 results of elements take 8 GiB, and their arguments 4"


def row_beyond(name: str) -> None:
    """One row of more than 2^31 elements: bfloat16, forward."""
    ONE_ROW[name](row_of(BEYOND, torch.bfloat16))


def long_row(name: str) -> None:
    """One row of 10^8 elements: float32, forward."""
    ONE_ROW[name](row_of(100_000_000, torch.float32))


# ---- nothing -----------------------------------------------------------------------


def empty(name: str) -> None:
    """Every dimension empty, every dtype, forward and backward: a result or an error by name."""
    op = PUBLIC[name]
    for size, dtype in itertools.product(EMPTY[op.inputs.sizes], ALL_DTYPES):
        try:
            call = calls.of_size(op, size, dtype)
        except (ValueError, RuntimeError, IndexError, ZeroDivisionError):
            continue  # the declaration makes no arguments of this size
        try:
            results = call()
        except (ValueError, TypeError) as error:
            message = str(error)
            assert name in message and "`" in message, f"{name} {size}: {message}"
            continue
        for result in results:
            assert bool(result.isfinite().all()), f"{name} {size}: {result}"


TRIALS: dict[str, Callable[[str], None]] = {
    f.__name__: f
    for f in (many_rows, gradients_of_many_rows, rows_of_two, row_beyond, long_row, empty)
}


def trials() -> list[tuple[str, str]]:
    """What is tried: trial and op."""
    found = [("empty", name) for name in PUBLIC]
    by_rows = [n for n, op in PUBLIC.items() if op.inputs.sizes in ("rows", "images")]
    found += [("rows_of_two", name) for name in by_rows]
    found += [("long_row", name) for name in ONE_ROW]
    found += [("row_beyond", name) for name in ONE_ROW if name not in TOO_LARGE]
    found += [("many_rows", name) for name in by_rows]
    found += [("gradients_of_many_rows", name) for name in GRADIENTS]
    return found


def attempt(trial: str, name: str, seconds: float = 900) -> str | None:
    """What went wrong in a process of its own; None if nothing did."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.reliability.limits", trial, name]
    try:
        run = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=seconds,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{trial} {name}: no end within {seconds:g} s"
    lines = run.stdout.strip().splitlines()
    if run.returncode == 0:
        return None
    return f"{trial} {name}: {' '.join(lines[-6:]) if lines else f'status {run.returncode}'}"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--only", nargs="*", default=[], choices=list(TRIALS), help="trials")


def _run(arguments: Namespace) -> Outcome:
    chosen = [t for t in trials() if not arguments.only or t[0] in arguments.only]
    findings: list[str] = []
    tried: dict[str, list[str]] = {}
    for trial, name in chosen:
        begin = time.monotonic()
        problem = attempt(trial, name)
        print(f"{trial} {name}: {time.monotonic() - begin:.0f} s, {problem or 'ok'}", flush=True)
        findings += [problem] if problem else []
        what = (TRIALS[trial].__doc__ or "").splitlines()[0].rstrip(".")
        tried.setdefault(what, []).append(name)
    skipped = [f"one row of more than 2^31 elements, {op}: {why}" for op, why in TOO_LARGE.items()]
    skipped.append("gradients of more than 2^31 elements, other ops: they take more than 10 GiB")
    skipped.append(f"log_iv and the other functions of elements: {ELEMENTS_TOO_LARGE}")
    return Outcome({w: f"{len(names)} ops" for w, names in tried.items()}, findings, skipped)


CAMPAIGN = Campaign(
    "limits",
    "more than 2^31 elements, 10^7 rows of 2, a row of 10^8, empty tensors",
    _add_arguments,
    _run,
)

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (ALLOWED, ALLOWED))
    torch.set_num_threads(1)
    TRIALS[sys.argv[1]](sys.argv[2])

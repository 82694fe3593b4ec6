"""What vmf_sample promises beside the law itself (tests/distributions has that)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference
from flowkernels.ops.composite import philox as composite_philox
from flowkernels.ops.composite import vmf_sample as composite
from flowkernels.ops.reference.philox import philox

DIMS = (2, 3, 4, 33, 64, 785, 3073)
KAPPAS = (0.0, 1e-3, 1.0, 50.0, 785.0, 1e6)


def axis(p: int, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(p)
    loc = torch.randn(*batch, p, dtype=torch.float64, generator=g)
    return (loc / loc.norm(dim=-1, keepdim=True)).to(dtype)


@pytest.mark.parametrize(
    ("counter", "key", "want"),
    [
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, -1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
@pytest.mark.parametrize("function", [philox, composite_philox.philox], ids=["oracle", "composite"])
def test_known_answers_of_philox(
    function: Any, counter: tuple[int, ...], key: int, want: str
) -> None:
    """Those published with the generator (Salmon et al., Random123, kat_vectors)."""
    words = function(tuple(torch.tensor(c) for c in counter), torch.tensor(key))
    assert " ".join(f"{int(w):08x}" for w in words) == want


@pytest.mark.parametrize("p", DIMS)
@pytest.mark.parametrize(
    "definition", [reference.vmf_sample_cosine, composite.vmf_sample_cosine],
    ids=["oracle", "composite"],
)  # fmt: skip
def test_cosines_and_paths_are_the_references(p: int, definition: Any) -> None:
    seed = torch.tensor(2**40 + p)
    kappa = torch.tensor(KAPPAS, dtype=torch.float64).expand(40, -1)
    got = torch.ops.flowkernels.vmf_sample_cosine(kappa, seed, p, True)
    want = definition(kappa, seed, p, True)
    for name, a, b, allowed in zip(
        ("cosine", "sine", "slope", "bend"), got, want, (1e-14, 1e-13, 1e-11, 1e-8), strict=True
    ):
        scale = b.abs().amax(0)
        worst = ((a - b).abs() / scale).max().item()
        assert worst < allowed, f"{name}: {worst:.2g}"


def test_precisions_share_their_draws() -> None:
    for p in (2, 5, 64, 785):
        loc = axis(p)
        draws = []
        for dtype in (torch.float64, torch.float32):
            torch.manual_seed(p)
            draws.append(ops.vmf_sample(loc.to(dtype), 20.0, (50,)).double())
        assert (draws[0] - draws[1]).abs().max() < 2e-6


def test_threads_and_instruction_sets_do_not_matter() -> None:
    loc, results = axis(40, dtype=torch.float32), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        results.append(ops.vmf_sample(loc, 10.0, (3000,)))
    torch.set_num_threads(1)
    assert torch.equal(*results)


def test_generator_and_manual_seed_repeat_draws() -> None:
    loc = axis(5)
    a = ops.vmf_sample(loc, 3.0, (4,), generator=torch.Generator().manual_seed(1))
    b = ops.vmf_sample(loc, 3.0, (4,), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(9)
    c = ops.vmf_sample(loc, 3.0, (4,))
    d = ops.vmf_sample(loc, 3.0, (4,))
    torch.manual_seed(9)
    assert torch.equal(a, b)
    assert torch.equal(c, ops.vmf_sample(loc, 3.0, (4,)))
    assert not torch.equal(c, d)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiles_to_one_graph(backend: str) -> None:
    torch._dynamo.reset()

    def loss(loc: Tensor, kappa: Tensor) -> Tensor:
        x = ops.vmf_sample(loc, kappa, (7,))
        return (x * torch.arange(x.numel()).reshape(x.shape).cos()).sum()

    loc, kappa = axis(6, 3).requires_grad_(), torch.full((3,), 4.0, dtype=torch.float64)
    kappa.requires_grad_()
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    if backend == "inductor":  # draws its seed in another way than eager torch
        grads = torch.autograd.grad(compiled(loc, kappa), (loc, kappa))
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in grads)
        return
    torch.manual_seed(3)
    got = torch.autograd.grad(compiled(loc, kappa), (loc, kappa))
    torch.manual_seed(3)
    want = torch.autograd.grad(loss(loc, kappa), (loc, kappa))
    torch.testing.assert_close(got, want)


def test_torch_func_and_higher_derivatives() -> None:
    loc, kappa = axis(4), torch.tensor(2.5, dtype=torch.float64)

    def value(k: Tensor) -> Tensor:
        torch.manual_seed(5)
        return (ops.vmf_sample(loc, k, (6,)) @ loc).sin().sum()

    k = kappa.clone().requires_grad_()
    (first,) = torch.autograd.grad(value(k), k, create_graph=True)
    (second,) = torch.autograd.grad(first, k)
    torch.testing.assert_close(torch.func.grad(value)(kappa), first.detach())
    torch.testing.assert_close(torch.func.jvp(value, (kappa,), (kappa * 0 + 1,))[1], first.detach())
    torch.testing.assert_close(torch.func.grad(torch.func.grad(value))(kappa), second)
    hessian = torch.func.jacfwd(torch.func.jacrev(value), randomness="same")
    torch.testing.assert_close(hessian(kappa), second)


def test_second_derivatives_are_unbiased() -> None:
    """E[d^2 cos / d kappa^2] = A''(kappa)."""
    for p, kappa in ((2, 0.5), (3, 4.0), (20, 15.0), (785, 785.0)):
        k = torch.full((), kappa, dtype=torch.float64, requires_grad=True)
        torch.manual_seed(p)
        rows = k.expand(200_000)
        _, sine, _, bend = torch.ops.flowkernels.vmf_sample_cosine(
            rows.detach(), torch.randint(2**62, ()), p, True
        )
        path = sine.square() * bend
        first = torch.autograd.grad(ops.vmf_mean_resultant(k, p), k, create_graph=True)[0]
        want = torch.autograd.grad(first, k)[0]
        error = (path.mean() - want).abs()
        assert error < 5 * path.std() / path.numel() ** 0.5, (p, kappa)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_vmap(randomness: str) -> None:
    loc, kappas = axis(5), torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    draw = torch.vmap(lambda k: ops.vmf_sample(loc, k, (4,)), randomness=randomness)
    x = draw(kappas)
    assert x.shape == (3, 4, 5)
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64))
    assert torch.equal(x[0], x[1]) == (randomness == "same")
    assert not torch.equal(x[0, 0], x[0, 1])


def test_vmap_asks_what_randomness_means() -> None:
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(lambda k: ops.vmf_sample(axis(3), k))(torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_types_keep_the_direction(dtype: torch.dtype) -> None:
    x = ops.vmf_sample(axis(64, dtype=dtype), 200.0, (20,))
    assert x.dtype == dtype
    assert (x.double().norm(dim=-1) - 1).abs().max() < 4 * torch.finfo(dtype).eps


def test_extremes() -> None:
    loc = axis(4)
    nothing = ops.vmf_sample(loc, 3.0, (0,))
    assert nothing.shape == (0, 4)
    assert torch.equal(ops.vmf_sample(loc, float("inf")), loc)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.vmf_sample(torch.eye(3), -1.0), ValueError, ("`concentration`", "-1")),
        (lambda: ops.vmf_sample(torch.ones(3, 1), 1.0), ValueError, ("`loc`", "(3, 1)")),
        (lambda: ops.vmf_sample(torch.eye(3).int(), 1.0), TypeError, ("`loc`", "int32")),
        (lambda: ops.vmf_sample([1.0, 0.0], 1.0), TypeError, ("`loc`", "list")),
        (lambda: ops.vmf_sample(torch.eye(3), "a"), TypeError, ("`concentration`", "str")),
        (lambda: ops.vmf_sample(torch.eye(3), 1.0, 3), TypeError, ("`sample_shape`", "3")),
        (lambda: ops.vmf_sample(torch.eye(3), 1.0, (-1,)), ValueError, ("`sample_shape`", "-1")),
        (
            lambda: ops.vmf_sample(torch.eye(3), torch.ones(3, device="meta")),
            ValueError,
            ("`concentration`", "meta"),
        ),
        (
            lambda: ops.vmf_sample(torch.eye(3), torch.ones(2)),
            ValueError,
            ("`concentration`", "(2,)"),
        ),
        (
            lambda: ops.vmf_sample(torch.eye(3), torch.ones(3, dtype=torch.int64)),
            TypeError,
            ("`concentration`", "int64"),
        ),
    ],
)
def test_bad_input(call: Any, error: type[Exception], words: tuple[str, ...]) -> None:
    with pytest.raises(error) as caught:
        call()
    for word in ("vmf_sample", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("kappa", [float("nan"), -1.0])
def test_concentrations_out_of_the_domain(kappa: float) -> None:
    loc = torch.tensor([0.0, 0.0, 1.0])
    for concentration in (kappa, torch.tensor(kappa), torch.tensor([1.0, kappa])):
        with pytest.raises(ValueError, match="`concentration` must be >= 0"):
            ops.vmf_sample(loc, concentration, (2,))

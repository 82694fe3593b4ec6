"""The one rule of broadcasting: batches broadcast, rows do not; numbers may be lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowkernels import ops


def _unit(*shape: int) -> Tensor:
    torch.manual_seed(sum(shape))
    return torch.nn.functional.normalize(torch.randn(shape, dtype=torch.float64), dim=-1)


def _positive(*shape: int) -> Tensor:
    torch.manual_seed(sum(shape))
    return torch.rand(shape, dtype=torch.float64) * 5 + 0.5


# The op, its arguments, and the shapes to which they broadcast.
CASES: dict[str, tuple[Callable[..., Tensor], list[Tensor], list[tuple[int, ...]]]] = {
    "slerp, a for all": (
        lambda a, b: ops.slerp(a, b, 0.3), [_unit(8), _unit(3, 8)], [(3, 8), (3, 8)]),
    "slerp, pairs of all with all": (
        lambda a, b: ops.slerp(a, b, 0.3), [_unit(2, 1, 8), _unit(3, 8)], [(2, 3, 8)] * 2),
    "slerp, fractions of one pair's batch": (
        ops.slerp, [_unit(8), _unit(8), _positive(3, 2)], [(3, 8), (3, 8), (3, 2)]),
    "slerp, the same fractions for rows": (
        ops.slerp, [_unit(3, 8), _unit(3, 8), _positive(1, 4)], [(3, 8), (3, 8), (3, 4)]),
    "vmf_log_prob, loc for all": (
        ops.vmf_log_prob, [_unit(4, 5), _unit(5), _positive()], [(4, 5), (4, 5), (4,)]),
    "vmf_log_prob, x for all": (
        ops.vmf_log_prob, [_unit(5), _unit(2, 3, 5), _positive(3)], [(2, 3, 5), (2, 3, 5), (2, 3)]),
    "vmf_log_prob, all with all": (
        ops.vmf_log_prob, [_unit(4, 1, 5), _unit(3, 5), _positive(3)],
        [(4, 3, 5), (4, 3, 5), (4, 3)]),
    "stereographic_vmf_log_prob": (
        ops.stereographic_vmf_log_prob, [_unit(4, 1, 5), _unit(3, 6), _positive(4, 1)],
        [(4, 3, 5), (4, 3, 6), (4, 3)]),
    "log_iv": (
        lambda x: ops.log_iv(torch.tensor([[0.5], [2.0]], dtype=torch.float64), x),
        [_positive(3)], [(2, 3)]),
    "iv_ratio": (
        lambda x: ops.iv_ratio(torch.tensor([[0.5], [2.0]], dtype=torch.float64), x),
        [_positive(3)], [(2, 3)]),
    "tangent_normal": (
        lambda loc, c, s: ops.tangent_normal(loc, c, s, torch.tensor(5)),
        [_unit(5), torch.full((3,), 0.6).double(), torch.full((3,), 0.8).double()],
        [(3, 5), (3,), (3,)]),
}  # fmt: skip
each = pytest.mark.parametrize("name", CASES)


@each
def test_values_and_gradients_are_those_of_expanded_arguments(name: str) -> None:
    op, given, shapes = CASES[name]
    leaves = [t.clone().requires_grad_() for t in given]
    whole = [t.expand(s) if t.ndim <= len(s) else t for t, s in zip(leaves, shapes, strict=True)]
    mine, expected = op(*leaves), op(*whole)
    assert_close(mine, expected)
    torch.manual_seed(0)
    weight = torch.randn_like(mine)
    grads = torch.autograd.grad(mine, leaves, weight)
    assert_close(grads, torch.autograd.grad(expected, leaves, weight))
    assert [g.shape for g in grads] == [t.shape for t in given]


@each
def test_in_a_compiled_graph(name: str) -> None:
    op, given, _ = CASES[name]
    compiled = torch.compile(op, backend="eager", fullgraph=True)
    assert_close(compiled(*given), op(*given))


LISTS: dict[str, tuple[Callable[[Any], Tensor], Any]] = {
    "slerp": (lambda t: ops.slerp(_unit(8), _unit(9)[:8], t), [0.0, 0.25, 1]),
    "slerp for rows": (
        lambda t: ops.slerp(_unit(2, 8), _unit(3, 8)[:2], t),
        [[0.1, 0.2], [0.3, 1]],
    ),
    "vmf_log_prob": (lambda k: ops.vmf_log_prob(_unit(3, 5), _unit(5), k), [1.0, 2, 3.5]),
    "log_iv": (lambda v: ops.log_iv(v, _positive(2)), [0.5, 3]),
    "log_iv, x": (lambda x: ops.log_iv(2.5, x), [[0.5], [3]]),
    "vmf_log_normalizer": (lambda k: ops.vmf_log_normalizer(k, 4), [0.5, 3]),
    "vmf_concentration": (lambda r: ops.vmf_concentration(r, 4), [0.25, 0.5]),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_tensors(name: str) -> None:
    function, values = LISTS[name]
    assert_close(function(values), function(torch.tensor(values, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: ops.slerp(_unit(2, 8), _unit(3, 8), 0.5), ("slerp", "`b`", "(3,)", "(2,)")),
        (lambda: ops.slerp(_unit(8), _unit(3, 7), 0.5), ("slerp", "`b`", "[3, 7]")),
        (lambda: ops.slerp(_unit(2, 8), _unit(2, 8), _positive(3, 4)), ("slerp", "`t`", "(3,)")),
        (lambda: ops.slerp(_unit(8), _unit(8), [[0.1], [0.2, 0.3]]), ("slerp", "`t`")),
        (lambda: ops.vmf_log_prob(_unit(2, 5), _unit(3, 5), 1.0), ("vmf_log_prob", "`loc`")),
        (lambda: ops.log_iv(_positive(2), _positive(3)), ("log_iv", "`x`", "(3,)", "(2,)")),
        (lambda: ops.tangent_normal(_unit(2, 5), _positive(3), _positive(3)), ("`loc`",)),
    ],
)
def test_what_does_not_broadcast_is_named(call: Callable[[], Any], names: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert all(name in str(error.value) for name in names), error.value

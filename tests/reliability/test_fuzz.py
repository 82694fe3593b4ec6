"""The short form of the fuzzing campaign, and that its judge sees what is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from torch.distributions import Distribution

from flowkernels import ops
from flowkernels.ops import reference

from .fuzzer import values
from .fuzzer.call import Call
from .fuzzer.child import make
from .fuzzer.verdict import judge

CALLS = 1500  # of another seed than the campaign's


@pytest.fixture
def _validated() -> Iterator[None]:
    """As distributions are by default; torch.compile's tests leave the checks off in a worker."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)


@pytest.mark.usefixtures("_validated")
def test_random_calls_work_or_say_what_is_wrong() -> None:
    found = []
    for number in range(CALLS):
        call, rng = make(1, number)
        _, findings = judge(call, rng)
        found += [f"call {number}: {finding}\n  {call.describe()}" for finding in findings]
    assert not found, "\n".join(found)


def test_a_call_is_made_of_its_number() -> None:
    assert make(3, 17)[0].describe() == make(3, 17)[0].describe()
    assert len({make(3, n)[0].describe() for n in range(50)}) > 40


def _call(function: object, legal: bool = True) -> Call:
    arguments = {"z": torch.randn(5, 3)}
    call = Call("stereographic", function, arguments, legal=legal, positional=1)  # type: ignore[arg-type]
    call.reference, call.plain = reference.stereographic, dict(arguments)
    return call


def _raise(error: Exception) -> object:
    def function(z: object) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "legal", "finding"),
    [
        (lambda z: tuple(t * (1 + 1e-4) for t in ops.stereographic(z)), True, "wrong, at"),
        (lambda z: (z, ops.stereographic(z)[1]), True, "has shape"),
        (lambda z: (ops.stereographic(z)[0].T.contiguous().T, ops.stereographic(z)[1]), True,
         "not contiguous"),
        (lambda z: ops.stereographic(z.add_(1)), True, "changed its argument"),
        (_raise(ValueError("stereographic: `z` must be short")), True, "refused a legal call"),
        (_raise(ValueError("`z` must be short")), False, "does not name it"),
        (_raise(ValueError("stereographic: too long")), False, "names no argument"),
        (_raise(IndexError("stereographic: `z`")), False, "raised IndexError"),
        (_raise(TypeError("stereographic(): incompatible function arguments. `z`")), False,
         "another library's"),
    ],
)  # fmt: skip
def test_the_judge_finds(function: object, legal: bool, finding: str) -> None:
    _, findings = judge(_call(function, legal), random.Random(0))
    assert any(finding in each for each in findings)


def test_the_judge_passes_what_is_right() -> None:
    assert judge(_call(ops.stereographic), random.Random(0)) == ("compared", [])
    clear = _call(_raise(ValueError("stereographic: `z` must be short")), legal=False)
    assert judge(clear, random.Random(0)) == ("refused", [])


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.uint8, torch.bool])
def test_what_was_spoiled_can_be_spoiled_again(dtype: torch.dtype) -> None:
    spoiled = torch.ones(2, 3).to(dtype)
    kinds = {values.wrong_tensor(random.Random(seed), spoiled)[0] for seed in range(100)}
    assert "sparse" in kinds
    assert len(kinds) == 11

"""Every op of the extension that is first on Python's path: `python -m ...exercise [quick]`.

Runs in a process with a sanitizer loaded, which reports to stderr or to its log files.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading

import torch

from flowkernels.ops._declaration import PUBLIC
from tests.ops.case import ALL_DTYPES, Sample, strided_variants
from tests.ops.cases import CASES

from .. import calls
from ..calls import Call

# Of moderate size: a sanitized op is slow, but several threads shall share it.
SIZES = {"rows": (9_000, 6), "images": (9_000, 6), "elements": (40_001,), "matrices": (900, 24),
         "networks": (1_500, 24)}  # fmt: skip


def strided() -> list[Call]:
    """The small samples with each tensor in each other layout of memory."""
    found = []
    for case, dtype in itertools.product(CASES, (torch.float32, torch.bfloat16)):
        for sample in (*case.small(), *case.empty()):
            rounded = sample.to(dtype)
            found.append(calls.of_sample(case, sample, dtype))
            for position, tensor in enumerate(rounded.tensors):
                if not tensor.ndim or not tensor.numel():
                    continue
                for layout, view in strided_variants(tensor):
                    tensors = list(rounded.tensors)
                    tensors[position] = view
                    label = f"{sample.label}, argument {position} {layout}"
                    other = Sample(label, tuple(tensors), rounded.options)
                    found.append(
                        Call(str(case), label, lambda *t, c=case, o=other: c.call(*t, **o.options),
                             other.tensors)
                    )  # fmt: skip
    return found


def shared_by_threads() -> list[Call]:
    """Calls that are large enough for several threads each."""
    return [
        calls.of_size(op, SIZES[op.inputs.sizes], dtype)
        for op in PUBLIC.values()
        for dtype in (torch.float32, torch.bfloat16)
    ]


def together(each: list[Call], count: int) -> None:
    """The same calls from several Python threads at once, in other orders."""

    def work(rank: int) -> None:
        for i in range(len(each)):
            each[(i * (2 * rank + 1) + rank) % len(each)]()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Small calls from four threads at once; large ones on three; samples, layouts, errors."""
    quick = sys.argv[1:] == ["quick"]
    torch.set_num_threads(1)
    small = calls.small((torch.float32, torch.bfloat16, torch.float64))
    together(small, 4)  # first: the tables of the Bessel functions are not made yet
    done = 4 * len(small)
    torch.set_num_threads(3)
    for call in shared_by_threads():
        call()
        done += 1
    if not quick:
        torch.set_num_threads(1)
        for call in itertools.chain(calls.of_the_samples(ALL_DTYPES), strided()):
            call()
            done += 1
        for bad in (bad for case in CASES for bad in case.bad()):
            with contextlib.suppress(bad.error):
                bad.call()
            done += 1
    print(f"{done} calls")


if __name__ == "__main__":
    main()

"""Runs calls by their numbers in a process that may die: `child SEED BEGIN END PROGRESS`.

The number of the call in hand is in the file PROGRESS all the time; what is found goes to the
standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import mmap
import random
import resource
import sys
import zlib
from pathlib import Path

import torch

from . import other, public_ops
from .call import Call
from .verdict import judge

MAKERS = (*[public_ops.make] * 14, *[other.dispatched] * 3, other.distribution, other.distribution,
          other.special_function)  # fmt: skip
MEMORY = 12 << 30


def make(seed: int, number: int) -> tuple[Call, random.Random]:
    """Call `number`, whatever was called before."""
    rng = random.Random(f"{seed} {number}")
    torch.manual_seed(zlib.crc32(f"{seed} {number}".encode()))
    return rng.choice(MAKERS)(rng), rng


def main() -> None:
    seed, begin, end = (int(a) for a in sys.argv[1:4])
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with Path(sys.argv[4]).open("r+b") as file:
        progress = mmap.mmap(file.fileno(), 8)
        counts = {"refused": 0, "worked": 0, "compared": 0}
        for number in range(begin, end):
            progress[:] = number.to_bytes(8, "little")
            call, rng = make(seed, number)
            outcome, findings = judge(call, rng)
            counts[outcome] += 1
            for finding in findings:
                found = {"number": number, "call": call.describe(), "target": call.target,
                         "finding": finding}  # fmt: skip
                print(json.dumps(found), flush=True)
        print(json.dumps({"counts": counts}), flush=True)


if __name__ == "__main__":
    main()

"""Memory does not grow: calls of every op forward and backward, and steps of training.

Each op runs in a process of its own. After a warm-up, the resident memory is read at intervals, and
a line is fitted to the second half of the readings: growth is its slope.

    python -m tests.reliability.memory op NAME CALLS
    python -m tests.reliability.memory training NAME STEPS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .campaign import Campaign, Outcome

ROOT = Path(__file__).parents[2]
READINGS = 64
# A leaked object takes at least 16 bytes of the allocator; noise is a page now and then.
BYTES_A_CALL = 16.0
# The gradients alone of the smallest flow here are larger.
BYTES_A_STEP = 256.0


@dataclass(frozen=True)
class Growth:
    """What a run of many calls did to the process's memory."""

    name: str
    calls: int
    bytes_a_call: float
    grown_kb: int  # from the first to the last reading
    seconds: float


def resident() -> int:
    """Bytes of this process's memory that are in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def slope(readings: list[int], calls: int) -> float:
    """Bytes a call, of a line through the second half of the readings."""
    half = readings[len(readings) // 2 :]
    step = calls / (len(readings) - 1)
    middle, mean = (len(half) - 1) / 2, sum(half) / len(half)
    above = sum((i - middle) * (y - mean) for i, y in enumerate(half))
    return above / sum((i - middle) ** 2 for i in range(len(half))) / step


def measure(name: str, call: Callable[[], object], calls: int) -> Growth:
    """Runs a call many times and reads the memory in between."""
    each = max(calls // READINGS, 1)
    for _ in range(min(each, 200)):
        call()
    begin = time.monotonic()
    readings = [resident()]
    for _ in range(READINGS):
        for _ in range(each):
            call()
        readings.append(resident())
    total = each * READINGS
    return Growth(
        name,
        total,
        round(slope(readings, total), 3),
        (readings[-1] - readings[0]) // 1024,
        round(time.monotonic() - begin, 1),
    )


def of_op(name: str, calls: int) -> Growth:
    """Of a public op, forward and backward."""
    import torch

    from flowkernels.ops._declaration import PUBLIC

    from . import calls as every

    torch.set_num_threads(1)
    op = PUBLIC[name]
    call = every.of_size(op, every.SMALL[op.inputs.sizes], torch.float32).prepared()
    return measure(name, call, calls)


def of_training(name: str, steps: int) -> Growth:
    """Of a small flow's training steps."""
    import torch

    from .determinism import CONVOLUTIONS, FLOWS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    flow, data = {**FLOWS, **CONVOLUTIONS}[name]()
    batch = [each[:64] for each in data]
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(-flow.log_prob(*batch).mean())
        optimizer.step()

    return measure(name, step, steps)


def in_a_process(kind: str, name: str, count: int, seconds: float = 7200) -> Growth:
    """The growth of a fresh process."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.reliability.memory", kind, name, str(count)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=seconds,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Growth(**json.loads(run.stdout.splitlines()[-1]))


def finding(growth: Growth, allowed: float) -> list[str]:
    """A line if memory grew."""
    if growth.bytes_a_call < allowed:
        return []
    return [
        f"{growth.name}: memory grows by {growth.bytes_a_call:g} bytes a call, "
        f"{growth.grown_kb} KB in {growth.calls} calls"
    ]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=1_000_000, help="of each op")
    parser.add_argument("--steps", type=int, default=10_000, help="of training each flow")
    parser.add_argument("--ops", nargs="*", default=[], help="only these public ops")


def _run(arguments: Namespace) -> Outcome:
    from flowkernels.ops._declaration import PUBLIC

    from .determinism import CONVOLUTIONS, FLOWS

    ops, findings = {}, []
    for name in arguments.ops or PUBLIC:
        ops[name] = in_a_process("op", name, arguments.calls)
        findings += finding(ops[name], BYTES_A_CALL)
    flows = {}
    for name in (*FLOWS, *CONVOLUTIONS):
        flows[name] = in_a_process("training", name, arguments.steps)
        findings += finding(flows[name], BYTES_A_STEP)
    figures = {
        "ops": len(ops),
        "calls of each, forward and backward": min(g.calls for g in ops.values()),
        "largest growth in bytes a call": max(g.bytes_a_call for g in ops.values()),
        "growth of each op in bytes a call": {n: g.bytes_a_call for n, g in ops.items()},
        "steps of training of each flow": min(g.calls for g in flows.values()),
        "growth of each flow in bytes a step": {n: g.bytes_a_call for n, g in flows.items()},
        "memory grown in KB over all calls": {n: g.grown_kb for n, g in {**ops, **flows}.items()},
    }
    return Outcome(figures, findings)


CAMPAIGN = Campaign(
    "memory",
    "many calls of each op and many training steps without growth of memory",
    _add_arguments,
    _run,
)

if __name__ == "__main__":
    measured = {"op": of_op, "training": of_training}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print(json.dumps(asdict(measured)))

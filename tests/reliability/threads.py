"""Ops from many threads and processes, and beside other users of OpenMP.

    python -m tests.reliability.threads SCENARIO [SETTING...]

runs one scenario in this process and ends with status 0 if every result has the bits of a serial
run; the campaign runs each in a process of its own, so that a crash or a hang is seen.
"""

from __future__ import annotations

import importlib.util
import itertools
import multiprocessing
import os
import random
import subprocess
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .campaign import Campaign, Outcome

if TYPE_CHECKING:
    from .calls import Call

ROOT = Path(__file__).parents[2]
METHODS = ("fork", "spawn", "forkserver")
# What uses OpenMP, by the module to look for.
OTHERS = {"scikit-learn": "sklearn", "numba": "numba"}
OWN = "flowkernels"


def digest() -> list[bytes]:
    """The bits of every op's small and large call, forward and backward."""
    import hashlib

    from . import calls

    return [hashlib.sha256(b"".join(calls.bits(call()))).digest() for call in _calls()]


def _calls() -> list[Call]:
    """Every op's small and large call."""
    import torch

    from flowkernels.ops._declaration import PUBLIC

    from . import calls

    each = calls.small((torch.float32, torch.bfloat16))
    for op in PUBLIC.values():
        each.append(calls.of_size(op, calls.LARGE[op.inputs.sizes][0], torch.float32))
    return each


def _serial() -> list[bytes]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = digest()
    torch.set_num_threads(before)
    return found


def _expect(got: object, want: object, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: other bits than in a serial run")


# ---- scenarios ---------------------------------------------------------------------


def python_threads(count: str = "8", rounds: str = "2") -> None:
    """Every op from several Python threads at once, in another order in each."""
    import torch

    from . import calls

    each = _calls()
    torch.set_num_threads(1)
    want = [calls.bits(call()) for call in each]
    torch.set_num_threads(2)
    problems: list[str] = []
    ready = threading.Barrier(int(count))

    def work(rank: int) -> None:
        order = [i for _ in range(int(rounds)) for i in range(len(each))]
        random.Random(rank).shuffle(order)
        ready.wait()
        try:
            problems.extend(str(each[i]) for i in order if calls.bits(each[i]()) != want[i])
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _expect(problems, [], "; ".join(problems[:5]))


def first_calls_together(count: str = "8") -> None:
    """The very first calls of a process, whose tables are not made yet, from several threads."""
    import torch

    from . import calls

    each = calls.small((torch.float64, torch.float32))
    results: list[list[Any]] = [[] for _ in range(int(count))]
    ready = threading.Barrier(int(count))

    def work(rank: int) -> None:
        ready.wait()
        results[rank] = [calls.bits(call()) for call in each]

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want = [calls.bits(call()) for call in each]
    for rank, got in enumerate(results):
        _expect(got, want, f"thread {rank}")


def after_fork(threads: str = "1") -> None:
    """A forked child after the parent has used the pool of threads; then the parent again."""
    import torch

    want = _serial()
    torch.set_num_threads(4)
    _expect(digest(), want, "the parent")
    child = os.fork()
    if child == 0:
        torch.set_num_threads(int(threads))
        os._exit(0 if digest() == want else 3)
    _, status = os.waitpid(child, 0)
    _expect(os.waitstatus_to_exitcode(status), 0, "the child")
    _expect(digest(), want, "the parent after the fork")


class Results:
    """A data set whose items are the bits of every op."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> list[bytes]:
        return digest()


def data_loader(method: str) -> None:
    """Every op in the workers of a DataLoader."""
    from torch.utils.data import DataLoader

    want = _serial()
    digest()  # the parent's pool of threads is there before the workers are
    loader = DataLoader(
        Results(), batch_size=None, num_workers=2, multiprocessing_context=method,
    )  # type: ignore[var-annotated,arg-type]  # fmt: skip
    for item in loader:
        _expect(item, want, f"a worker ({method})")


def _in_a_worker(_: int) -> list[bytes]:
    import torch

    torch.set_num_threads(2 if multiprocessing.get_start_method() != "fork" else 1)
    return digest()


def pool(method: str) -> None:
    """Every op in processes of multiprocessing."""
    want = _serial()
    digest()
    multiprocessing.set_start_method(method, force=True)
    with multiprocessing.get_context(method).Pool(2) as workers:
        for got in workers.map(_in_a_worker, range(4)):
            _expect(got, want, f"a process ({method})")


def _use(module: str) -> object:
    """Runs a parallel loop of a module."""
    import numpy as np

    if module == "scikit-learn":
        from sklearn.cluster import KMeans

        points = np.random.default_rng(0).random((3000, 3))
        return KMeans(4, n_init=1, random_state=0).fit(points).labels_.tolist()
    if module == "numba":
        import numba

        @numba.njit(parallel=True)
        def total(values: Any) -> Any:
            sums = np.zeros(64)
            for i in numba.prange(64):
                sums[i] = values[i::64].sum()
            return sums.sum()

        return float(total(np.arange(1_000_000.0)))
    import torch

    torch.set_num_threads(2)
    return digest()


def imports(*order: str) -> None:
    """Imports and uses modules in an order, then all of them again."""
    first = {module: _use(module) for module in order}
    for module in reversed(order):
        _expect(_use(module), first[module], f"{module}, the second time,")
    _expect(first[OWN], _serial(), OWN)


SCENARIOS: dict[str, Callable[..., None]] = {
    f.__name__: f
    for f in (python_threads, first_calls_together, after_fork, data_loader, pool, imports)
}


# ---- the campaign ------------------------------------------------------------------


def attempt(name: str, *settings: str, seconds: float = 300) -> str | None:
    """What went wrong in a process that runs a scenario; None if nothing did."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.reliability.threads", name, *settings]
    what = " ".join([name, *settings])
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, 9)
        run.communicate()
        return f"{what}: no end within {seconds:g} s"
    lines = output.strip().splitlines()
    return None if run.returncode == 0 else f"{what}: {lines[-1] if lines else run.returncode}"


def missing() -> list[str]:
    """The other users of OpenMP that are not installed."""
    return [name for name, module in OTHERS.items() if importlib.util.find_spec(module) is None]


def orders() -> list[tuple[str, ...]]:
    """Every order of imports of what is installed."""
    return list(itertools.permutations([OWN, *(n for n in OTHERS if n not in missing())]))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=20, help="turns of each of the 8 threads")
    parser.add_argument("--repeats", type=int, default=5, help="runs of every other scenario")


def _run(arguments: Namespace) -> Outcome:
    each: list[tuple[str, ...]] = [("first_calls_together",), ("after_fork",)]
    each += [("data_loader", m) for m in METHODS] + [("pool", m) for m in METHODS]
    each += [("imports", *order) for order in orders()]
    found = [attempt("python_threads", "8", str(arguments.rounds), seconds=1800)]
    for scenario in each * arguments.repeats:
        found.append(attempt(*scenario))
    figures = {
        "turns of every op in each of 8 threads at once": arguments.rounds,
        "first calls of a process from 8 threads": arguments.repeats,
        "forks after the pool of threads was used": arguments.repeats,
        "DataLoaders": f"{arguments.repeats} each by {', '.join(METHODS)}",
        "pools of processes": f"{arguments.repeats} each by {', '.join(METHODS)}",
        "orders of imports": [", ".join(order) for order in orders()],
    }
    skipped = [f"imports with {name}: it is not installed here" for name in missing()]
    return Outcome(figures, [f for f in found if f], skipped)


CAMPAIGN = Campaign(
    "threads",
    "ops from 8 threads, after fork, in worker processes, beside other users of OpenMP",
    _add_arguments,
    _run,
)

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])

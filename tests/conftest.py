"""Fixtures of all tests."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.distributions import Distribution


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests first, for one that starts last is waited for by all workers but one.

    `--dist worksteal` gives each worker an equal share of the list, of which others later take
    from the end. So each share begins with slow tests; those of one file, which have fixtures in
    common, are in one share.
    """
    if not hasattr(config, "workerinput"):
        return
    workers = config.workerinput["workercount"]
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            files.setdefault(item.location[0], []).append(item)
    shares: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for number, slow in enumerate(files.values()):
        shares[number % workers] += slow
    others = iter([item for item in items if not item.get_closest_marker("slow")])
    left = len(items)
    for number, share in enumerate(shares):
        size = left // (workers - number)
        share += islice(others, max(0, size - len(share)))
        left -= len(share)
    items[:] = [item for share in shares for item in share] + list(others)


# Where there is no GPU, torch.manual_seed notes for each kind of device the stack from which it is
# to be seeded later; that takes longer than most tests.
SEED = torch.manual_seed if torch.cuda.is_available() else torch.default_generator.manual_seed


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """The same random numbers for every selection and order of tests."""
    SEED(0)


@pytest.fixture(autouse=True)
def _distributions_check_their_arguments() -> None:
    """As torch's do; zuko, where some test has imported it, turns this off for all of them."""
    Distribution.set_default_validate_args(True)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_a_worker() -> None:
    """Workers share the cores; tests with several threads set the number themselves."""
    torch.set_num_threads(1)

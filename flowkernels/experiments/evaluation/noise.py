"""Random state: noise that leaves training's stream alone, and the stream itself, saved."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["fixed_noise", "random_state", "set_random_state"]


@contextlib.contextmanager
def fixed_noise(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Within it torch's random numbers depend on ``seed`` alone; after it, nothing happened.

    Example:
        >>> with fixed_noise(1):
        ...     first = torch.rand(())
        >>> with fixed_noise(1):
        ...     second = torch.rand(())
        >>> bool(first == second)
        True
    """
    where = torch.device(device)
    accelerators = [where] if where.type not in ("cpu", "mps") else []
    kind = where.type if accelerators else "cuda"
    with torch.random.fork_rng(devices=accelerators, device_type=kind):
        torch.manual_seed(seed)
        yield


def random_state() -> dict[str, Any]:
    """The state of torch's, NumPy's and Python's generators, as tensors and plain values.

    Plain, so that a checkpoint still loads with ``weights_only=True``.
    """
    # The legacy generator is the one that libraries draw from unasked.
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Take up what :func:`random_state` returned.

    Example:
        >>> before = random_state()
        >>> first = torch.rand(3)
        >>> set_random_state(before)
        >>> torch.equal(first, torch.rand(3))
        True
    """
    torch.set_rng_state(state["torch"].cpu())
    name, keys, position, has_gauss, cached = state["numpy"]
    words = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state((name, words, position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())

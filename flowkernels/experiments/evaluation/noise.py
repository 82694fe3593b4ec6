"""Random state: reproducible noise apart from training's, and saving and restoring the state."""

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
    """A context in which torch's random numbers depend only on ``seed``; restores the state.

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

    A checkpoint with these values loads with ``weights_only=True``.
    """
    # Libraries draw from the legacy generator.
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
    """Restore the state returned by :func:`random_state`.

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

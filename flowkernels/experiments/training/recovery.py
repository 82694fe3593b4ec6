"""Reading the checkpoints of a run, damaged ones included."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training.errors import RunError

__all__ = ["AVERAGED", "newest_whole", "read_checkpoint", "replace_damaged", "whole_checkpoints"]

log = logging.getLogger(__name__)

# The key of averaged weights in a checkpoint; its `state_dict` has the weights themselves.
AVERAGED = "averaged"
# What the other parts of a checkpoint's reader rely on.
_PARTS = {"global_step": int, "epoch": int, "state_dict": dict, "event_shape": list}


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a checkpoint, verified.

    Raises:
        RunError: it cannot be read, is damaged, or is no checkpoint; the message names the file.
    """
    try:
        state = load_tensors(path)
    except DamagedFileError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(state, dict):
        raise RunError(f"{path}: expected a checkpoint, found a file of {type(state).__name__}")
    for name, kind in _PARTS.items():
        if not isinstance(state.get(name), kind) or isinstance(state[name], bool):
            raise RunError(
                f"{path}: expected a checkpoint of a flow's training, its {name} is missing or "
                "wrong"
            )
    return state


def whole_checkpoints(known: Mapping[str, Path], *, besides: Path | None = None) -> dict[str, int]:
    """The undamaged ones of a run's checkpoints `known`: name -> step, the newest first."""
    steps = {}
    for name, path in known.items():
        if path.is_file() and path != besides:
            try:
                steps[name] = int(read_checkpoint(path)["global_step"])
            except RunError:
                continue
    return dict(sorted(steps.items(), key=lambda entry: -entry[1]))


def newest_whole(known: Mapping[str, Path]) -> tuple[str, dict[str, Any]] | None:
    """The name and content of the checkpoint from which to resume; None if there is none.

    `known` are a run's checkpoints by name.

    That is ``last``. If it is damaged or missing, it is the newest undamaged one of ``previous``
    and ``best``, and a warning says so.

    Raises:
        RunError: there are checkpoints, and all are damaged; the message names each.
    """
    there = {name: path for name, path in known.items() if path.exists()}
    last = known["last"]
    if not there:
        return None
    faults = []
    if "last" in there:
        try:
            return "last", read_checkpoint(last)
        except RunError as error:
            faults.append(str(error))
    else:
        faults.append(f"{last}: is missing")
    whole = whole_checkpoints(known, besides=last)
    if whole:
        name, step = next(iter(whole.items()))
        log.warning("%s. Resuming from %s (step %d)", faults[0], known[name], step)
        return name, read_checkpoint(known[name])
    for name in there:
        if name != "last":
            try:
                read_checkpoint(there[name])
            except RunError as error:
                faults.append(str(error))
    raise RunError(
        "\n".join(faults)
        + f"\nNo checkpoint of this run can be read. Put a copy of one in its place, or remove "
        f"{last.parent} to train from the start."
    )


def replace_damaged(known: Mapping[str, Path], name: str) -> None:
    """Put the checkpoint ``name`` in the place of ``last``; a damaged ``last`` is kept aside.

    It must not stay: the next save would make it the ``previous`` one.
    """
    last = known["last"]
    if last.exists():
        aside = last.with_name("last.damaged")
        last.replace(aside)
        log.info("the damaged checkpoint is now %s", aside)
    spare = last.with_suffix(".tmp")
    spare.unlink(missing_ok=True)
    try:
        spare.hardlink_to(known[name])
    except OSError:
        shutil.copyfile(known[name], spare)
    spare.replace(last)

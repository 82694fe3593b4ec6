"""What a study is, and how its tasks are done by however many processes there are."""

from __future__ import annotations

import fcntl
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowkernels.experiments.data.extras import require
from flowkernels.experiments.data.files import sweep_unfinished, write_json
from flowkernels.experiments.study.task import Task
from flowkernels.experiments.training.settings import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CONFIGS", "KINDS", "Study", "load_study", "run_study"]

# By the name that a configuration gives under the key `study`: where its class is.
KINDS = {
    "images": ("flowkernels.experiments.study.images", "ImageStudy"),
    "densities": ("flowkernels.experiments.study.densities", "DensitiesStudy"),
    "double_well": ("flowkernels.experiments.study.double_well", "DoubleWellStudy"),
}
# Those that come with the package.
CONFIGS = Path(__file__).parent / "configs"
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")


class Study(ABC):
    """A kind of study: what there is to do, and what to make of the results."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """From a configuration without its key `study`.

        Raises:
            ConfigError: a setting is unknown or wrong; the message begins with ``source``.
        """

    @abstractmethod
    def tasks(self) -> list[Task]:
        """What there is to do; tasks do not depend on each other."""

    @abstractmethod
    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """Write tables and pictures of the results, by the tasks' names; the files written."""


def load_study(path: str | os.PathLike[str]) -> Study:
    """A study from a YAML file, or from one of this package by its name.

    Raises:
        ConfigError: the file is missing or damaged, or a setting is wrong.
    """
    yaml = require("yaml", extra="study", purpose="reading a study's configuration")
    file = Path(path)
    if not file.suffix and not file.exists():
        file = CONFIGS / f"{file.name}.yaml"
        if not file.is_file():
            names = ", ".join(sorted(f.stem for f in CONFIGS.glob("*.yaml")))
            raise ConfigError(f"{path}: expected a YAML file or one of {names}, found neither")
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: expected YAML ({error})") from error
    if not isinstance(values, dict) or values.get("study") not in KINDS:
        got = values.get("study") if isinstance(values, dict) else values
        raise ConfigError(f"{path}: study: expected {' or '.join(KINDS)}, got {got!r}")
    module, name = KINDS[values.pop("study")]
    kind: type[Study] = getattr(import_module(module), name)
    return kind.from_dict(values, source=str(path))


def run_study(
    study: Study, folder: Path, *, say: Callable[[str], None] = print
) -> dict[str, dict[str, Any]]:
    """Do what is not done yet, then write the report; the results by task.

    A finished task has a ``result.json``; the others are taken one by one by whichever process
    finds them free, so that the same command may run on several machines that share the folder,
    under torchrun or started by hand. A process that dies gives its task back: locks belong to
    the operating system, nothing stale is left. The last to finish writes the report.

    Args:
        study: what to do.
        folder: where everything goes.
        say: told what happens, in lines.

    Returns:
        The results there are; fewer than tasks while other processes still work on some.
    """
    tasks = study.tasks()
    with _alone():
        while (taken := _next(tasks, folder)) is not None:
            task, place, lock = taken
            with lock:
                say(f"[{1 + _done(tasks, folder)}/{len(tasks)}] {task.name}")
                _store(place, task.execute(place))
    results = _results(tasks, folder)
    if missing := len(tasks) - len(results):
        say(f"{missing} of {len(tasks)} tasks are being done by other processes")
        return results
    for file in study.report(folder, results):
        say(f"written: {file}")
    return results


def _next(tasks: list[Task], folder: Path) -> tuple[Task, Path, Any] | None:
    """A task that is neither done nor being done, with its lock held."""
    for task in tasks:
        place = folder / task.name
        if (place / "result.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        lock = (place / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        # It may have been finished between the look and the lock.
        if not (place / "result.json").exists():
            sweep_unfinished(place)
            return task, place, lock
        lock.close()
    return None


def _store(place: Path, result: dict[str, Any]) -> None:
    write_json(place / "result.json", result, indent=1)


def _done(tasks: list[Task], folder: Path) -> int:
    return sum((folder / task.name / "result.json").exists() for task in tasks)


def _results(tasks: list[Task], folder: Path) -> dict[str, dict[str, Any]]:
    files = {task.name: folder / task.name / "result.json" for task in tasks}
    return {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}


@contextmanager
def _alone() -> Iterator[None]:
    """Within it nothing takes this process for one of several that train together.

    Under a launcher every process does tasks of its own, on a GPU of its own where there is one;
    Lightning would otherwise have them train one flow, and write for the first only.
    """
    import torch
    from lightning_utilities.core import rank_zero

    rank_zero_only: Any = rank_zero.rank_zero_only

    kept = {name: os.environ.pop(name) for name in _LAUNCHER if name in os.environ}
    rank = getattr(rank_zero_only, "rank", None)
    rank_zero_only.rank = 0
    if "LOCAL_RANK" in kept and torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        devices = visible.split(",") if visible else [*map(str, range(torch.cuda.device_count()))]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(kept["LOCAL_RANK"]) % len(devices)]
    try:
        yield
    finally:
        os.environ.update(kept)
        if rank is not None:  # else Lightning was imported within, and has what it set
            rank_zero_only.rank = rank

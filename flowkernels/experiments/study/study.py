"""Studies, and the distribution of their tasks over processes."""

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

from flowkernels.experiments.data.errors import DamagedFileError
from flowkernels.experiments.data.files import open_lock, sweep_unfinished, write_json
from flowkernels.experiments.study.configuration import read_yaml
from flowkernels.experiments.study.task import Task
from flowkernels.experiments.training.errors import TimeLimitError
from flowkernels.experiments.training.settings import ConfigError
from flowkernels.experiments.training.time_limit import TimeLimit

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CONFIGS", "KINDS", "Study", "load_study", "run_study"]

# Value of the key `study` in a configuration -> module and class.
KINDS = {
    "images": ("flowkernels.experiments.study.images", "ImageStudy"),
    "densities": ("flowkernels.experiments.study.densities", "DensitiesStudy"),
    "double_well": ("flowkernels.experiments.study.double_well", "DoubleWellStudy"),
}
# The configurations of this package.
CONFIGS = Path(__file__).parent / "configs"
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")


class Study(ABC):
    """A kind of study: its tasks, and the report of their results."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """From a configuration without its key `study`.

        Raises:
            ConfigError: a setting is unknown or wrong; the message begins with ``source``.
        """

    @abstractmethod
    def tasks(self) -> list[Task]:
        """The tasks, which are independent of each other."""

    @abstractmethod
    def report(self, folder: Path, results: dict[str, dict[str, Any]]) -> list[Path]:
        """Write tables and pictures of the results (by task name); returns the files written."""

    def with_limit(self, limit: TimeLimit) -> Self:
        """The study with tasks that stop when the time is up, by raising TimeLimitError.

        Here it is the study itself: its tasks are short, and one that has begun is finished.
        """
        return self

    def with_data_dir(self, folder: str) -> Self:
        """The study with the data's files in another folder.

        Raises:
            ConfigError: the study reads no files of data.
        """
        raise ConfigError(f"data_dir: expected a study of images, got {type(self).__name__}")


def load_study(path: str | os.PathLike[str]) -> Study:
    """A study from a YAML file, or one of this package by name.

    Raises:
        ConfigError: the file is missing or damaged, or a setting is wrong.
    """
    file = Path(path)
    if not file.suffix and not file.exists():
        file = CONFIGS / f"{file.name}.yaml"
        if not file.is_file():
            names = ", ".join(sorted(f.stem for f in CONFIGS.glob("*.yaml")))
            raise ConfigError(f"{path}: expected a YAML file or one of {names}, found neither")
    values = read_yaml(file)
    kind_name = values.get("study") if isinstance(values, dict) else values
    # A list or a mapping cannot be looked up.
    if not isinstance(values, dict) or not isinstance(kind_name, str) or kind_name not in KINDS:
        raise ConfigError(
            f"{path}: study: expected {' or '.join(KINDS)}, got {repr(kind_name)[:100]}"
        )
    module, name = KINDS[values.pop("study")]
    kind: type[Study] = getattr(import_module(module), name)
    return kind.from_dict(values, source=str(path))


def run_study(
    study: Study,
    folder: Path,
    *,
    say: Callable[[str], None] = print,
    limit: TimeLimit | None = None,
) -> dict[str, dict[str, Any]]:
    """Run the unfinished tasks, then write the report; returns the results by task.

    A finished task has a ``result.json``. Each process takes free tasks one by one, so several
    processes on machines that share the folder may run the same command, by hand or under
    torchrun. Locks are released by the operating system if a process dies. The last process to
    finish writes the report.

    When the time is up, training stops with a checkpoint, and no task and no scoring is begun.
    Running the study again goes on from there; its report is that of a study without a limit.

    Args:
        study: the study.
        folder: folder of all files.
        say: called with lines of progress.
        limit: of the time of this process.

    Returns:
        The results so far; incomplete while other processes still run tasks, or if the time is up.
    """
    limit = limit or TimeLimit()
    tasks = study.with_limit(limit).tasks()
    stopped = ""
    with _without_launcher():
        while not limit.is_over() and (taken := _next(tasks, folder)) is not None:
            task, task_folder, lock = taken
            with lock:
                say(f"[{1 + _done(tasks, folder)}/{len(tasks)}] {task.name}")
                try:
                    result = task.execute(task_folder)
                except TimeLimitError as error:
                    done = f"after step {error.step} of {error.total}"
                    trained = "trained, not scored"
                    stopped = f" ({task.name}: {done if error.step < error.total else trained})"
                    break
                _store(task_folder, result)
    results = _results(tasks, folder)
    missing = len(tasks) - len(results)
    if missing and limit.is_over():
        say(
            f"The time is up: {len(results)} of {len(tasks)} tasks are done, {missing} are left"
            f"{stopped}. To go on, run the same command again"
        )
        return results
    if missing:
        say(f"{missing} of {len(tasks)} tasks are being done by other processes")
        return results
    for file in study.report(folder, results):
        say(f"written: {file}")
    return results


def _next(tasks: list[Task], folder: Path) -> tuple[Task, Path, Any] | None:
    """A free task that is not done, with its lock held."""
    for task in tasks:
        task_folder = folder / task.name
        if (task_folder / "result.json").exists():
            continue
        task_folder.mkdir(parents=True, exist_ok=True)
        lock = os.fdopen(open_lock(task_folder / ".lock"), "r+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        # It may have been finished between the look and the lock.
        if not (task_folder / "result.json").exists():
            sweep_unfinished(task_folder)
            return task, task_folder, lock
        lock.close()
    return None


def _store(task_folder: Path, result: dict[str, Any]) -> None:
    write_json(task_folder / "result.json", result, indent=1)


def _done(tasks: list[Task], folder: Path) -> int:
    return sum((folder / task.name / "result.json").exists() for task in tasks)


def _results(tasks: list[Task], folder: Path) -> dict[str, dict[str, Any]]:
    files = {task.name: folder / task.name / "result.json" for task in tasks}
    return {name: _read_result(file) for name, file in files.items() if file.exists()}


def _read_result(file: Path) -> dict[str, Any]:
    try:
        result = json.loads(file.read_text())
    except (ValueError, RecursionError) as error:
        result = error
    if not isinstance(result, dict):
        raise DamagedFileError(
            f"{file}: damaged, expected the results of a task; remove it to compute them again"
        )
    return result


@contextmanager
def _without_launcher() -> Iterator[None]:
    """A context that hides the launcher's environment variables from Lightning.

    Under a launcher every process runs its own tasks, on its own GPU if there is one. Otherwise
    Lightning would train one flow in all processes and write files only in the first.
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

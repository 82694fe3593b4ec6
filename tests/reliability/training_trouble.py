"""Runs whose disk is full, whose folder is read-only or goes away, and whose clock jumps."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from flowkernels.experiments.training import Run

from .campaign import Outcome
from .runs import Ended, in_child, same, train


def run(outcome: Outcome, folder: Path, reference: Path) -> None:
    """All of them."""
    file_limit(outcome, folder, reference)
    full_disk(outcome, folder, reference)
    read_only(outcome, folder)
    folder_removed(outcome, folder)
    clocks(outcome, folder, reference)


def _refused(outcome: Outcome, what: str, ended: Ended, wanted: str) -> bool:
    """Whether a run ended with an error that has the wanted text; a finding if not."""
    if ended.code == 1 and wanted in str(ended.said):
        outcome.figures[what] = str(ended.said).replace(wanted, Path(wanted).name)[:160]
        return True
    outcome.findings.append(f"{what}: expected an error with {wanted}, got {ended.said}")
    return False


def _resumed(outcome: Outcome, what: str, target: Path, reference: Path) -> None:
    ended = in_child(lambda: train(target))
    problem = f"resuming: {ended.said}" if ended.code else same(reference, target)
    if problem is None:
        outcome.figures[f"{what}, then resumed"] = "bit for bit"
    else:
        outcome.findings.append(f"{what}: {problem}")


def file_limit(outcome: Outcome, folder: Path, reference: Path) -> None:
    """The limit of a file's size is below that of a checkpoint, from the eighth step on."""
    target = folder / "limited"
    size = Run(reference).last.stat().st_size

    def limited() -> None:
        at_step(8, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)))
        train(target)

    what = "no room for a checkpoint (file size limit)"
    if _refused(outcome, what, in_child(limited), str(Run(target).last)):
        _resumed(outcome, what, target, reference)


def full_disk(outcome: Outcome, folder: Path, reference: Path) -> None:
    """A file system of its own that runs full."""
    mount = folder / "disk"
    mount.mkdir()
    if not _mounted(outcome, "full disk", mount, "size=512k"):
        return
    try:
        target, filler = mount / "run", mount / "filler"

        def filled() -> None:
            at_step(8, lambda: _fill(filler))
            train(target)

        what = "full disk"
        if _refused(outcome, what, in_child(filled), str(target)):
            filler.unlink()
            _resumed(outcome, what, target, reference)
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def read_only(outcome: Outcome, folder: Path) -> None:
    """A finished run on a read-only file system is read, and not trained further."""
    mount = folder / "read-only"
    mount.mkdir()
    if not _mounted(outcome, "read-only disk", mount, "size=4m"):
        return
    try:
        target = mount / "run"
        in_child(lambda: train(target))
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        read = in_child(lambda: Run(target).load_flow()[1]["step"])
        if read.code:
            outcome.findings.append(f"a run on a read-only disk cannot be read: {read.said}")
        _refused(outcome, "read-only disk", in_child(lambda: train(target)), str(target))
    finally:
        subprocess.run(["umount", str(mount)], check=False)


def folder_removed(outcome: Outcome, folder: Path) -> None:
    """The run's folder goes away while it is trained."""
    target = folder / "removed"

    def robbed() -> None:
        at_step(8, lambda: shutil.rmtree(target))
        train(target)

    _refused(outcome, "folder removed", in_child(robbed), str(target))
    if target.exists():
        outcome.findings.append(f"folder removed: it is there again, with {[*target.iterdir()]}")


def clocks(outcome: Outcome, folder: Path, reference: Path) -> None:
    """Another time zone, and a clock that jumps back an hour at every look."""
    target = folder / "clocks"
    now = time.time()

    def elsewhen() -> None:
        os.environ["TZ"] = "Pacific/Kiritimati"
        time.tzset()
        looks = iter(range(10**9))
        time.time = lambda: now - 3600.0 * next(looks)
        train(target)

    ended = in_child(elsewhen)
    problem = str(ended.said) if ended.code else same(reference, target)
    files = [path.relative_to(target) for path in sorted(target.rglob("*")) if path.is_file()]
    if problem is None:
        different = [
            str(name)
            for name in files
            if (target / name).read_bytes() != (reference / name).read_bytes()
        ]
        problem = f"other bytes in {different}" if different else None
    if problem is None:
        outcome.figures["other time zone and a clock that runs back"] = (
            f"{len(files)} files, byte for byte"
        )
    else:
        outcome.findings.append(f"time zone and clock: {problem}")


def at_step(step: int, act: Callable[[], object]) -> None:
    """Call `act` once before a training step, in this process."""
    from flowkernels.experiments.training import FlowModule

    original = FlowModule.training_step

    def acting(self, batch, index):  # type: ignore[no-untyped-def]
        if self.global_step == step:
            act()
        return original(self, batch, index)

    FlowModule.training_step = acting  # type: ignore[method-assign]


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            for size in (1 << 12, 1):
                while True:
                    file.write(bytes(size))
                    if size == 1:
                        break
        except OSError:
            return


def _mounted(outcome: Outcome, what: str, mount: Path, options: str) -> bool:
    """Whether a small file system could be mounted; the reason is noted if not."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        outcome.skipped.append(f"{what}: needs the right to mount ({done.stderr.strip()[:80]})")
    return not done.returncode

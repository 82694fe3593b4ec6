"""Files are written whole or not at all, and errors name them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from flowkernels.experiments.data.files import atomic_write, write_text


def test_an_error_names_the_file_and_not_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "scores.json"

    def refuse(self: Path, to: Path) -> Path:
        raise OSError(errno.EBUSY, "busy", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="busy") as caught:
        write_text(target, "new")
    assert caught.value.filename == str(target)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_named_with_the_file() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("this system has no /proc, a folder in which nobody can create files")
    with pytest.raises(OSError, match=r"/proc/picture\.png"):
        write_text("/proc/picture.png", "")


def test_errors_of_the_caller_pass(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError) as caught,
        atomic_write(tmp_path / "a"),
        (tmp_path / "b").open(),
    ):
        pass
    assert caught.value.filename == str(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []

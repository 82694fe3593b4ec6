"""The benchmark of images given their class, on small made-up images."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("matplotlib", reason="the benchmark needs the extra `train`")

from benchmarks import class_conditional as benchmark
from benchmarks.class_conditional import CLASSES, WITH, WITHOUT, Images

GIVEN = argparse.Namespace(steps=1, hidden=4, seed=0, minutes=1.0)


def bright(count: int, seed: int) -> Images:
    """Images whose brightness is their class."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randint(16, (count, 1, 28, 28), generator=generator)
    return Images((24 * classes[:, None, None, None] + noise).to(torch.uint8), classes)


def clock_of(steps: int) -> object:
    """A clock after whose given number of steps the time of training is over."""
    ticks = itertools.count()
    return lambda: next(ticks) * 60 * 2 * GIVEN.minutes / steps


def test_both_flows_start_with_the_same_weights() -> None:
    pair = benchmark.flows(GIVEN)
    states = pair[WITH].state_dict(), pair[WITHOUT].state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    classes = torch.tensor([3, 1])
    assert benchmark.known(WITH, classes).tolist() == [3, 1]
    assert benchmark.known(WITHOUT, classes).tolist() == [0, 0]


def test_accuracy_is_that_of_bayes_rule() -> None:
    class Brightness(torch.nn.Module):
        """The exact order of the densities."""

        def log_prob(self, x: Tensor, classes: Tensor) -> Tensor:
            return -(x.float().mean((1, 2, 3)) - 7.5 - 24 * classes).abs()

    images = bright(150, seed=0)
    assert benchmark.accuracy(Brightness(), images) == 1  # type: ignore[arg-type]
    wrong = Images(images.levels, (images.classes + 1) % CLASSES)
    assert benchmark.accuracy(Brightness(), wrong) == 0  # type: ignore[arg-type]


def test_a_short_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "fashion_mnist", lambda _: (bright(640, 1), bright(100, 2)))
    monkeypatch.setattr(benchmark, "time", SimpleNamespace(perf_counter=clock_of(60)))
    for name, value in (("WARMUP", 5), ("LEARNING_RATE", 2e-2)):  # for few steps
        monkeypatch.setattr(benchmark, name, value)
    options = "--steps 1 --hidden 4 --minutes 1 --output out.json --picture classes.png"
    monkeypatch.setattr(sys, "argv", ["class_conditional", *options.split()])
    monkeypatch.chdir(tmp_path)
    benchmark.main()
    found = json.loads(Path("out.json").read_text())
    given, without = (found[f"bits per dimension {name}"] for name in (WITH, WITHOUT))
    assert found["training steps"] == 59
    assert found["difference"] == pytest.approx(without - given, abs=1e-5)
    assert found["standard error of the difference"] > 0
    assert given < without < found["bits per dimension with a wrong class"]
    assert found["share classified by density"] > 0.5
    with Image.open("classes.png") as picture:
        assert picture.height > picture.width / 2  # ten rows of twelve
    out = capsys.readouterr().out
    assert f"bits per dimension {WITH}: {given:.4f}" in out

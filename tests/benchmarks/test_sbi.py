"""The benchmark of simulation-based inference: exact posteriors, and a short run of all of it."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("sbi", reason="sbi is not installed (extra `sbi`)")

from scipy.stats import kstest

from benchmarks import sbi


def test_posterior_samples_of_two_moons_explain_the_observation() -> None:
    task = sbi.TwoMoons()
    x = task.simulate(torch.tensor([[0.4, 0.1]]))[0]
    theta = task.posterior(x, 2000)
    assert theta.shape == (2000, 2)
    assert theta.abs().max() <= 1
    moved = torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2)
    point = x - moved - torch.tensor([0.25, 0.0])  # on the noisy half circle, about its centre
    assert point[:, 0].min() > -0.01
    assert kstest(point.norm(dim=1).numpy(), "norm", (0.1, 0.01)).pvalue > 1e-3
    share = (theta.sum(1) > 0).double().mean()
    assert 0.45 < share < 0.55, "one crescent has more than its half"


def test_posterior_samples_of_the_linear_gaussian() -> None:
    task = sbi.LinearGaussian()
    samples = task.posterior(torch.tensor([-1.0, -0.5, -1.5]), 4000)
    torch.testing.assert_close(samples.mean(0), torch.tensor([0.0, 0.5, -0.5]), rtol=0, atol=0.05)
    torch.testing.assert_close(samples.var(0), torch.full((3,), 0.3), rtol=0.1, atol=0)


def test_epochs_until_a_loss() -> None:
    assert sbi.epochs_to([3.0, 2.0, 1.0], 2.0) == 2
    assert sbi.epochs_to([3.0, 2.0, 1.0], 0.5) is None
    assert sbi.spread([1.0, 2.0, 3.0], 3) == "2.000 +- 0.577"


def test_a_short_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both libraries get the same simulations; all numbers are printed and written."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("HELD_OUT", 50), ("OBSERVATIONS", 1), ("SAMPLES", 40)):
        monkeypatch.setattr(sbi, name, value)
    given = []
    append = sbi.Trainer.append_simulations

    def watched(self: sbi.Trainer, theta: torch.Tensor, x: torch.Tensor) -> object:
        given.append((theta, x))
        return append(self, theta, x)

    monkeypatch.setattr(sbi.Trainer, "append_simulations", watched)
    options = "--models maf --simulations 100 --seeds 0 --epochs 2 --rounds 2 --output out.json"
    monkeypatch.setattr(sys, "argv", ["sbi", *options.split(), "--tasks", "linear Gaussian"])
    sbi.main()
    found = json.loads(Path("out.json").read_text())
    assert found["settings"]["simulations"] == 100
    assert [(o["library"], o["seed"]) for o in found["outcomes"]] == [
        (sbi.OURS, 0),
        (sbi.THEIRS, 0),
    ]
    for outcome in found["outcomes"]:
        assert outcome["epochs"] == len(outcome["validation"]) == 3
        assert math.isfinite(outcome["log_prob"])
        assert 0.3 <= outcome["c2st"] <= 1
        assert outcome["seconds"] > 0
    last, first = given[-1], given[-2]  # the two trainings
    assert all(torch.equal(a, b) for a, b in zip(first, last, strict=True))
    label = "linear Gaussian, maf"
    assert set(found["timings"][label]) == {sbi.OURS, sbi.THEIRS}
    assert all(len(found["parts"][label][name]) == len(sbi.PARTS) for name in sbi.BUILDERS)
    out = capsys.readouterr().out
    assert out.count(label) >= 4
    assert "s to sbi's loss" in out

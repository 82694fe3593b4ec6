"""Simulation-based inference with sbi: the posterior of a linear Gaussian model.

`posterior_nn` takes the place of sbi's function of that name; the trainer is sbi's. Here the exact
posterior is known. The outcome is the larger of two errors, each in units of the exact standard
deviation: that of the posterior mean, and that of the standard deviation. Needs the extra `sbi`.

    python docs/examples/sbi_posterior.py
"""

from __future__ import annotations

import torch
from sbi.inference import NPE
from sbi.utils import BoxUniform

from flowkernels.adapters.sbi import posterior_nn

NOISE = 0.5


def main() -> float:
    """The larger error of mean and standard deviation."""
    torch.manual_seed(0)
    prior = BoxUniform(-3 * torch.ones(2), 3 * torch.ones(2))
    theta = prior.sample((2000,))
    x = theta + NOISE * torch.randn(2000, 2)
    builder = posterior_nn("nsf", hidden_features=32, num_transforms=3)
    trainer = NPE(prior, density_estimator=builder, show_progress_bars=False)
    trainer.append_simulations(theta, x).train(training_batch_size=100, stop_after_epochs=10)
    observed = torch.tensor([[0.5, -1.0]])
    samples = trainer.build_posterior().sample((4000,), x=observed, show_progress_bars=False)
    # The prior's walls are 4 deviations away: the posterior is a Gaussian around the observation.
    mean_error = (samples.mean(0) - observed[0]).abs().max().item() / NOISE
    deviation_error = (samples.std(0) - NOISE).abs().max().item() / NOISE
    print(f"\nerror of the mean {mean_error:.2f}, of the deviation {deviation_error:.2f}")
    return max(mean_error, deviation_error)


if __name__ == "__main__":
    main()

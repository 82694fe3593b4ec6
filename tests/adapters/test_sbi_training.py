"""Flows as density estimators: sbi's trainers, posteriors and diagnostics with them."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import MultivariateNormal

pytest.importorskip("sbi", reason="sbi is not installed (extra `sbi`)")

from sbi.diagnostics import run_sbc
from sbi.inference import NLE, NPE
from sbi.inference.posteriors.posterior_parameters import MCMCPosteriorParameters
from sbi.simulators.linear_gaussian import (
    linear_gaussian,
    true_posterior_linear_gaussian_mvn_prior,
)
from sbi.utils import BoxUniform

from flowkernels.adapters.sbi import FlowEstimator, likelihood_nn, posterior_nn

from .test_sbi import MODELS, SMALL, _elsewhere  # noqa: F401 (a fixture)


class LinearGaussian:
    """x = theta + noise with known posterior, as in sbi's own tests."""

    shift = -torch.ones(2)
    cov = torch.tensor([[0.3, 0.1], [0.1, 0.2]])
    prior_cov = torch.eye(2)

    def __init__(self) -> None:
        self.prior = MultivariateNormal(torch.zeros(2), self.prior_cov)

    def simulate(self, theta: Tensor) -> Tensor:
        return linear_gaussian(theta, self.shift, self.cov)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        return true_posterior_linear_gaussian_mvn_prior(
            x, self.shift, self.cov, torch.zeros(2), self.prior_cov
        )


def fit(trainer: Any, theta: Tensor, x: Tensor, **options: Any) -> FlowEstimator:
    settings: dict[str, Any] = {"training_batch_size": 200, "learning_rate": 5e-3}
    settings["max_num_epochs"] = options.pop("epochs", 25)
    appended = trainer.append_simulations(theta, x, **options)
    with pytest.warns(UserWarning, match="Maximum number of epochs"):
        estimator: FlowEstimator = appended.train(**settings)
    return estimator


def quiet(kind: Any, prior: Any, builder: Any) -> Any:
    return kind(prior, density_estimator=builder, show_progress_bars=False)


@pytest.fixture(scope="module")
def gaussian() -> tuple[LinearGaussian, Any]:
    """The task, and a posterior that was learnt with 4000 simulations."""
    torch.manual_seed(0)
    task = LinearGaussian()
    trainer = quiet(NPE, task.prior, posterior_nn("maf", **SMALL))
    theta = task.prior.sample((4000,))
    fit(trainer, theta, task.simulate(theta))
    return task, trainer.build_posterior()


def assert_near(samples: Tensor, exact: MultivariateNormal, tolerance: float) -> None:
    """Mean and covariance, in units of the exact standard deviations.

    Without the samples beyond 4.5 of these, at most 2 %: where a spline ends, at 3 standard
    deviations of the base, a flow of two splines jumps to the scale of the prior.
    """
    scaled = (samples - exact.mean) / exact.variance.sqrt()
    inside = scaled.abs().amax(1) < 4.5
    assert inside.float().mean() > 0.98
    scaled = scaled[inside]
    assert scaled.mean(0).abs().max() < tolerance
    std = exact.variance.sqrt()
    want = exact.covariance_matrix / (std[:, None] * std)
    assert (scaled.T.cov() - want).abs().max() < tolerance


@pytest.mark.parametrize("model", MODELS)
def test_posterior_of_a_linear_gaussian(model: str) -> None:
    """Means within a quarter of the standard deviations, covariances of the variances."""
    task = LinearGaussian()
    trainer = quiet(NPE, task.prior, posterior_nn(model, **SMALL))  # type: ignore[arg-type]
    theta = task.prior.sample((4000,))
    fit(trainer, theta, task.simulate(theta))
    x = torch.tensor([[-1.0, -1.0], [-0.2, -1.8]])
    samples = trainer.build_posterior().sample_batched((4000,), x, show_progress_bars=False)
    for i in range(2):
        assert_near(samples[:, i], task.posterior(x[i : i + 1]), 0.25)


def test_several_rounds() -> None:
    """The second round proposes from the first posterior; its loss corrects for that."""
    task = LinearGaussian()
    x_o = torch.tensor([[0.5, -1.5]])
    trainer = quiet(NPE, task.prior, posterior_nn("maf", **SMALL))
    proposal = task.prior
    for _ in range(2):
        theta = proposal.sample((1500,))
        fit(trainer, theta, task.simulate(theta), proposal=proposal, epochs=12)
        proposal = trainer.build_posterior().set_default_x(x_o)
    assert_near(proposal.sample((4000,), show_progress_bars=False), task.posterior(x_o), 0.2)


def test_log_prob_and_map(gaussian: tuple[LinearGaussian, Any]) -> None:
    task, posterior = gaussian
    x = torch.tensor([[-0.5, -0.5]])
    exact = task.posterior(x)
    posterior = copy.deepcopy(posterior).set_default_x(x)
    theta = exact.sample((500,))
    kl = (exact.log_prob(theta) - posterior.log_prob(theta)).mean()
    assert abs(kl) < 0.05
    found = posterior.map(num_iter=50, num_to_optimize=10, show_progress_bars=False)
    assert ((found[0] - exact.mean) / exact.variance.sqrt()).abs().max() < 0.3


def test_markov_chains(gaussian: tuple[LinearGaussian, Any]) -> None:
    """sbi's sampler evaluates the density at many points for one x."""
    task, direct = gaussian
    x = torch.tensor([[-0.5, -0.5]])
    trainer = quiet(NPE, task.prior, posterior_nn("maf"))
    posterior = trainer.build_posterior(
        direct.posterior_estimator, sample_with="mcmc",
        posterior_parameters=MCMCPosteriorParameters(
            method="slice_np_vectorized", num_chains=50, thin=1, warmup_steps=5
        ),
    )  # fmt: skip
    samples = posterior.sample((500,), x=x, show_progress_bars=False)
    assert_near(samples, task.posterior(x), 0.25)


def test_simulation_based_calibration(gaussian: tuple[LinearGaussian, Any]) -> None:
    task, posterior = gaussian
    theta = task.prior.sample((100,))
    with pytest.warns(UserWarning, match="Capping max_sampling_batch_size"):
        ranks, _ = run_sbc(theta, task.simulate(theta), posterior, num_posterior_samples=100,
                           show_progress_bar=False)  # fmt: skip
    # Ranks among 100 draws are uniform; sbi's own check also trains classifiers.
    for each in (ranks.numpy() + 0.5).T / 101:
        assert kstest(each, "uniform").pvalue > 1e-3


def test_bounded_prior() -> None:
    """Draws outside the prior are rejected, and the density is normalised for that."""
    prior = BoxUniform(torch.zeros(2), torch.ones(2))
    trainer = quiet(NPE, prior, posterior_nn("nsf", **SMALL))
    theta = prior.sample((500,))
    fit(trainer, theta, theta + 0.3 * torch.randn(500, 2), epochs=5)
    posterior = trainer.build_posterior().set_default_x(torch.tensor([[0.95, 0.5]]))
    samples = posterior.sample((1000,), show_progress_bars=False)
    assert ((samples >= 0) & (samples <= 1)).all()
    grid = torch.cartesian_prod(*[(torch.arange(60) + 0.5) / 60] * 2)
    assert abs(posterior.log_prob(grid).exp().mean() - 1) < 0.03
    assert posterior.log_prob(torch.tensor([[1.1, 0.5]])).item() == -math.inf


def test_posteriors_are_pickled(gaussian: tuple[LinearGaussian, Any]) -> None:
    _, posterior = gaussian
    x, theta = torch.zeros(1, 2), torch.randn(5, 2)
    again = pickle.loads(pickle.dumps(posterior))
    assert torch.equal(again.log_prob(theta, x=x, norm_posterior=False),
                       posterior.log_prob(theta, x=x, norm_posterior=False))  # fmt: skip


def test_likelihood() -> None:
    """NLE: x has another dimension than theta; the posterior given two observations."""
    task = LinearGaussian()
    trainer = quiet(NLE, task.prior, likelihood_nn("maf", **SMALL))
    theta = task.prior.sample((2000,))
    estimator = fit(trainer, theta, torch.cat([task.simulate(theta), torch.randn(2000, 1)], 1))
    with torch.no_grad():
        drawn = estimator.sample((4000,), torch.tensor([[0.5, -0.5]]))[:, 0]
    assert_near(drawn[:, :2], MultivariateNormal(torch.tensor([-0.5, -1.5]), task.cov), 0.2)
    posterior = trainer.build_posterior(
        sample_with="mcmc",
        posterior_parameters=MCMCPosteriorParameters(
            method="slice_np_vectorized", num_chains=50, thin=1, warmup_steps=5
        ),
    )
    x = torch.tensor([[-0.5, -1.0, 0.3], [-0.7, -1.4, -0.2]])
    samples = posterior.sample((500,), x=x, show_progress_bars=False)
    assert_near(samples, task.posterior(x[:, :2]), 0.3)

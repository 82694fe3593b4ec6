"""The bases in many dimensions: normalisation, marginals, entropies, paths."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Cauchy, Dirichlet, LogNormal
from torch.testing import assert_close

from flowkernels.bases import (
    Base,
    LogRatioDirichlet,
    SphericalPowerSpherical,
    StandardCauchy,
    StandardIsotropicCauchy,
    StickBreakingDirichlet,
    make_base,
)
from flowkernels.bases.dirichlet import log_gamma_rsample

DIRICHLET = [StickBreakingDirichlet, LogRatioDirichlet]
dirichlet = pytest.mark.parametrize("make", DIRICHLET)


def limit(n: int) -> float:
    """The Kolmogorov-Smirnov distance exceeded by chance with probability 1e-4."""
    return 2.23 / math.sqrt(n)


def isotropic_proposal(base: Base, n: int, widest: float) -> tuple[Tensor, Tensor]:
    """Points in uniform directions with log-normal lengths fitted to the base; log densities."""
    lengths = base.sample(2000).norm(dim=-1).log()
    law = LogNormal(lengths.median(), (1.3 * lengths.std()).clamp(max=widest))
    x, length = torch.randn(n, base.dim, dtype=torch.float64), law.sample((n, 1))
    log_area = math.log(2) + base.dim / 2 * math.log(math.pi) - math.lgamma(base.dim / 2)
    log_q = law.log_prob(length) - log_area - (base.dim - 1) * length.log()
    return x / x.norm(dim=-1, keepdim=True) * length, log_q.squeeze(-1)


def dirichlet_proposal(base: Base, n: int) -> tuple[Tensor, Tensor]:
    """Latents of points of another Dirichlet; log densities from torch and the maps' log-dets."""
    c = 1.1 * base.concentration_scale
    law = Dirichlet(torch.full((base.dim + 1,), c, dtype=torch.float64))
    s = law.sample((n,))
    zeta, log_det = base.simplex.log_inverse(s.log())
    z = base._standardized(zeta)
    linear = torch.func.jacrev(base._coordinates)(z[0])
    return z, law.log_prob(s) - log_det + torch.linalg.slogdet(linear).logabsdet


def proposal(base: Base, n: int) -> tuple[Tensor, Tensor]:
    if isinstance(base, tuple(DIRICHLET)):
        return dirichlet_proposal(base, n)
    if isinstance(base, StandardCauchy):
        law = Cauchy(0.0, torch.tensor(1.1, dtype=torch.float64))
        z = law.sample((n, base.dim))
        return z, law.log_prob(z).sum(-1)
    # a heavy-tailed length needs a wide proposal even if the sample's spread is small
    return isotropic_proposal(base, n, widest=3.0)


@pytest.mark.parametrize("dim", [20, 100])
@pytest.mark.parametrize(
    "name",
    [
        "normal",
        "vmf",
        "power_spherical",
        "dirichlet",
        "dirichlet_alr",
        "cauchy",
        "isotropic_cauchy",
    ],
)
def test_density_integrates_to_one_in_many_dimensions(name, dim):
    base = make_base(name, dim, 1.5).double()
    n = 20_000
    z, log_q = proposal(base, n)
    ratio = (base.log_prob(z) - log_q).exp()
    error = ratio.std().item() / math.sqrt(n)
    assert error < 0.02, f"the proposal is poor: standard error {error}"
    assert abs(ratio.mean().item() - 1) < 5 * error


@dirichlet
@pytest.mark.parametrize("c", [0.05, 1.0, 7.0])
def test_dirichlet_samples_have_beta_coordinates_and_the_entropy(make, c):
    dim, n = 40, 4000
    base = make(dim, c).double()
    z = base.sample(n)
    log_s = base.log_forward(z)
    exact = stats.beta(base.concentration.item(), base.concentration.item() * dim)
    for k in (0, 17, dim - 1, dim):
        assert stats.kstest(log_s[:, k].exp().numpy(), exact.cdf).statistic < limit(n)
    # the latents are standardised
    assert (z.mean(0).abs() < 5 * z.std(0) / math.sqrt(n)).all()
    square = z.square()
    assert ((square.mean(0) - 1).abs() < 6 * square.std(0) / math.sqrt(n)).all()
    # entropy of the image, E[-log Dirichlet], minus the map's expected log-det
    s = torch.distributions.Dirichlet(torch.full((dim + 1,), base.concentration.item()).double())
    linear = torch.func.jacrev(base._coordinates)(z[0])
    log_det = base.simplex.log_forward(base._coordinates(z))[1]
    log_det = log_det + torch.linalg.slogdet(linear).logabsdet
    surprise = -base.log_prob(z) + log_det
    # c = 1 is uniform: every point has the same density
    assert abs(surprise.mean() - s.entropy()) < 5 * surprise.std() / math.sqrt(n) + 1e-9


@dirichlet
@pytest.mark.parametrize("c", [1e-3, 1.0, 50.0])
def test_dirichlet_in_3072_dimensions(make, c):
    base = make(3072, c)
    z = base.sample(16)
    assert z.dtype == torch.float32
    assert z.isfinite().all()
    assert abs(z.std() - 1) < 0.05
    z = torch.cat([z, torch.full((1, 3072), 1e30), torch.full((1, 3072), -1e30)]).requires_grad_()
    log_prob = base.log_prob(z)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert z.grad.isfinite().all()


def test_log_gamma_draws():
    torch.manual_seed(1)
    for a in (1e-3, 0.3, 2.0):
        shape = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        draws = log_gamma_rsample(shape, torch.Size([5000]))
        assert stats.kstest(draws.detach().numpy(), stats.loggamma(a).cdf).statistic < limit(5000)
        # d/da E[log G_a] = psi'(a)
        (slope,) = torch.autograd.grad(draws.mean(), shape)
        assert abs(slope / torch.polygamma(1, shape.detach()) - 1) < 0.1


@pytest.mark.parametrize("c", [0.5, 2.0])
def test_power_spherical_samples_and_density(c):
    dim, n = 30, 4000
    base = SphericalPowerSpherical(dim, c).double()
    z = base.sample(n)
    s, log_det = base.projection(z)
    cosine = (s @ base.loc + 1) / 2
    exact = stats.beta(dim / 2 + c * dim, dim / 2)
    assert stats.kstest(cosine.numpy(), exact.cdf).statistic < limit(n)
    surprise = log_det - base.log_prob(z)
    assert abs(surprise.mean() - base.sphere().entropy()) < 5 * surprise.std() / math.sqrt(n)
    assert_close(base.log_prob(z), base.sphere().log_prob(s) + log_det)


def test_spherical_densities_at_large_latents():
    base = SphericalPowerSpherical(3)
    z = torch.tensor([[1e30, 0.0, 1e30], [0.0, 0.0, 0.0]], requires_grad=True)
    log_prob = base.log_prob(z)
    log_prob.sum().backward()
    # a power law: |z|^-(2 k + 2 d)
    slope = (base.log_prob(torch.tensor([1e31, 0.0, 1e31])) - log_prob[0]) / math.log(10)
    assert abs(slope + 2 * (3 + 3)) < 1e-3
    assert log_prob.isfinite().all()
    assert z.grad.isfinite().all()
    at_pole = SphericalPowerSpherical(3, loc=torch.eye(4)[3])
    assert at_pole.log_prob(torch.full((3,), 1e-30)).isfinite()


@pytest.mark.parametrize("make", [StandardCauchy, StandardIsotropicCauchy])
@pytest.mark.parametrize("t", [0.2, 0.5])
def test_straight_lines_preserve_cauchy_distributions(make, t):
    dim, n = 8, 4000
    base = make(dim).double()
    a, b = base.sample((2, n))
    middle = base.path(a, b, t)
    assert_close(middle, (1 - t) * a + t * b)
    for x in (a, middle):
        assert stats.kstest(x[:, 3].numpy(), "cauchy").statistic < limit(n)
    if make is StandardIsotropicCauchy:
        square = stats.betaprime(dim / 2, 0.5)
        for x in (a, middle):
            got = stats.kstest(x.square().sum(-1).numpy(), square.cdf).statistic
            assert got < limit(n)
        walk = base.path(a, b, t, "spherical_cauchy_linear")
        got = stats.kstest(walk.square().sum(-1).numpy(), square.cdf).statistic
        assert got < limit(n)
    else:
        assert_close(base.path(a, b, t, "cauchy_linear"), middle, rtol=1e-9, atol=1e-9)


def test_cauchy_density_matches_torch_and_is_finite_at_large_latents():
    z = torch.randn(6, 4, dtype=torch.float64) * 10
    base = StandardCauchy(4).double()
    assert_close(base.log_prob(z), Cauchy(0.0, 1.0).log_prob(z).sum(-1))
    far = torch.tensor([1e8, 1e10, 1e30, -3e38], requires_grad=True)
    log_prob = StandardCauchy(1).log_prob(far[:, None])
    log_prob.sum().backward()
    expected = -2 * far.detach().double().abs().log() - math.log(math.pi)
    assert_close(log_prob.double(), expected, rtol=1e-6, atol=0)
    assert_close(far.grad, -2 / far.detach())

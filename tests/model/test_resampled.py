"""Resampled bases: normalisation, samples, gradients."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from scipy import stats
from torch.testing import assert_close

from flowkernels.bases import ResampledBase, StandardNormal, make_base
from flowkernels.bases.resampled import factor_size, log_density_ratio
from flowkernels.bijections import Compose
from flowkernels.experiments.targets import grid_2d
from flowkernels.experiments.training.reverse_kl import reverse_kl
from flowkernels.flows import Flow, glow, realnvp


def trained(dim, spread=1.5, seed=1, **options):
    """A base with a strongly varying acceptance, in double precision and evaluation mode."""
    base = ResampledBase(dim, **{"hidden": (8, 8), **options}).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in base.acceptance.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(spread * noise / math.sqrt(max(1, parameter.shape[1])))
    return base.eval()


def with_exact_normaliser(base):
    """The base with Z computed by quadrature, for groups of one or two coordinates."""
    size = base.dim // base.groups
    axis = torch.linspace(-9, 9, 1201 if size == 1 else 501, dtype=torch.float64)
    nodes = torch.cartesian_prod(*[axis] * size).reshape(-1, size)
    weight = (-0.5 * nodes.square().sum(-1)).softmax(0)
    logits = base.acceptance(nodes[:, None].expand(-1, base.groups, size))
    exact = (logits.sigmoid() * weight[:, None]).sum(0).detach()
    assert_close(base.normalizer, exact, rtol=0.05, atol=0.0)
    base.z_eval.copy_(exact)
    return base


@pytest.mark.parametrize("truncation", [2, 5, 100, math.inf])
@pytest.mark.parametrize(("dim", "groups"), [(1, 1), (2, 1), (2, 2)])
def test_density_integrates_to_one(dim, groups, truncation):
    base = with_exact_normaliser(trained(dim, groups=groups, truncation=truncation))
    axis = torch.linspace(-9, 9, 2001 if dim == 1 else 601, dtype=torch.float64)
    nodes = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    total = base.log_prob(nodes).exp().sum() * (axis[1] - axis[0]) ** dim
    assert abs(total.item() - 1) < 1e-6


def test_density_integrates_to_one_with_location_and_scale():
    base = trained(2, trainable=True)
    with torch.no_grad():
        base.loc.copy_(torch.tensor([1.0, -2.0]))
        base.log_scale.copy_(torch.tensor([0.5, -1.0]))
    with_exact_normaliser(base)
    nodes, cell = grid_2d(14.0, 701)
    assert abs(float(base.log_prob(nodes).exp().sum().detach()) * cell - 1) < 1e-6
    assert_close(base.sample(20_000).mean(0), base_mean(base, nodes), rtol=0, atol=0.05)


def base_mean(base, nodes):
    return (base.log_prob(nodes).softmax(0)[:, None] * nodes).sum(0).detach()


@pytest.mark.parametrize("groups", [1, 10])
def test_density_integrates_to_one_in_fifty_dimensions(groups):
    base = trained(50, groups=groups, num_eval_samples=1 << 17)
    n = 50_000
    proposal = StandardNormal(50).double()
    z = proposal.sample(n)
    ratio = (base.log_prob(z) - proposal.log_prob(z)).exp().detach()
    # Both averages are Monte Carlo estimates: Z has a standard error too.
    z_error = ((1 - base.normalizer) / base.normalizer / base.num_eval_samples).sum().sqrt()
    error = math.hypot(float(ratio.std()) / math.sqrt(n), float(z_error.detach()))
    assert error < 0.05
    assert abs(float(ratio.mean()) - 1) < 4 * error


def test_samples_follow_the_density_in_every_bin():
    base = with_exact_normaliser(trained(2, truncation=7))
    draws = base.sample(100_000)
    edges = 12
    nodes, _ = grid_2d(6.0, 1201)
    nodes = nodes[(nodes.abs() < 6).all(-1)]

    def cell(x):
        index = ((x + 6) / 12 * edges).long()
        return index[:, 0] * edges + index[:, 1]

    kept = draws[(draws.abs() < 6).all(-1)]
    found = torch.bincount(cell(kept), minlength=edges**2).double()
    mass = torch.zeros(edges**2, dtype=torch.float64)
    mass.index_add_(0, cell(nodes), base.log_prob(nodes).softmax(0).detach())
    often = mass * len(kept) > 20
    chi2 = ((found - mass * len(kept)).square() / (mass * len(kept)))[often].sum()
    assert stats.chi2.sf(float(chi2), int(often.sum()) - 1) > 1e-4
    # the test detects samples from the proposal
    normal = torch.zeros_like(mass).index_add_(
        0, cell(nodes), (-0.5 * nodes.square().sum(-1)).softmax(0)
    )
    assert float(((found - normal * len(kept)).square() / (normal * len(kept)))[often].sum()) > 1e3


@pytest.mark.parametrize("truncation", [3, 100, math.inf])
def test_samples_follow_the_cumulative_distribution(truncation):
    base = with_exact_normaliser(trained(1, spread=3.0, truncation=truncation))
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    cdf = base.log_prob(x[:, None]).exp().detach().cumsum(0) * (x[1] - x[0])
    draws = base.sample(20_000)[:, 0].numpy()
    result = stats.kstest(
        draws,
        lambda v: (
            torch.from_numpy(v)
            .apply_(lambda point: float(cdf[min(20_000, max(0, round((point + 9) / 18 * 20_000)))]))
            .numpy()
        ),
    )
    assert result.pvalue > 1e-4


@pytest.mark.parametrize(("truncation", "bias"), [(4, -3.0), (100, -3.0), (math.inf, -1.0)])
def test_number_of_proposals(truncation, bias):
    base = trained(6, groups=3, truncation=truncation)
    with torch.no_grad():
        base.acceptance.biases[-1].add_(bias)
    count = 20_000
    e, taken = base.draw(count)
    assert e.shape == (count, 6)
    assert taken.shape == (count, 3)
    assert taken.min() >= 1
    assert taken.max() <= truncation
    error = taken.double().std(0) / math.sqrt(count)
    expected = base.expected_proposals()
    assert ((taken.double().mean(0) - expected).abs() < 5 * error + 0.02 * expected).all()


def test_acceptance_probability_zero():
    base = ResampledBase(2, truncation=10, hidden=(4,)).eval()
    with torch.no_grad():
        base.acceptance.biases[-1].fill_(-200.0)
    e, taken = base.draw(1000)
    assert (taken == 10).all()
    assert abs(float(e.mean())) < 0.1
    # the density is the proposal's
    z = torch.randn(5, 2, requires_grad=True)
    assert_close(base.log_prob(z), StandardNormal(2).log_prob(z))
    for mode in (True, False):
        base.train(mode).log_prob(z).sum().backward()
        assert all(p.grad.isfinite().all() for p in base.acceptance.parameters())
        assert z.grad.isfinite().all()


def test_acceptance_probability_one():
    base = ResampledBase(2, hidden=(4,))
    with torch.no_grad():
        base.acceptance.biases[-1].fill_(200.0)
    z = torch.randn(5, 2, requires_grad=True)
    for mode in (True, False):
        log_prob = base.train(mode).log_prob(z)
        log_prob.sum().backward()
        if not mode:
            assert_close(log_prob, StandardNormal(2).log_prob(z))
        assert all(p.grad.isfinite().all() for p in base.acceptance.parameters())
    assert (base.draw(100)[1] == 1).all()


@pytest.mark.parametrize("z", [1e-12, 1e-3, 0.3, 0.999999])
@pytest.mark.parametrize("truncation", [2, 100])
def test_log_density_ratio_matches_the_formula(z, truncation):
    import mpmath

    with mpmath.workdps(60):
        al = (1 - mpmath.mpf(z)) ** (truncation - 1)
        logits = torch.linspace(-80, 80, 9)
        exact = [
            float(mpmath.log((1 - al) / (1 + mpmath.exp(-float(x))) / mpmath.mpf(z) + al))
            for x in logits
        ]
    found = log_density_ratio(logits.double(), torch.tensor(z, dtype=torch.float64), truncation)
    assert_close(found, torch.tensor(exact, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def test_factorised_density_is_the_product_of_its_groups():
    base = trained(6, groups=3)
    z = torch.randn(7, 6, dtype=torch.float64)
    total = 0
    for g in range(3):
        one = ResampledBase(2, hidden=(8, 8)).double()
        with torch.no_grad():
            for whole, part in zip(
                base.acceptance.parameters(), one.acceptance.parameters(), strict=True
            ):
                part.copy_(whole[g : g + 1])
        # read first: the cached value is kept until the weights change
        assert one.eval().normalizer.shape == (1,)
        one.z_eval.copy_(base.normalizer[g : g + 1])
        total = total + one.log_prob(z[:, 2 * g : 2 * g + 2])
    assert_close(base.log_prob(z), total)


def test_maximum_likelihood_gradient_includes_the_normaliser():
    # the expected gradient over fresh proposals is the gradient of the exact log density
    base = trained(1, truncation=5, num_z_samples=20_000, ema=1e-9)
    exact_z = with_exact_normaliser(base).z_eval.clone()
    base.z_ema.copy_(exact_z)
    z = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    parameters = list(base.acceptance.parameters())
    axis = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    weight = (-0.5 * axis.square()).softmax(0)
    quadrature = (base.acceptance(axis[:, None, None]).sigmoid() * weight[:, None]).sum(0)
    logits = base.acceptance(z[:, None])
    expected = torch.autograd.grad(log_density_ratio(logits, quadrature, 5).sum(), parameters)
    base.train()
    runs = [torch.autograd.grad(base.log_prob(z).sum(), parameters) for _ in range(40)]
    compare_with_error(runs, expected)


def compare_with_error(runs, expected, sigmas=4.5):
    stacked = [torch.stack(column) for column in zip(*runs, strict=True)]
    assert any(e.abs().max() > 1e-2 for e in expected)
    for found, exact in zip(stacked, expected, strict=True):
        error = found.std(0) / math.sqrt(len(runs))
        assert ((found.mean(0) - exact).abs() <= sigmas * error + 1e-9).all()


def test_reverse_kl_gradient_is_unbiased_against_quadrature():
    base = trained(1, truncation=4, num_z_samples=2000, ema=1e-9)
    base.z_ema.copy_(with_exact_normaliser(base).z_eval)
    flow = Flow(Compose([]), base)
    parameters = list(base.acceptance.parameters())

    def log_density(x):
        return -0.5 * (x[..., 0] - 0.7).square() / 0.3

    axis = torch.linspace(-9, 9, 1201, dtype=torch.float64)[:, None]
    log_pi = -0.5 * axis[:, 0].square() - 0.5 * math.log(2 * math.pi)
    logits = base.acceptance(axis[:, None])
    z = (logits.sigmoid()[:, 0] * log_pi.softmax(0)).sum()[None]
    log_p = log_pi + log_density_ratio(logits, z, 4)[:, 0]
    step = axis[1, 0] - axis[0, 0]
    kl = (log_p.exp() * (log_p - log_density(axis))).sum() * step
    expected = torch.autograd.grad(kl, parameters)
    flow.train()
    # Few draws per run, so that dividing by n instead of n - 1 would be detected.
    runs, values = [], []
    for _ in range(300):
        loss = reverse_kl(flow, log_density, 16)
        runs.append(torch.autograd.grad(loss, parameters))
        values.append(loss.detach())
    compare_with_error(runs, expected)
    values = torch.stack(values)
    assert abs(values.mean() - kl.detach()) < 4.5 * values.std() / math.sqrt(len(values))


def test_reverse_kl_gradient_of_the_flow_is_reparametrised():
    torch.manual_seed(2)
    flow = realnvp(2, layers=2, hidden=4, base=trained(2), actnorm=False).double()
    target = StandardNormal(2).double()
    state = torch.get_rng_state()
    weight = flow.bijection.bijections[0].conditioner[-1].bias
    loss = reverse_kl(flow, target.log_prob, 64)
    (found,) = torch.autograd.grad(loss, [weight])
    torch.set_rng_state(state)
    z = flow.base.sample(64)
    x, log_det = flow.inverse(z)
    (expected,) = torch.autograd.grad((-log_det - target.log_prob(x)).mean(), [weight])
    assert_close(found, expected)
    with pytest.raises(ValueError, match="count must be at least 2, got 1"):
        reverse_kl(flow, target.log_prob, 1)


def test_evaluation_is_deterministic_and_does_not_use_the_generator():
    base = trained(8, groups=2)
    z = torch.randn(4, 8, dtype=torch.float64)
    state = torch.get_rng_state()
    first = base.log_prob(z)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(base.log_prob(z), first)
    fresh = ResampledBase(8, hidden=(8, 8), groups=2).double()
    fresh.load_state_dict(base.state_dict())
    for twin in (copy.deepcopy(base), fresh.eval()):
        assert torch.equal(twin.log_prob(z), first)


def test_evaluation_normaliser_follows_the_weights():
    base = trained(2)
    z = torch.randn(4, 2, dtype=torch.float64)
    base.log_prob(z)
    other = trained(2, seed=5)
    base.load_state_dict(other.state_dict())
    assert torch.equal(base.log_prob(z), other.log_prob(z))
    third = trained(2, seed=9)
    with torch.no_grad():
        for p, q in zip(base.parameters(), third.parameters(), strict=True):
            p.copy_(q)
    assert torch.equal(base.log_prob(z), third.log_prob(z))


def test_moving_average():
    base = ResampledBase(2, hidden=(4,), ema=0.25)
    with torch.no_grad():
        base.acceptance.biases[-1].fill_(math.log(9.0))  # a = 0.9 everywhere
    base.log_prob(torch.zeros(1, 2))
    assert_close(base.z_ema, torch.tensor([0.75 * 0.5 + 0.25 * 0.9]))
    base.eval().log_prob(torch.zeros(1, 2))
    assert_close(base.z_ema, torch.tensor([0.6]))
    assert "z_ema" in base.state_dict()


def test_draws_depend_only_on_the_seed():
    base = trained(4, groups=2)
    torch.manual_seed(3)
    first = base.sample((2, 50))
    torch.manual_seed(3)
    assert torch.equal(base.sample((2, 50)), first)
    assert first.shape == (2, 50, 4)
    assert base.sample(0).shape == (0, 4)
    assert base.sample().shape == (4,)


@pytest.mark.parametrize("name", ["resampled", "resampled_factorized"])
def test_maximum_likelihood_lowers_the_loss(name):
    torch.manual_seed(0)
    flow = realnvp(4, layers=2, hidden=8, base=name)
    # two modes on every axis, which couplings of a Gaussian cannot separate
    data = torch.randn(512, 4) * 0.2 + torch.randint(2, (512, 4)) * 2.0 - 1.0
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(data).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    assert flow.eval().sample(100).isfinite().all()


def test_images_in_half_precision():
    flow = glow((1, 8, 8), levels=2, steps=1, hidden=4, base="resampled_factorized")
    x = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = flow.bits_per_dim(x).mean()
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in flow.base.parameters())


def test_names_and_groups():
    assert make_base("resampled", 8).groups == 1
    assert make_base("resampled_factorized", 784).groups == 49
    assert [factor_size(d) for d in (1, 2, 6, 7, 64)] == [1, 1, 3, 1, 16]


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: ResampledBase(4, groups=3), ValueError, "groups must divide dim = 4, got 3"),
        (lambda: ResampledBase(4, truncation=1), ValueError, "from 2 or inf, got 1"),
        (lambda: ResampledBase(4, truncation=2.5), ValueError, "from 2 or inf, got 2.5"),
        (lambda: ResampledBase(4, hidden=(0,)), ValueError, "hidden must be positive"),
        (lambda: ResampledBase(4, num_z_samples=0), ValueError, "num_z_samples must be at least 1"),
        (lambda: ResampledBase(4, ema=0.0), ValueError, r"ema must be in \(0, 1\], got 0"),
        (lambda: ResampledBase(4).log_prob(torch.zeros(3)), ValueError, r"\(\*batch, 4\), got"),
        (lambda: ResampledBase(4).rsample((2,)), NotImplementedError, "no reparametrised draws"),
    ],
)
def test_rejects_bad_input(act, error, message):
    with pytest.raises(error, match=message):
        act()

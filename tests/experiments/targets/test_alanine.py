"""Internal coordinates of molecules, and the energy of alanine dipeptide in them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from flowkernels.experiments.data.extras import MissingExtraError
from flowkernels.experiments.targets.alanine import AlanineDipeptide
from flowkernels.experiments.targets.internal_coordinates import ZMatrix, wrapped

BUTANE = [(0, 1), (1, 2), (2, 3), (1, 4), (1, 5), (2, 6)]


def coordinates(zmatrix: ZMatrix, batch: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    u = torch.rand(batch, sum(zmatrix.sizes), dtype=torch.float64, generator=g)
    bonds, angles, turns = u.split(zmatrix.sizes, -1)
    return torch.cat([0.1 + 0.05 * bonds, 1 + angles, math.pi * (2 * turns - 1)], -1)


def test_measure_inverts_place():
    zmatrix = ZMatrix.from_bonds(7, BUTANE)
    assert zmatrix.sizes == (6, 5, 4)
    z = coordinates(zmatrix, 20)
    x, _ = zmatrix.place(z)
    back = zmatrix.measure(x)
    turns = zmatrix.sizes[2]
    assert_close(back[:, :-turns], z[:, :-turns], rtol=1e-11, atol=0)
    assert_close(wrapped(back - z)[:, -turns:], torch.zeros(20, turns).double(), rtol=0, atol=1e-10)
    # rotation and translation do not change internal coordinates
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turn = turn * torch.det(turn)
    assert_close(zmatrix.measure(x @ turn.T + 2), back, rtol=1e-9, atol=1e-9)
    mirrored = zmatrix.measure(x * torch.tensor([1.0, 1.0, -1.0]))
    assert_close(
        wrapped(mirrored + back)[:, -turns:], torch.zeros(20, turns).double(), atol=1e-9, rtol=0
    )


def test_volume_element_is_the_determinant():
    """Internal coordinates, three translations and three rotations parametrise R^(3n)."""
    zmatrix = ZMatrix.from_bonds(7, BUTANE)
    z = coordinates(zmatrix, 1)[0]

    def whole(values: torch.Tensor) -> torch.Tensor:
        x, _ = zmatrix.place(values[6:])
        a, b, c = values[3:6]
        zero = a.new_zeros(())
        spin = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).reshape(3, 3)
        return (x + x @ spin.T + values[:3]).flatten()

    jacobian = torch.autograd.functional.jacobian(whole, torch.cat([z.new_zeros(6), z]))
    assert_close(torch.linalg.slogdet(jacobian)[1], zmatrix.place(z)[1], rtol=1e-11, atol=0)


def test_bonds_must_connect():
    with pytest.raises(ValueError, match="connect 4 atoms, got 2"):
        ZMatrix.from_bonds(4, [(0, 1), (2, 3)])


def test_without_openmm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openmm", None)
    with pytest.raises(MissingExtraError, match=r"openmm.*flowkernels\[boltzmann\]"):
        AlanineDipeptide()


@pytest.fixture(scope="module")
def molecule():
    pytest.importorskip("openmm", reason="OpenMM is not installed: pip install openmm")
    return AlanineDipeptide()


def test_energy_minimum_is_the_origin(molecule):
    at_origin = molecule.log_prob(torch.zeros(60, dtype=torch.float64))
    around = molecule.log_prob(0.5 * torch.randn(20, 60, dtype=torch.float64))
    assert (around < at_origin).all()
    energy, slope = molecule._energy(molecule._energy.least)
    assert slope.abs().max() * 0.01 < 0.01  # kT per 0.01 nm
    _, log_det = molecule.zmatrix.place(molecule.least)
    # the same molecule, up to the float32 positions in OpenMM's minimiser
    assert_close(at_origin, log_det - energy, rtol=1e-9, atol=1e-6)


def test_gradients_are_the_forces(molecule):
    z = (0.3 * torch.randn(3, 60, dtype=torch.float64)).requires_grad_()
    (grad,) = torch.autograd.grad(molecule.log_prob(z).sum(), z)
    step = 1e-5
    for i in range(0, 60, 7):
        e = torch.zeros(60, dtype=torch.float64)
        e[i] = step
        with torch.no_grad():
            slope = (molecule.log_prob(z + e) - molecule.log_prob(z - e)) / (2 * step)
        assert_close(grad[:, i], slope, rtol=1e-4, atol=1e-4)


def test_points_outside_the_domain_and_overlapping_atoms(molecule):
    z = torch.zeros(4, 60)
    z[0, 0] = -100.0  # a bond of negative length
    z[1, 45] = 4.0  # more than half a turn
    z[2, 21] = 100.0  # an angle beyond pi
    z[3, :21] = -18.0  # atoms on top of each other
    z.requires_grad_()
    log_prob = molecule.log_prob(z)
    assert log_prob[:3].tolist() == [-math.inf] * 3
    assert log_prob[3].isfinite()
    log_prob[3].backward()
    assert z.grad.isfinite().all()
    assert molecule.log_prob(torch.zeros(0, 60)).shape == (0,)
    with pytest.raises(ValueError, match=r"x must have shape \(\*batch, 60\), got \(3,\)"):
        molecule.log_prob(torch.zeros(3))


def test_dynamics_agree_with_the_density(molecule):
    states = molecule.simulate(30, every=40, seed=1)
    assert_close(states[:3], molecule.simulate(3, every=40, seed=1), rtol=1e-5, atol=1e-5)
    log_prob = molecule.log_prob(states)
    assert log_prob.isfinite().all()
    # energy above the minimum: about kT / 2 for each of 60 modes
    excess = molecule.log_prob(torch.zeros(60, dtype=torch.float64)) - log_prob[10:]
    assert 15 < excess.mean() < 60


def test_a_density_learns_from_the_energy(molecule):
    """Reverse KL of a diagonal Gaussian at the energy minimum falls towards the normal modes'."""
    generator = torch.Generator().manual_seed(0)
    log_scale = torch.full((60,), -2.0, requires_grad=True)
    optimizer = torch.optim.Adam([log_scale], 0.1)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        x = log_scale.exp() * torch.randn(16, 60, generator=generator)
        loss = -molecule.log_prob(x).mean() - log_scale.sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < losses[0] - 15  # nats


def test_molecule_is_the_l_form(molecule):
    """N, C and CB have the chirality of L-alanine about CA."""
    x = molecule._energy.least
    n, ca, cb, c = (x[i] for i in (6, 8, 10, 14))
    assert torch.dot(torch.linalg.cross(n - ca, c - ca), cb - ca) > 0

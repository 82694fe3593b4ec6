"""Alanine dipeptide, a standard test molecule for Boltzmann samplers."""

from __future__ import annotations

import io
import math
from typing import Any

import torch
from torch import Tensor

from flowkernels.experiments.data.extras import require

from .base import Target
from .internal_coordinates import ZMatrix, wrapped

__all__ = ["AlanineDipeptide"]

# Positions in Angstrom of the L form, near the energy minimum.
_ATOMS = [
    ("CH3", "ACE", 1, -1.504, -0.147, -0.004),
    ("H1", "ACE", 1, -1.925, 0.449, 0.804),
    ("H2", "ACE", 1, -1.896, 0.204, -0.957),
    ("H3", "ACE", 1, -1.770, -1.194, 0.137),
    ("C", "ACE", 1, 0.000, 0.000, 0.000),
    ("O", "ACE", 1, 0.717, -0.989, 0.151),
    ("N", "ALA", 2, 0.471, 1.235, -0.163),
    ("H", "ALA", 2, -0.200, 1.983, -0.265),
    ("CA", "ALA", 2, 1.889, 1.605, -0.192),
    ("HA", "ALA", 2, 2.445, 0.924, 0.455),
    ("CB", "ALA", 2, 2.411, 1.439, -1.626),
    ("HB1", "ALA", 2, 2.267, 0.410, -1.958),
    ("HB2", "ALA", 2, 3.475, 1.672, -1.663),
    ("HB3", "ALA", 2, 1.875, 2.110, -2.298),
    ("C", "ALA", 2, 2.130, 3.038, 0.331),
    ("O", "ALA", 2, 1.218, 3.873, 0.349),
    ("N", "NME", 3, 3.371, 3.329, 0.743),
    ("H", "NME", 3, 4.065, 2.596, 0.688),
    ("C", "NME", 3, 3.795, 4.631, 1.260),
    ("H1", "NME", 3, 4.852, 4.601, 1.527),
    ("H2", "NME", 3, 3.644, 5.402, 0.502),
    ("H3", "NME", 3, 3.213, 4.889, 2.147),
]
_GAS = 8.31446261815324e-3  # kJ / (mol K)
# Units of the coordinates: nm of a bond, radians of an angle and of a dihedral.
_UNITS = (0.005, 0.07, 1.0)


class AlanineDipeptide(Target):
    r"""Boltzmann distribution of the 60 internal coordinates of alanine dipeptide, by OpenMM.

    log p(z) = -U(x(z)) / (R T) + log|dx/dz|, x(z) the positions of 22 atoms whose bonds, angles
    and dihedrals are z units (.005 nm, .07 rad, 1 rad) from those of the energy minimum
    (Stimper et al. 2022, section 4.4; Noe et al. 2019). Force field AMBER ff14SB with OBC
    implicit solvent. log p = -inf unless bonds > 0, angles are in (0, pi) and dihedrals are
    within pi of the minimum's. If atoms overlap, the energy above U / (R T) = cap grows only
    logarithmically. Differentiable once in z. The normaliser is unknown.

    Args:
        temperature: in kelvin.
        cap: of U / (R T), see above.

    Raises:
        MissingExtraError: OpenMM is not installed.
    """

    name = "alanine_dipeptide"
    event_shape = torch.Size([60])
    log_normalizer = math.nan
    extent = math.inf

    def __init__(self, temperature: float = 300.0, cap: float = 1e4) -> None:
        if not temperature > 0:
            raise ValueError(f"AlanineDipeptide: temperature must be positive, got {temperature}")
        self._energy = _Energy(temperature, cap)
        self.zmatrix = ZMatrix.from_bonds(22, self._energy.bonds)
        self.least = self.zmatrix.measure(self._energy.least)
        sizes = torch.tensor(self.zmatrix.sizes)
        self.units = torch.tensor(_UNITS, dtype=torch.float64).repeat_interleave(sizes)

    def log_prob(self, x: Tensor) -> Tensor:
        """The unnormalised log density of coordinates (*batch, 60), shape (*batch)."""
        self._check(x)
        internal = self.least + self.units * x.double()
        inside = self._inside(internal)
        # Replace points outside the domain: their NaN would reach the gradients.
        safe = torch.where(inside.unsqueeze(-1), internal, self.least)
        positions, log_det = self.zmatrix.place(safe)
        energy: Tensor = _Energies.apply(positions, self._energy)  # type: ignore[no-untyped-call]
        wide = torch.promote_types(x.dtype, torch.float32)
        return torch.where(inside, log_det - energy, -math.inf).to(wide)

    def coordinates(self, positions: Tensor) -> Tensor:
        """The coordinates (*batch, 60) of positions (*batch, 22, 3) in nm."""
        away = self.zmatrix.measure(positions.double()) - self.least
        turns = self.zmatrix.sizes[2]
        away = torch.cat([away[..., :-turns], wrapped(away[..., -turns:])], -1)
        return away / self.units

    def simulate(self, count: int, *, every: int = 500, seed: int = 0) -> Tensor:
        """`count` correlated states (count, 60) of Langevin dynamics, one every `every` fs."""
        return self.coordinates(self._energy.simulate(count, every, seed))

    def _inside(self, internal: Tensor) -> Tensor:
        bonds, angles, _ = internal.split(self.zmatrix.sizes, -1)
        turned = (internal - self.least)[..., -self.zmatrix.sizes[2] :].abs() <= math.pi
        straight = (angles > 0) & (angles < math.pi)
        return (bonds > 0).all(-1) & straight.all(-1) & turned.all(-1)


class _Energy:
    """The molecule in OpenMM: U / (R T) and its gradient, one state at a time."""

    def __init__(self, temperature: float, cap: float) -> None:
        mm = require("openmm", extra="boltzmann", purpose="the energy of alanine dipeptide")
        app = require("openmm.app", extra="boltzmann", purpose="the energy of alanine dipeptide")
        self._unit = mm.unit
        self.kT, self.cap = _GAS * temperature, cap
        start = app.PDBFile(io.StringIO(_pdb()))
        field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
        self.bonds = [(a.index, b.index) for a, b in start.topology.bonds()]
        system = field.createSystem(start.topology, nonbondedMethod=app.NoCutoff)
        integrator = mm.LangevinMiddleIntegrator(temperature, 1.0, 0.001)
        # Double precision, and reproducible across machines.
        platform = mm.Platform.getPlatformByName("Reference")
        self._integrator = integrator
        self._context: Any = mm.Context(system, integrator, platform)
        self._context.setPositions(start.positions)
        mm.LocalEnergyMinimizer.minimize(self._context, 1e-3)
        self.least = self._positions()

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U / (R T) () and its gradient (22, 3) at positions (22, 3) in nm."""
        self._context.setPositions(x.tolist())
        state = self._context.getState(getEnergy=True, getForces=True)
        unit = self._unit
        energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / self.kT
        forces = state.getForces(asNumpy=True)
        per_nm = forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        slope = torch.from_numpy(per_nm.copy()).to(torch.float64) / -self.kT
        if not (math.isfinite(energy) and bool(slope.isfinite().all())):
            return torch.tensor(1e30, dtype=torch.float64), torch.zeros_like(slope)
        if energy > self.cap:
            beyond = 1 + energy - self.cap
            energy, slope = self.cap + math.log(beyond), slope / beyond
        return torch.tensor(energy, dtype=torch.float64), slope

    def simulate(self, count: int, every: int, seed: int) -> Tensor:
        """Positions (count, 22, 3) along a trajectory from the energy minimum."""
        self._integrator.setRandomNumberSeed(seed)
        # The seed takes effect when the context is reinitialised.
        self._context.reinitialize()
        self._context.setPositions(self.least.tolist())
        self._context.setVelocitiesToTemperature(self.kT / _GAS, seed)
        states = []
        for _ in range(count):
            self._integrator.step(every)
            states.append(self._positions())
        return torch.stack(states)

    def _positions(self) -> Tensor:
        places = self._context.getState(getPositions=True).getPositions(asNumpy=True)
        return torch.from_numpy(places.value_in_unit(self._unit.nanometer).copy()).double()


class _Energies(torch.autograd.Function):
    """Energies of a batch; the gradient is the negative of the forces."""

    @staticmethod
    def forward(ctx: Any, positions: Tensor, energy: _Energy) -> Tensor:
        """(*batch, n, 3) -> (*batch)."""
        rows = positions.detach().reshape(-1, *positions.shape[-2:])
        values, slopes = zip(*(energy(row) for row in rows), strict=True) if len(rows) else ((), ())
        ctx.save_for_backward(
            torch.stack(slopes).reshape(positions.shape) if rows.numel() else rows
        )
        return (
            torch.stack(values).reshape(positions.shape[:-2]) if rows.numel() else rows.sum((1, 2))
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient of the energies times `grad`."""
        (slopes,) = ctx.saved_tensors
        return grad[..., None, None] * slopes, None


def _pdb() -> str:
    lines = [
        f"ATOM  {i:5d}  {name:<3s} {residue} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
        f"  1.00  0.00           {name[0]}"
        for i, (name, residue, number, x, y, z) in enumerate(_ATOMS, 1)
    ]
    return "\n".join([*lines, "END", ""])

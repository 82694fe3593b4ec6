"""Internal coordinates of molecules: bond lengths, angles and dihedrals (the Z-matrix).

A molecule of n atoms has 3 n - 6 internal coordinates, up to translation and rotation: n - 1
bonds, n - 2 angles, n - 3 dihedrals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ZMatrix"]


@dataclass(frozen=True)
class ZMatrix:
    """The reference atoms of every atom.

    Attributes:
        order: the atoms in the order in which they are placed.
        references: for each atom, the atoms that define its bond, angle and dihedral; the first
            three atoms have fewer.

    Example:
        >>> water = ZMatrix.from_bonds(3, [(0, 1), (0, 2)])
        >>> z = torch.tensor([0.0957, 0.0957, 1.824])  # two bonds in nm and the angle
        >>> x, log_det = water.place(z)
        >>> round((x[1] - x[2]).norm().item(), 4)
        0.1513
    """

    order: tuple[int, ...]
    references: tuple[tuple[int, ...], ...]

    @classmethod
    def from_bonds(cls, atoms: int, bonds: Sequence[tuple[int, int]]) -> ZMatrix:
        """Place every atom next to a bonded one; angles and dihedrals follow the bonds.

        Raises:
            ValueError: the bonds do not connect all atoms.
        """
        near: list[list[int]] = [[] for _ in range(atoms)]
        for a, b in bonds:
            near[a].append(b)
            near[b].append(a)
        # Breadth-first from atom 0 along the bonds.
        order = [0]
        references: list[tuple[int, ...]] = [()]
        for centre in order:
            for atom in sorted(near[centre]):
                if atom in order:
                    continue
                references.append(_references(centre, near, order))
                order.append(atom)
        if len(order) < atoms:
            raise ValueError(f"bonds: expected them to connect {atoms} atoms, got {len(order)}")
        return cls(tuple(order), tuple(references))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of bonds, angles and dihedrals, in the order of the coordinates."""
        n = len(self.order)
        return n - 1, n - 2, n - 3

    def place(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (*batch, n, 3) and the log volume element: the sum of log(r^2 sin(angle)).

        The first atom is at the origin, the second on the first axis, the third in the plane of
        the first two axes. dx = exp(log_det) dz times the volume of translations and rotations:
        a bond contributes r^2, an angle sin(angle).

        Args:
            z: (*batch, 3 n - 6): bonds, angles in radians, dihedrals in radians.
        """
        bonds, angles, dihedrals = z.split(self.sizes, -1)
        zero = torch.zeros_like(bonds[..., 0])
        at: dict[int, Tensor] = {self.order[0]: torch.stack([zero, zero, zero], -1)}
        for i in range(1, len(self.order)):
            r = bonds[..., i - 1]
            if i == 1:
                at[self.order[1]] = torch.stack([r, zero, zero], -1)
                continue
            angle = angles[..., i - 2]
            turn = dihedrals[..., i - 3] if i > 2 else zero
            j, k, *rest = self.references[i]
            # the third atom has no dihedral: use a point off the axis of the first two
            third = at[rest[0]] if rest else at[k] + z.new_tensor([0.0, 1.0, 0.0])
            at[self.order[i]] = _placed(at[j], at[k], third, r, angle, turn)
        x = torch.stack([at[atom] for atom in range(len(self.order))], -2)
        return x, 2 * bonds.log().sum(-1) + angles.sin().log().sum(-1)

    def measure(self, x: Tensor) -> Tensor:
        """Bonds, angles and dihedrals (*batch, 3 n - 6) of positions (*batch, n, 3)."""
        bonds, angles, dihedrals = [], [], []
        for i in range(1, len(self.order)):
            j, *rest = self.references[i]
            bond = x[..., self.order[i], :] - x[..., j, :]
            bonds.append(bond.norm(dim=-1))
            if not rest:
                continue
            axis = x[..., rest[0], :] - x[..., j, :]
            across = torch.linalg.cross(bond, axis).norm(dim=-1)
            angles.append(torch.atan2(across, (bond * axis).sum(-1)))
            if len(rest) > 1:
                dihedrals.append(_dihedral(bond, -axis, x[..., rest[1], :] - x[..., rest[0], :]))
        return torch.stack([*bonds, *angles, *dihedrals], -1)


def _references(centre: int, near: list[list[int]], placed: list[int]) -> tuple[int, ...]:
    """The centre, a placed neighbour, and a placed neighbour of that one or of the centre."""
    chosen = [centre]
    for about in (centre, None):
        candidates = near[chosen[-1] if about is None else about] + near[centre]
        found = next((a for a in candidates if a in placed and a not in chosen), None)
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


def _placed(j: Tensor, k: Tensor, third: Tensor, r: Tensor, angle: Tensor, turn: Tensor) -> Tensor:
    """The point at distance r from j, at the angle to k and the dihedral to the third."""
    axis = torch.nn.functional.normalize(k - j, dim=-1)
    normal = third - k
    normal = normal - (normal * axis).sum(-1, keepdim=True) * axis
    normal = torch.nn.functional.normalize(normal, dim=-1)
    out = torch.linalg.cross(axis, normal)
    r, angle, turn = (v.unsqueeze(-1) for v in (r, angle, turn))
    across = turn.cos() * normal + turn.sin() * out
    return j + r * (angle.cos() * axis + angle.sin() * across)


def _dihedral(bond: Tensor, axis: Tensor, normal: Tensor) -> Tensor:
    """The dihedral in (-pi, pi], as in :func:`_placed`; `axis` from k to j."""
    unit = torch.nn.functional.normalize(-axis, dim=-1)
    first = bond - (bond * unit).sum(-1, keepdim=True) * unit
    second = normal - (normal * unit).sum(-1, keepdim=True) * unit
    out = torch.linalg.cross(unit, second)
    return torch.atan2((first * out).sum(-1), (first * second).sum(-1))


def wrapped(angle: Tensor) -> Tensor:
    """An angle mapped to [-pi, pi).

    Example:
        >>> round(wrapped(torch.tensor(4.0)).item(), 4)  # 4 - 2 pi
        -2.2832
    """
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi

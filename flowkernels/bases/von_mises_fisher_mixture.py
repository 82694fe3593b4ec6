"""A trainable mixture of von Mises-Fisher distributions on the sphere S^d."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from flowkernels import arguments
from flowkernels.distributions import MixtureOfVonMisesFisher
from flowkernels.synchronization import has_values

from .spherical import ProjectedBase
from .von_mises_fisher import SphericalVonMisesFisher


class SphericalVonMisesFisherMixture(ProjectedBase):
    """z in R^d such that the stereographic projection of scale * z is a mixture of vMF on S^d.

    log p(z) = log sum_k w_k C_{d+1}(kappa_k) e^(kappa_k mu_k.psi(scale z))
               + d log rho + d log scale.

    All parameters are trained: `directions` (K, d+1), whose directions are the mu_k,
    `log_concentration` (K,) and `logits` (K,), w = softmax(logits). The path between two latents
    is the arc between their projections. Draws are reparametrised where the logits need no
    gradient (`base.logits.requires_grad_(False)`).

    At first the components have equal weights, the concentration c d and directions close to
    -e_{d+1}, the image of z = 0: without a difference they would stay equal. A difference of
    spread / sqrt(d) changes the log densities of a latent by about c * spread nats between
    components, whatever d. With `scale` as in :class:`SphericalVonMisesFisher`, outputs of unit
    variance have about the same density under the new base as its own draws.

    Args:
        dim: d, the latent dimension; the sphere lies in R^{d+1}.
        components: K >= 1.
        concentration_scale: c > 0; the concentrations start at c d.
        spread: >= 0, the length times sqrt(d) of a component's offset from -e_{d+1}.
        loc: the first directions, (K, d+1) of unit length, instead of those near -e_{d+1}.
        scale: of the projection; default as for :class:`SphericalVonMisesFisher`.

    Raises:
        ValueError: an argument is outside its range, or `loc` does not have K unit vectors.

    Example:
        >>> base = SphericalVonMisesFisherMixture(784, components=10)
        >>> z = base.sample(64)
        >>> base.log_prob(z).shape, base.posterior(z).probs.shape
        (torch.Size([64]), torch.Size([64, 10]))
        >>> sorted(name for name, _ in base.named_parameters())
        ['directions', 'log_concentration', 'logits']
    """

    def __init__(
        self,
        dim: int,
        components: int,
        concentration_scale: float = 1.0,
        *,
        spread: float = 1.0,
        loc: Tensor | None = None,
        scale: float | None = None,
    ) -> None:
        owner = type(self).__name__
        arguments.integer(owner, "dim", dim)
        k = arguments.integer(owner, "components", components)
        c = arguments.positive_number(owner, "concentration_scale", concentration_scale)
        if scale is None:
            scale = SphericalVonMisesFisher.typical_radius(c) * dim**-0.5
        super().__init__(dim, scale)
        self.directions = nn.Parameter(_directions(owner, dim, k, spread, loc))
        like = self.directions
        self.log_concentration = nn.Parameter(like.new_full((k,), math.log(c * dim)))
        self.logits = nn.Parameter(like.new_zeros(k))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws are reparametrised: unless the logits require a gradient."""
        return not self.logits.requires_grad

    @property
    def components(self) -> int:
        """K."""
        return self.logits.shape[0]

    def sphere(self) -> MixtureOfVonMisesFisher:
        loc = nn.functional.normalize(self.directions, dim=-1)
        concentration = self.log_concentration.exp()
        return MixtureOfVonMisesFisher(self.logits, loc, concentration, validate_args=False)

    def posterior(self, z: Tensor) -> Categorical:
        """The distribution of the component of each latent z (*batch, d)."""
        arguments.vectors(type(self).__name__, "z", z, self.dim)
        return self.sphere().posterior(self.projection(z)[0])

    def extra_repr(self) -> str:
        return f"dim={self.dim}, components={self.components}"


def _directions(owner: str, dim: int, k: int, spread: float, loc: Tensor | None) -> Tensor:
    if loc is None:
        spread = arguments.number(owner, "spread", spread)
        if not 0 <= spread < math.inf:
            raise ValueError(f"{owner}: spread must be >= 0 and finite, got {spread!r}")
        directions = torch.randn(k, dim + 1) * (spread / dim)
        directions[:, -1] = -1
        return nn.functional.normalize(directions, dim=-1)
    arguments.floating_tensor(owner, "loc", loc)
    off = loc.shape != (k, dim + 1)
    if off or (has_values(loc) and ((loc.norm(dim=-1) - 1).abs() > 1e-4).any()):
        raise ValueError(
            f"{owner}: loc must be {k} unit vectors, shape ({k}, {dim + 1}), got shape "
            f"{tuple(loc.shape)}{'' if off else ' of other lengths'}"
        )
    return loc.detach().clone()
